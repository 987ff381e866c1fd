"""Choose the dependencies of a repository: the newest, or those of the commit's time where the suite needs them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from extractors.acquire import Checkout
from flows.progress import listener
from flows.settings import IngestSettings
from schemas.errors import BaselineFailed, EnvironmentFailed, GymforgeError
from schemas.repo import EnvironmentInfo, RepoProfile
from schemas.reports import Baseline, Outcome
from validation.baseline import BaselineSettings, measure_baseline
from validation.environment import build_environment
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.suite import frozen_test_command, with_runner

HEALTHY_SHARE = 0.9
"""With the newest dependencies at least this share of the tests that ran must pass; else older ones are tried."""


class Preparation:
    """Builds environments for one checkout and measures baselines in them."""

    def __init__(
        self,
        settings: IngestSettings,
        backend: SandboxBackend,
        checkout: Checkout,
        profile: RepoProfile,
        timed: Callable[[str], AbstractContextManager[None]],
        now: datetime,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._checkout = checkout
        self._profile = profile
        self._timed = timed
        self._now = now

    def choose(self) -> tuple[EnvironmentInfo, Baseline]:
        """The environment in which more tests pass, and its baseline.

        Raises:
            EnvironmentFailed, BaselineFailed: neither gives a suite that runs; of the attempt that came further.
        """
        attempts: list[tuple[EnvironmentInfo, Baseline]] = []
        errors: list[GymforgeError] = []
        for cutoff in (None, self._checkout.ref.committed_at):
            try:
                environment = self.build(cutoff=cutoff, lock=None)
                baseline = self._measure(environment)
            except (EnvironmentFailed, BaselineFailed) as error:
                if error.transient:
                    raise  # an index that is down says nothing about the newest dependencies
                errors.append(error)
                listener().fact(str(error))
                continue
            attempts.append((environment, baseline))
            if _is_healthy(baseline):
                break
        if not attempts:
            raise _both_failed(errors, committed_at=self._checkout.ref.committed_at)
        best = max(attempts, key=lambda attempt: len(attempt[1].passing))
        listener().fact(
            f"{len(best[1].passing)} of {len(best[1].stable)} stable tests pass, {len(best[1].quarantined)} are in "
            f"quarantine ({best[0].dependency_mode} dependencies, Python {best[0].python_version})"
        )
        return best

    def build(self, *, cutoff: datetime | None, lock: Sequence[str] | None) -> EnvironmentInfo:
        """The environment with what was released by `cutoff`, or with the very distributions of `lock`."""
        listener().stage("environment")
        with self._timed("environment"):
            return build_environment(
                self._checkout.path,
                self._checkout.ref,
                with_runner(self._profile),
                backend=self._backend,
                cache_dir=self._settings.cache_dir,
                cutoff=cutoff,
                lock=lock,
                now=self._now,
            )

    def _measure(self, environment: EnvironmentInfo) -> Baseline:
        listener().stage("baseline")
        with self._timed("baseline"):
            return measure_baseline(
                self._backend,
                environment.image_name,
                test_command=frozen_test_command(self._profile.test_command, environment.dependencies),
                source_files=self._profile.source_files,
                environment=self._profile.environment,
                limits=Limits(),
                settings=BaselineSettings(shuffle_seed=self._settings.seed),
            )


def _both_failed(errors: Sequence[GymforgeError], *, committed_at: datetime) -> GymforgeError:
    """One error for both attempts, of the kind of the one that came further."""
    newest, dated = (str(error).rstrip() for error in errors)
    day = f"{committed_at:%Y-%m-%d}, the commit's time"
    if dated == newest:
        message = f"{newest}\nThe releases of {day}, give the same."
    else:
        message = f"{newest}\nWith the releases of {day}, instead: {dated}"
    if any(isinstance(error, BaselineFailed) for error in errors):
        return BaselineFailed(message)
    return EnvironmentFailed(message)


def _is_healthy(baseline: Baseline) -> bool:
    ran = [outcome for outcome in baseline.stable.values() if outcome is not Outcome.SKIPPED]
    return len(baseline.passing) >= HEALTHY_SHARE * len(ran)
