"""Numbers and columns as text."""

SUFFIXES = ("", "k", "M", "G", "T")


def format_number(value, digits=2):
    """Return a short text for a number: whole numbers without a point, `None` as a dash."""
    if value is None:
        return "-"
    if value != value:
        return "nan"
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def format_compact(value, digits=1):
    """Return a number with a decimal suffix: 1500 becomes `1.5k`."""
    sign = "-" if value < 0 else ""
    size = abs(value)
    index = 0
    while size >= 1000 and index < len(SUFFIXES) - 1:
        size /= 1000
        index += 1
    return sign + format_number(size, digits) + SUFFIXES[index]


def truncate(text, width, marker="…"):
    """Cut a text to `width` characters, the last of them the marker where something was cut."""
    if len(text) <= width:
        return text
    return text[: max(width - len(marker), 0)] + marker


def align_columns(rows, gap=2, right=()):
    """Return the rows as lines of aligned columns; positions in `right` are aligned to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = []
    for row in rows:
        for position, cell in enumerate(row):
            if position == len(widths):
                widths.append(0)
            widths[position] = max(widths[position], len(cell))
    lines = []
    for row in rows:
        cells = []
        for position, cell in enumerate(row):
            width = widths[position]
            cells.append(cell.rjust(width) if position in right else cell.ljust(width))
        lines.append((" " * gap).join(cells).rstrip())
    return lines
