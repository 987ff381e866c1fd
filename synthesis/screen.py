"""Judge one rewrite before any test runs: a bugged file, or the reason why there is none."""

import ast
import tokenize
import warnings
from io import BytesIO
from typing import NamedTuple

from schemas.code import CandidateRejection
from synthesis.alone import CleanFile
from synthesis.dangling import dangling_reference
from synthesis.entities import Definition, SourceEntity, parse
from synthesis.lexing import LexingError
from synthesis.proof import is_replacement, same_tree, without_decorators
from synthesis.source import SourceText
from synthesis.splice import Spliced, splice


class Refusal(NamedTuple):
    """Why a rewrite is no bug."""

    reason: CandidateRejection
    detail: str = ""


def read_source(path: str, content: bytes) -> CleanFile:
    """A file of the clean tree, ready for its entities to be taken out.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        SyntaxError: it is not Python, or declares another encoding than UTF-8 and makes use of it.
    """
    encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
    text = content.decode("utf-8")
    if not encoding.startswith("utf-8") and not text.isascii():
        raise SyntaxError(f"it declares the encoding {encoding}")
    source = SourceText(text)
    return CleanFile(path, source, parse(source.normalised))


def screen(file: CleanFile, entity: SourceEntity, rewrite: str) -> str | Refusal:
    """The file's whole text with the bug, or why the rewrite is refused."""
    try:
        expected = _only_definition(parse(rewrite))
    except SyntaxError as error:
        return Refusal(CandidateRejection.SYNTAX_ERROR, str(error))
    if expected is None:
        return Refusal(CandidateRejection.NOT_RECONSTRUCTED, "the rewrite is not one definition")
    if same_tree(without_decorators(entity.node), expected):
        return _unchanged(entity, rewrite)
    problem = ""
    for by_token in (True, False):
        try:
            spliced = splice(file.source, entity, rewrite, by_token=by_token)
            tree = _proven(file, entity, spliced, expected)
        except (LexingError, SyntaxError) as error:
            problem = str(error)
            continue
        if tree is not None:
            return _flaw(file, entity, tree, expected) or spliced.text
        problem = "the spliced file has another syntax tree than the rewrite"
    return Refusal(CandidateRejection.NOT_RECONSTRUCTED, problem)


class _Proven(NamedTuple):
    """The bugged file's tree."""

    module: ast.Module
    compiles: bool
    """Whether it is known that it compiles."""


def _proven(file: CleanFile, entity: SourceEntity, spliced: Spliced, expected: Definition) -> _Proven | None:
    """What the spliced file is, if it is the old file with the entity replaced as expected.

    Raises:
        SyntaxError: it does not parse.
    """
    alone: Definition | None = expected
    if not file.is_moved(entity, spliced.body, spliced.rewritten):
        alone = file.parse_alone(entity, spliced.body)
    if alone is not None and same_tree(alone, expected) and file.compiles_alone(entity, alone):
        return _Proven(file.with_replaced(entity, alone), True)
    module = parse(SourceText(spliced.text).normalised)
    if is_replacement(file.tree, module, entity.node, expected, grown=spliced.grown):
        return _Proven(module, False)
    return None


def _flaw(file: CleanFile, entity: SourceEntity, proven: _Proven, expected: Definition) -> Refusal | None:
    """What makes the bug a trivial one that every import or compilation shows."""
    problem = "" if proven.compiles else _compile_error(proven.module, file.path)
    if problem:
        return Refusal(CandidateRejection.SYNTAX_ERROR, problem)
    if isinstance(entity.node, ast.ClassDef) and isinstance(expected, ast.ClassDef):
        use = dangling_reference(proven.module, entity.node, expected)
        if use:
            return Refusal(CandidateRejection.DANGLING_REFERENCE, use)
    return None


def _only_definition(module: ast.Module) -> Definition | None:
    node = module.body[0] if len(module.body) == 1 else None
    return node if isinstance(node, Definition) and not node.decorator_list else None


def _unchanged(entity: SourceEntity, rewrite: str) -> Refusal:
    """The tree is equal: tell a rewrite that changed only layout from one that changed nothing that counts."""
    before = [line.texts for line in SourceText(entity.text).logical_lines]
    after = [line.texts for line in SourceText(rewrite).logical_lines]
    if before == after and rewrite != entity.text:
        return Refusal(CandidateRejection.REFORMATTING)
    return Refusal(CandidateRejection.NO_OP)


def _compile_error(tree: ast.Module, path: str) -> str:
    """What the compiler finds beyond grammar, such as a `nonlocal` below its use; nothing is executed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(tree, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError) as error:
            return str(error)
    return ""
