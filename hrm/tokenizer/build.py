"""Train the tokenizer: `python -m hrm.tokenizer.build --folder CORPUS --out FILE`.

Fetches the repositories of `sources.toml` at their commits into CORPUS (about 3 GB; what is there is not fetched
again) and learns merges from their code and documentation, and from the tasks of datasets that are named. The same
commits give the same file: it is how `hrm/tokenizer/bundled.json` was made.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hrm.tokenizer.corpus import SUFFIXES, TEXT_SUFFIXES, CorpusSource, Text, fetch, read, sources
from hrm.tokenizer.encoding import BUNDLED_VOCABULARY, Tokenizer
from hrm.tokenizer.merges import learn
from schemas.tasks import Plan, TaskInstance
from storage.layout import DatasetLayout
from storage.manifest import read_manifest
from storage.reader import checked_path, read_batches

CODE_BYTES = {
    "python": 20_000_000,  # what gymforge makes most tasks of
    "javascript": 20_000_000,  # two languages
    "go": 10_000_000,
    "rust": 10_000_000,
    "java": 10_000_000,
    "cpp": 10_000_000,
}
"""Code of each family that is learnt from."""
TEXT_BYTES = 4_000_000
"""Documentation, in English for the most part, that is learnt from."""
_TASK_COLUMNS = ["problem_statement", "patch", "plan"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, metavar="CORPUS", help="where repositories are kept")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--vocab-size", type=int, default=BUNDLED_VOCABULARY)
    parser.add_argument(
        "--dataset", type=Path, action="append", default=[], metavar="DIR", help="learn from its tasks too"
    )
    options = parser.parse_args()
    texts = [*corpus_texts(options.folder), *(text for folder in options.dataset for text in task_texts(folder))]
    Tokenizer(learn(texts, vocab_size=options.vocab_size)).save(options.out)
    print(f"{options.out}: {options.vocab_size} tokens from {sum(map(len, texts)) / 1e6:.1f} million characters")


def corpus_texts(folder: Path) -> Iterator[str]:
    """What the bundled tokenizer is trained on: the families' code, then documentation.

    Raises:
        CloneFailed: a repository cannot be had.
    """
    places = {source: fetch(source, folder) for source in sources() if not source.held_out}
    for family, limit_bytes in CODE_BYTES.items():
        of_family = [source for source in places if source.family == family]
        files = [
            tuple(read(places[one], one.commit, suffixes=SUFFIXES[family], limit_bytes=limit_bytes))
            for one in of_family
        ]
        yield from shared(files, limit_bytes=limit_bytes)
    pages = [
        tuple(read(place, one.commit, suffixes=TEXT_SUFFIXES, limit_bytes=TEXT_BYTES)) for one, place in places.items()
    ]
    yield from shared(pages, limit_bytes=TEXT_BYTES)


def held_out_files(folder: Path, *, limit_bytes: int) -> dict[CorpusSource, tuple[Text, ...]]:
    """Code that is kept from training, at most so many bytes of each repository.

    Raises:
        CloneFailed: a repository cannot be had.
    """
    return {
        one: tuple(read(fetch(one, folder), one.commit, suffixes=SUFFIXES[one.family], limit_bytes=limit_bytes))
        for one in sources()
        if one.held_out
    }


def shared(repositories: Sequence[Sequence[Text]], *, limit_bytes: int) -> Iterator[str]:
    """Files of all, in equal parts as far as they reach: what small repositories leave is for the larger ones."""
    left_bytes = limit_bytes
    by_size = sorted(repositories, key=lambda files: sum(file.size_bytes for file in files))
    for number, files in enumerate(by_size):
        part_bytes = left_bytes // (len(by_size) - number)
        for file in files:
            if file.size_bytes <= part_bytes:
                part_bytes -= file.size_bytes
                left_bytes -= file.size_bytes
                yield file.content


def task_texts(folder: Path) -> Iterator[str]:
    """Issues, plans and fixes of a dataset's tasks.

    Raises:
        DatasetError: it is none, or damaged.
    """
    layout = DatasetLayout(folder)
    shards = read_manifest(layout).task_shards()
    for rows in read_batches([checked_path(layout, shard) for shard in shards], columns=_TASK_COLUMNS):
        for row in rows:
            yield _text(row["problem_statement"], row["patch"], Plan.model_validate(row["plan"]))


def texts_of(tasks: Iterable[TaskInstance]) -> Iterator[str]:
    """The same of tasks that are handed in."""
    return (_text(task.problem_statement, task.patch, task.plan) for task in tasks)


def _text(issue: str, patch: str, plan: Plan) -> str:
    return "\n".join([issue, patch, plan.goal, *(step.description for step in plan.steps)])


if __name__ == "__main__":
    main()
