"""The licence of a repository as an SPDX expression and whose it is, from its own files; no guesses."""

import re
import tempfile
from pathlib import Path
from typing import Any

from extractors.tree import Tree
from schemas.errors import ProfileFailed

NOASSERTION = "NOASSERTION"

_NAMES = re.compile(r"(?:licen[cs]e|copying|unlicense)(?:$|[^a-z])|licenses/[^/]+$", re.IGNORECASE)
_NOT_TEXTS = (".py", ".json", ".yml", ".yaml", ".toml", ".cfg", ".ini", ".spdx", ".html", ".svg", ".png", ".header")
_MAX_BYTES = 256 * 1024
_MAX_FILES = 40
_NOTICE = re.compile(r"notice(?:$|[^a-z])", re.IGNORECASE)
_COPYRIGHT = re.compile(
    r"(?:[\s#*/;-]|portions |parts |all )*"
    r"(?:copyright\b(?=.*(?:(?:19|20)\d\d|\(c\)|©))|\(c\) ?(?=(?:19|20)\d\d)|©"
    r"|copyright (?:by )?(?=(?-i:[A-Z][\w.'\u2019-]*[a-z]))"
    r"(?!(?:holder|owner|notice|licen[cs]|law|act\b|right|and\b))).*\w",
    re.IGNORECASE,
)
_OF_THE_TEXT = re.compile(
    r"Free Software Foundation, Inc\.(?: *<http|, *(?:$|5[19] ))|[\[<{](?:yyyy|year|name)", re.IGNORECASE
)
"""Whose the text of a licence itself is (GNU), and what a licence's text says to fill in."""
_MAX_LINES = 100
_MAX_LINE = 300


def license_of(tree: Path) -> str:
    """SPDX expression of a checkout; several licences are combined only as the repository itself combines them."""
    files = Tree(tree)
    texts = [path for path in files.names_at("") + files.names_at("LICENSES") if _is_license_file(path)][:_MAX_FILES]
    found = [_identify(files, path) for path in texts]
    known = sorted({name for name in found if name})
    declared = _declared(files)
    if declared and known and _licenses_in(declared) == {_family(name) for name in known}:
        return declared
    if declared is None and len(known) == 1 and None not in found:
        return known[0]
    return NOASSERTION


def attribution_of(tree: Path) -> tuple[str, ...]:
    """Copyright lines of a checkout's licence and notice files, as they stand there, each once.

    Of files with more than 100 of them the first 100, and of a line the first 300 characters.
    """
    files = Tree(tree)
    paths = [path for path in files.names_at("") + files.names_at("LICENSES") if _is_license_file(path)]
    paths += [path for path in files.names_at("") if _NOTICE.match(path) and not path.lower().endswith(_NOT_TEXTS)]
    texts = [_text(files, path) or "" for path in paths[:_MAX_FILES]]
    lines = [line for text in texts for line in text.splitlines()]
    found = [line for line in lines if _COPYRIGHT.match(line) and not _OF_THE_TEXT.search(line)]
    return tuple(dict.fromkeys(" ".join(line.strip(" \t#*/;-").split())[:_MAX_LINE] for line in found))[:_MAX_LINES]


def _is_license_file(path: str) -> bool:
    return bool(_NAMES.match(path)) and not path.lower().endswith(_NOT_TEXTS)


def _identify(files: Tree, path: str) -> str | None:
    from identify.identify import license_id

    text = _text(files, path)
    if text is None:
        return None
    candidates = [text, _reflowed(text)]
    if _is_apache_without_appendix(text):
        candidates.append(f"{_reflowed(text)}\n{_apache_appendix()}")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "text")
        for candidate in candidates:
            copy.write_text(candidate, encoding="utf-8")
            if found := license_id(str(copy)):
                return str(found)
    return None


def _text(files: Tree, path: str) -> str | None:
    """A file's text; `None` where it is too long, no UTF-8, or leads out of the tree."""
    target = files.safe_path(path)
    if target is None or target.stat().st_size > _MAX_BYTES:
        return None
    try:
        return target.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def _reflowed(text: str) -> str:
    """The text with a line for each paragraph.

    `license_id` takes lines that begin with "copyright" for notices and drops them; how a text is wrapped decides
    whether a line of the licence itself begins so.
    """
    return "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text[:_MAX_BYTES]))


def _is_apache_without_appendix(text: str) -> bool:
    return bool(re.match(r"\s*Apache License\s+Version 2\.0", text)) and "APPENDIX" not in text


def _apache_appendix() -> str:
    """What follows the terms of Apache-2.0 in the published text: how to apply it, no part of what is licensed."""
    from identify.vendor.licenses import LICENSES

    return str(dict(LICENSES)["Apache-2.0"]).partition("END OF TERMS AND CONDITIONS")[2]


def _declared(files: Tree) -> str | None:
    """The licence expression (PEP 639) in `pyproject.toml`, normalised; `None` where there is none."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        project: Any = files.toml("pyproject.toml").get("project", {})
    except ProfileFailed:
        return None  # the profile reports it
    text = project.get("license") if isinstance(project, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None


def _licenses_in(expression: str) -> set[str]:
    words = re.sub(r"[()]", " ", expression).split()
    exceptions = {words[i + 1] for i, word in enumerate(words[:-1]) if word == "WITH"}
    return {_family(word) for word in words if word not in {"AND", "OR", "WITH"} | exceptions}


def _family(name: str) -> str:
    """A licence's text is the same whether later versions are allowed or not."""
    return re.sub(r"(?:-only|-or-later|\+)$", "", name)
