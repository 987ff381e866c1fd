"""What benchmarks of validation measure on: one repository, prepared by the product's own code and kept on disk."""

import hashlib
import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from extractors.source import parse_source
from flows.pipeline import Pipeline
from flows.preflight import refuse_bad_settings
from flows.settings import IngestSettings, default_workers
from schemas.code import Candidate
from schemas.errors import InvalidInput
from schemas.repo import EnvironmentInfo, RepoProfile, RepoRef
from schemas.reports import Baseline
from storage.durable import require_usable
from synthesis.identity import instance_id
from validation.baseline import suite_s
from validation.sandbox.protocol import SandboxBackend
from validation.verify import apply_with_git

CACHE = Path(__file__).parents[2] / "build" / "benchmark-cache"
"""Git ignores it; may be deleted, and is then made and measured anew."""


class Chosen(NamedTuple):
    """One candidate of a sample."""

    position: int
    """Where it stands among all candidates, in the product's own order."""
    id: str
    candidate: Candidate


class Subject(NamedTuple):
    """A prepared repository."""

    ref: RepoRef
    tree: Path
    """The clean tree, without `.git`."""
    profile: RepoProfile
    environment: EnvironmentInfo
    baseline: Baseline
    test_command: tuple[str, ...]
    """Frozen: what the product runs."""
    candidates: tuple[Candidate, ...]
    ids: tuple[str, ...]
    backend: SandboxBackend
    folder: Path
    """Results about this repository, at this commit, in this environment, lie here."""
    shared_s: Mapping[str, float]
    """Seconds of the stages that every way of validating shares: acquire, environment, baseline, synthesize."""

    def sample(self, size: int, *, seed: int) -> tuple[Chosen, ...]:
        """A uniform sample of all candidates; a smaller one is the beginning of a larger one with the same seed.

        Raises:
            InvalidInput: there are fewer candidates.
        """
        if size > len(self.ids):
            raise InvalidInput(f"{self.ref.name} has {len(self.ids)} candidates; ask for no more than that, not {size}")
        return tuple(
            Chosen(position, self.ids[position], self.candidates[position])
            for position in positions(len(self.ids), size, seed=seed)
        )

    def bugged_files(self, candidate: Candidate) -> Mapping[str, bytes]:
        """The files that the bug changes, with the bug, as git makes them."""
        path = candidate.entity.path
        return apply_with_git({path: (self.tree / path).read_bytes()}, candidate.bug_patch)

    @property
    def suite_s(self) -> float:
        """Seconds that the whole suite takes on the clean tree, in the slower of the baseline's timed runs."""
        return suite_s(self.baseline)


def positions(count: int, size: int, *, seed: int) -> tuple[int, ...]:
    """`size` of `count` positions, uniformly and without repeats; all are shuffled once, and the first are taken."""
    return tuple(random.Random(seed).sample(range(count), count)[:size])


def prepare(
    source: str,
    *,
    ref: str | None = None,
    config: Path | None = None,
    sandbox: str = "docker",
    seed: int = 0,
    workers: int | None = None,
    cache: Path = CACHE,
    product_cache: Path | None = None,
) -> Subject:
    """Acquire, profile, environment, baseline and candidates, as an ingestion would; a second call reads them.

    `product_cache`: where the product keeps downloads and environments; by default a folder in `cache`.

    Raises:
        GymforgeError: what an ingestion of this repository would end with.
    """
    out = cache / "prepared" / _name(source, ref, config, sandbox, seed)
    settings = IngestSettings(
        source=source,
        ref=ref,
        out=out,
        sandbox=sandbox,
        workers=workers or default_workers(),
        seed=seed,
        config=config,
        cache_dir=product_cache or cache / "product",
    )
    require_usable(out.parent, instead="name another folder with --cache")
    with FileLock(out.with_suffix(".lock")):  # two measurements of one repository may begin at the same time
        refuse_bad_settings(settings)
        return _prepare(settings, cache / "results")


def _prepare(settings: IngestSettings, results: Path) -> Subject:
    with Pipeline(settings) as pipeline:
        profile = pipeline.acquire()
        prepared = pipeline.prepare()
        pipeline.synthesize()
        repo, candidates = pipeline.checkout.ref, pipeline.synthesized.candidates
        slug = instance_id(repo.name, repo.commit, "", "").rpartition(".")[0]
        folder = results / f"{slug}-{prepared.environment.key[:12]}"
        tree = _keep_tree(pipeline.checkout.path, folder / "tree")
        shared_s: dict[str, float] = {}
        for entry in pipeline.ledger.times():
            # Every call acquires anew; what the others took stands there once.
            shared_s[entry.stage] = entry.seconds + (0.0 if entry.stage == "acquire" else shared_s.get(entry.stage, 0))
        return Subject(
            ref=repo,
            tree=tree,
            profile=profile,
            environment=prepared.environment,
            baseline=prepared.baseline,
            test_command=prepared.test_command,
            candidates=candidates,
            ids=tuple(instance_id(repo.name, repo.commit, one.strategy, one.bug_patch) for one in candidates),
            backend=pipeline.backend,
            folder=folder,
            shared_s={stage: round(seconds, 2) for stage, seconds in shared_s.items()},
        )


def _name(source: str, ref: str | None, config: Path | None, sandbox: str, seed: int) -> str:
    parsed = parse_source(source)
    asked = [parsed.address, ref, None if config is None else _text(config), sandbox, seed]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return f"{parsed.name.replace('/', '__')}-{digest[:12]}"


def _text(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"--config {config} cannot be read: {error}") from error


def _keep_tree(checkout: Path, place: Path) -> Path:
    if not place.is_dir():
        scratch = place.with_name(f".{place.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(checkout, scratch, symlinks=True)
        scratch.rename(place)
    return place
