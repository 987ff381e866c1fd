"""Tables from delimited text: quotes, comments, missing cells."""

MISSING = frozenset({"", "-", "na", "n/a", "nan", "null"})


class ParseError(ValueError):
    """The text is not a table; `line` is where, counted from 1."""

    def __init__(self, message, line):
        super().__init__(f"line {line}: {message}")
        self.line = line


def split_row(text, delimiter=",", line=1):
    """Split one line into stripped cells; a doubled quote inside quotes stands for a quote."""
    cells, current, quoted, index = [], [], False, 0
    while index < len(text):
        character = text[index]
        if quoted and character == '"' and text[index + 1 : index + 2] == '"':
            current.append('"')
            index += 1
        elif character == '"':
            quoted = not quoted
        elif character == delimiter and not quoted:
            cells.append("".join(current).strip())
            current = []
        else:
            current.append(character)
        index += 1
    if quoted:
        raise ParseError("a quote is never closed", line)
    cells.append("".join(current).strip())
    return cells


def parse_cell(text):
    """Return an int, a float, `None` for a missing value, or the text itself."""
    cell = text.strip()
    if cell.lower() in MISSING:
        return None
    percent = cell.endswith("%")
    digits = cell[:-1] if percent else cell
    for kind in (int, float):
        try:
            number = kind(digits)
        except ValueError:
            continue
        return number / 100 if percent else number
    return cell


def guess_delimiter(text, candidates=",;\t|"):
    """Return the candidate that splits the lines most evenly; the first of them when none does."""
    lines = [line for line in text.splitlines() if line.strip()]
    best, best_count = candidates[0], 0
    for candidate in candidates:
        counts = {line.count(candidate) for line in lines}
        if len(counts) == 1 and max(counts) > best_count:
            best, best_count = candidate, max(counts)
    return best


class Table:
    """Named columns of equal length."""

    def __init__(self, header, rows):
        self.header = list(header)
        self.rows = [list(row) for row in rows]

    def __len__(self):
        return len(self.rows)

    def column(self, name):
        """Return the cells of one column, by its name or position."""
        if isinstance(name, int):
            position = name
        else:
            try:
                position = self.header.index(name)
            except ValueError:
                known = ", ".join(self.header)
                raise KeyError(f"no column {name!r}; there are {known}") from None
        return [row[position] for row in self.rows]

    def numbers(self, name):
        """Return the numbers of one column, without missing values and text."""
        return [cell for cell in self.column(name) if isinstance(cell, (int, float))]

    def where(self, name, wanted):
        """Return the rows whose cell in a column is `wanted`, or for which `wanted(cell)` holds."""
        matches = wanted if callable(wanted) else lambda cell: cell == wanted
        kept = [row for row, cell in zip(self.rows, self.column(name), strict=True) if matches(cell)]
        return Table(self.header, kept)

    def grouped(self, key, value):
        """Return the numbers of column `value` by the cells of column `key`."""
        groups = {}
        for name, cell in zip(self.column(key), self.column(value), strict=True):
            if cell is None:
                continue
            groups.setdefault(name, []).append(cell)
        return groups


def parse_table(text, delimiter=None, comment="#"):
    """Parse text whose first line is the header; blank lines and comments are left out."""
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not (comment and stripped.startswith(comment)):
            lines.append((number, line))
    if not lines:
        raise ParseError("there is no header", 1)
    if delimiter is None:
        delimiter = guess_delimiter("\n".join(line for _, line in lines))
    number, first = lines[0]
    header = split_row(first, delimiter, number)
    if len(set(header)) != len(header):
        raise ParseError("two columns have the same name", number)
    rows = []
    for number, line in lines[1:]:
        cells = split_row(line, delimiter, number)
        if len(cells) != len(header):
            raise ParseError(f"expected {len(header)} cells, found {len(cells)}", number)
        rows.append([parse_cell(cell) for cell in cells])
    return Table(header, rows)
