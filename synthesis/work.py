"""Make the bugs of one piece of a file: what a process does between two messages."""

import gc
import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from extractors.diff import FileChange, make_patches
from schemas.code import Candidate, CandidateRejection, RejectedRewrite
from synthesis.alone import CleanFile
from synthesis.entities import SourceEntity, extract_entities
from synthesis.identity import derive_seed
from synthesis.lexing import LexingError
from synthesis.screen import Refusal, read_source, screen
from synthesis.strategy import StrategyError, load_strategy

_PATCHES_AT_ONCE = 64


class Piece(NamedTuple):
    """Some entities of one file, small enough to send to another process."""

    tree: Path
    path: str
    seed: int
    strategies: tuple[str, ...]
    number: int
    """Which of the file's pieces it is, from 0."""
    pieces: int


class Made(NamedTuple):
    """A rewrite that passed the screen."""

    strategy: str
    entity: str
    digest: bytes
    """Of the bugged file."""
    candidate: Candidate | None
    """`None` where an earlier one of the piece makes the same file."""


class _Bug(NamedTuple):
    """A screened rewrite that has no patch yet."""

    strategy: str
    entity: SourceEntity
    explanation: str
    seed: int
    content: bytes


class _Clean(NamedTuple):
    content: bytes
    file: CleanFile
    entities: tuple[SourceEntity, ...]


def work(piece: Piece) -> tuple[Made | RejectedRewrite, ...]:
    """All rewrites of the piece's entities, by place in the file and strategy."""
    with _no_collector():
        clean = _read(piece.tree, piece.path)
        if isinstance(clean, RejectedRewrite):
            return (clean,) if piece.number == 0 else ()
        count = len(clean.entities)
        own = clean.entities[piece.number * count // piece.pieces : (piece.number + 1) * count // piece.pieces]
        return tuple(_with_patches(clean.content, piece.path, _bugs(piece, clean.file, own)))


@contextmanager
def _no_collector() -> Iterator[None]:
    """Syntax trees hold no cycles, and looking for some among millions of nodes takes a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@lru_cache(maxsize=1)
def _read(tree: Path, path: str) -> _Clean | RejectedRewrite:
    """A file's pieces are mostly worked on one after the other."""
    content = (tree / path).read_bytes()
    try:
        file = read_source(path, content)
        return _Clean(content, file, extract_entities(path, file.source, file.tree))
    except (UnicodeDecodeError, SyntaxError, LexingError) as error:
        reason = CandidateRejection.SYNTAX_ERROR
        if not isinstance(error, SyntaxError):
            reason = CandidateRejection.NOT_RECONSTRUCTED
        detail = f"the clean file cannot be read: {error}"
        return RejectedRewrite(strategy="", path=path, entity="", reason=reason, detail=detail)


def _bugs(piece: Piece, file: CleanFile, entities: Sequence[SourceEntity]) -> Iterator[_Bug | RejectedRewrite]:
    strategies = [load_strategy(name) for name in piece.strategies]
    for entity in entities:
        for strategy in strategies:
            name = entity.entity.name
            try:
                if not strategy.applies_to(entity):
                    continue
                own_seed = derive_seed(piece.seed, strategy.name, file.path, name, entity.ordinal)
                for rewrite in strategy.propose(entity, rng=random.Random(own_seed)):  # noqa: S311
                    screened = screen(file, entity, rewrite.text)
                    if isinstance(screened, Refusal):
                        yield _rejected(strategy.name, file.path, name, screened)
                    else:
                        yield _Bug(strategy.name, entity, rewrite.explanation, own_seed, screened.encode())
            except StrategyError as error:
                refusal = Refusal(CandidateRejection.STRATEGY_FAILED, str(error))
                yield _rejected(strategy.name, file.path, name, refusal)


def _rejected(strategy: str, path: str, entity: str, refusal: Refusal) -> RejectedRewrite:
    return RejectedRewrite(strategy=strategy, path=path, entity=entity, reason=refusal.reason, detail=refusal.detail)


def _with_patches(clean: bytes, path: str, bugs: Iterator[_Bug | RejectedRewrite]) -> Iterator[Made | RejectedRewrite]:
    """The same in the same order, with patches. Few bugged files are held at once."""
    seen: set[bytes] = set()
    batch: list[Made | RejectedRewrite] = []
    waiting: dict[int, _Bug] = {}
    for bug in bugs:
        if isinstance(bug, _Bug):
            digest = hashlib.sha256(bug.content).digest()
            if digest not in seen:
                waiting[len(batch)] = bug
            seen.add(digest)
            batch.append(Made(bug.strategy, bug.entity.entity.name, digest, None))
        else:
            batch.append(bug)
        if len(waiting) == _PATCHES_AT_ONCE:
            yield from _finished(clean, path, batch, waiting)
            batch, waiting = [], {}
    yield from _finished(clean, path, batch, waiting)


def _finished(
    clean: bytes, path: str, batch: list[Made | RejectedRewrite], waiting: dict[int, _Bug]
) -> list[Made | RejectedRewrite]:
    patches = make_patches([FileChange(path, clean, bug.content) for bug in waiting.values()])
    for (position, bug), patch in zip(waiting.items(), patches, strict=True):
        made = batch[position]
        assert isinstance(made, Made)
        candidate = Candidate(
            strategy=bug.strategy,
            entity=bug.entity.entity,
            bug_patch=patch,
            explanation=bug.explanation,
            seed=bug.seed,
        )
        batch[position] = made._replace(candidate=candidate)
    return batch
