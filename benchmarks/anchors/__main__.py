"""What a user would pick instead of the fast path, and the truth, measured on a seeded sample of candidates.

    python -m benchmarks.anchors swesmith REPO --candidates 20 --workers 1 --json

`prepare` makes the environment, the baseline and all candidates; `swesmith` runs SWE-smith's own harness as shipped;
`fresh` runs its protocol in containers without any waiting; `truth` runs whole suites by stock pytest in fresh
sandboxes; `compare` holds what the anchors said against the truth. Everything is kept in --cache, a line a candidate,
so that the same command goes on after a kill and prints at once when all is done. Needs a Docker Engine.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.anchors import fresh, swesmith, truth
from benchmarks.anchors.compare import differences
from benchmarks.anchors.figures import counts
from benchmarks.anchors.results import Measured, Measurement, Store
from benchmarks.anchors.subject import CACHE, Subject, prepare
from schemas.errors import GymforgeError


def main() -> None:
    options = parse(sys.argv[1:])
    try:
        found = run(options, lambda line: print(line, file=sys.stderr, flush=True))
    except GymforgeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<24}{value}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.anchors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["prepare", "swesmith", "fresh", "truth", "compare"])
    parser.add_argument("repo", help="what `gymforge ingest` takes: URL, path or bundle")
    parser.add_argument("--ref")
    parser.add_argument("--config", type=Path, help="a gymforge.toml for the repository")
    parser.add_argument("--candidates", type=positive, default=20, help="size of the sample")
    parser.add_argument("--workers", type=positive, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the sample; candidates are made with seed 0")
    parser.add_argument(
        "--again-factor",
        type=float,
        default=truth.AGAIN_FACTOR,
        help="truth: a suite over its limit is run again with this many times the limit; 1 for not at all",
    )
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A number from 1 on; argparse makes its refusal a message."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def run(options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, object]:
    subject = prepare(options.repo, ref=options.ref, config=options.config, cache=options.cache)
    tell(f"{subject.ref.name} at {subject.ref.commit[:12]}: {len(subject.ids)} candidates, {subject.folder}")
    asked = {"size": options.candidates, "seed": options.seed, "workers": options.workers, "tell": tell}
    if options.what == "prepare":
        return describe(subject)
    if options.what == "truth":
        return counts(truth.measure(subject, **asked, again_factor=options.again_factor))
    if options.what == "compare":
        return compare(subject, size=options.candidates, seed=options.seed, workers=options.workers)
    measure = swesmith.measure if options.what == "swesmith" else fresh.measure
    return measure(subject, **asked).model_dump(mode="json")


def describe(subject: Subject) -> dict[str, object]:
    """What was prepared."""
    return {
        "repo": subject.ref.name,
        "commit": subject.ref.commit,
        "image": subject.environment.image_name,
        "candidates": len(subject.ids),
        "tests": len(subject.baseline.stable),
        "passing": len(subject.baseline.passing),
        "suite_s": round(subject.suite_s, 2),
        "shared_s": dict(subject.shared_s),
        "folder": str(subject.folder),
    }


def compare(subject: Subject, *, size: int, seed: int, workers: int) -> dict[str, object]:
    """What the anchors have said so far, against the truth as far as it is known."""
    true = _kept(Measurement(subject, truth.ANCHOR, size, seed, 0))
    found: dict[str, object] = {"truth": len(true)}
    for name in (swesmith.ANCHOR, fresh.ANCHOR):
        said = _kept(Measurement(subject, name, size, seed, workers))
        found[name] = len({one.id for one in true} & {one.id for one in said})
        found[f"{name}_differs"] = [one.model_dump() for one in differences(true, said)]
    return found


def _kept(measurement: Measurement) -> tuple[Measured, ...]:
    with Store.open(measurement.path) as store:
        done = store.measured()
    return tuple(done[one.id] for one in measurement.sample() if one.id in done)


if __name__ == "__main__":
    main()
