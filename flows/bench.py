"""Judge candidates of one repository: the same work in a thread of this process and in a process of another machine."""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from extractors.diff import apply_patch
from extractors.reach import NameIndex
from schemas.errors import GymforgeError
from schemas.repo import EnvironmentInfo, Language
from schemas.reports import Baseline
from validation.fast_path import FastPath
from validation.impact import ImpactIndex, ImpactMap, read_change
from validation.prover import prove_candidate
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.validate import Proof, Suite
from validation.warm import Ground


class Brief(NamedTuple):
    """All that judging the candidates of a repository takes, wherever it is done; it can be pickled."""

    environment: EnvironmentInfo
    test_command: tuple[str, ...]
    variables: Mapping[str, str]
    """Environment variables of the repository's profile."""
    baseline: Baseline
    limits: Limits
    impact: ImpactMap | None
    """What every test depends on; `None` where whole suites judge."""
    texts: Mapping[str, bytes]
    """Files of the clean tree by path: those that candidates change, and those that tests execute."""
    language: Language
    seed: int


class Job(NamedTuple):
    """A candidate to judge."""

    position: int
    candidate_id: str
    path: str
    bug_patch: str
    audited: bool
    """Whether it is judged by whole suites as well."""


class Bench:
    """Judges by one brief, from as many threads as there are; a context manager."""

    def __init__(self, brief: Brief, backend: SandboxBackend) -> None:
        image = brief.environment.image_name
        self._brief = brief
        self._suite = Suite(
            backend=backend,
            image=image,
            test_command=brief.test_command,
            baseline=brief.baseline,
            environment=brief.variables,
            limits=brief.limits,
        )
        self._ground = Ground(backend, image, brief.test_command, brief.variables, brief.limits)
        self.impact = None if brief.impact is None else ImpactIndex(brief.impact)
        """What every test depends on, laid out for choosing."""
        self._names = NameIndex({}, brief.language)
        if self.impact is not None:
            # A file that is not there is made by the tests themselves, or is too large to be read.
            texts = {path: brief.texts.get(path) for path in self.impact.executed}
            self._names = NameIndex(texts, brief.language, loading=self.impact.impact.load_lines)
        self._fast_paths: dict[int, FastPath] = {}
        """By thread: a sandbox lives no longer than the thread that opened it."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all sandboxes that are kept warm."""
        self._stack.close()

    def judge(self, job: Job) -> Proof:
        """Judge one candidate.

        Raises:
            GymforgeError: this machine cannot judge it now, which says nothing about the candidate.
        """
        clean = self._brief.texts[job.path]
        bugged = apply_patch(clean, job.bug_patch)
        fast = self._own_fast_path()
        try:
            return prove_candidate(
                self._suite,
                fast,
                candidate_id=job.candidate_id,
                change=read_change(job.path, clean, bugged, job.bug_patch, self._names),
                edits={job.path: bugged},
                audited=job.audited,
            )
        except GymforgeError:
            if fast is not None:
                fast.close()  # what ended one sandbox, and was not its code, ended the others too
            raise

    def _own_fast_path(self) -> FastPath | None:
        if self.impact is None:
            return None
        me = threading.get_ident()
        if me not in self._fast_paths:
            fast = FastPath(self._ground, self._brief.baseline, self.impact, seed=self._brief.seed)
            self._fast_paths[me] = fast
            self._stack.callback(fast.close)
        return self._fast_paths[me]
