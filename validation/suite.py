"""Run a repository's suite in a sandbox and read its report from the channel."""

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas.repo import RepoProfile
from validation.channel import LOG_TAIL_BYTES, SuiteRun, read_channel
from validation.sandbox.protocol import ENV_DIR, MIB, TESTBED, Sandbox

RUNNER_REQUIREMENTS = ("coverage>=5",)
"""What the runner needs in the environment beside pytest; used for the baseline's line coverage alone."""


FROZEN_ARGUMENTS = ("-o", "cache_dir=/tmp/gymforge-pytest-cache", "--maxfail=0", "--continue-on-collection-errors")
"""Options of every run: nothing is written to the tree, every test runs, and one broken module hides no other."""

PLUGIN_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "hypothesis": ("--hypothesis-seed=0",),
    "pytest-randomly": ("--randomly-seed=0", "--randomly-dont-reorganize"),
    "pytest-random-order": ("--random-order-bucket=none",),
    "pytest-xdist": ("-n0",),
    "pytest-cov": ("--no-cov",),
    "pytest-rerunfailures": ("--reruns=0",),
}
"""Options that make a run repeatable where the environment holds the plugin. A plugin is never switched off as a
whole, for then the repository's own options for it would be unknown."""

OTHER_RANDOM_SEED = 1
"""For runs that are to confirm others: what depends on one sequence of random numbers is not confirmed."""
EXIT_GRACE_S = 5.0
COVERAGE_CHANNEL_BYTES = 512 * MIB


class SuiteOptions(NamedTuple):
    """How to run a suite this time."""

    environment: Mapping[str, str] = {}
    """Variables of the repository's profile, beyond the frozen ones."""
    files: Sequence[str] | None = None
    """Test files to load, or parts of them, as test ids name them; `None` for what the command says."""
    select: Sequence[str] | None = None
    """Tests to run; `None` for all."""
    random_seed: int = 0
    """With which `random` and `numpy.random` begin every test. Test files are loaded with 0: ids may be drawn there."""
    shuffle_seed: int | None = None
    reverse: bool = False
    """Whether the tests run last to first."""
    coverage_of: Sequence[str] | None = None
    """Source files whose lines are recorded by test; `None` for no recording."""
    trace: bool = False
    """Whether to look, beside lines, for files that tests read and processes that they start."""
    state: bool = False
    """Whether to look for what the tests leave changed in their process."""
    limits_s: Mapping[str, float] = {}
    default_limit_s: float = 300.0
    """Limit of a test that has none of its own."""
    cpu_limits_s: Mapping[str, float] = {}
    """In CPU time of all processes of the run, where a test burns it instead of waiting."""
    default_cpu_limit_s: float | None = None
    idle_limits_s: Mapping[str, float] = {}
    """In time in which no process of the run has or wants a CPU, where a test waits for what does not come."""
    load_cpu_limit_s: float | None = None
    """For loading the test files, in CPU time."""
    suite_limit_s: float = 3600.0
    exit_grace_s: float = EXIT_GRACE_S
    """For what the test process does after its last test: threads that it left, functions at exit."""
    exit_cpu_limit_s: float | None = None
    """For the same, in CPU time ..."""
    exit_idle_limit_s: float | None = None
    """... and in time in which it has and wants no CPU."""
    stop_on_timeout: bool = False
    explain: Sequence[str] | None = None
    """Tests whose failures are told in full, with statement and trace; `None` for all. It takes time."""


def with_runner(profile: RepoProfile) -> RepoProfile:
    """The profile with the runner's own requirements added to what is installed."""
    requirements = tuple(dict.fromkeys((*profile.install.requirements, *RUNNER_REQUIREMENTS)))
    install = profile.install.model_copy(update={"requirements": requirements})
    return profile.model_copy(update={"install": install})


def frozen_test_command(
    test_command: Sequence[str], dependencies: Sequence[str], *, without: Sequence[str] = ()
) -> tuple[str, ...]:
    """The profile's command with the options that make it repeatable in an environment with these `name==version`.

    `without` names tests to leave out (pytest takes the beginning of an id), for they hang on the clean tree.
    """
    installed = {requirement.split("==", 1)[0].lower().replace("_", "-") for requirement in dependencies}
    extra = [option for plugin, options in PLUGIN_ARGUMENTS.items() if plugin in installed for option in options]
    return (*test_command, *FROZEN_ARGUMENTS, *extra, *(f"--deselect={test}" for test in without))


def run_suite(sandbox: Sandbox, test_command: Sequence[str], *, options: SuiteOptions) -> SuiteRun:
    """Run the suite in the sandbox's work tree as it is.

    Raises:
        SandboxFailed: the sandbox died, or nothing in it could start a Python process.
    """
    settings = runner_settings(options)
    settings |= {
        "worker": program("pytest_sources", "pytest_state", "pytest_trace", "pytest_worker"),
        "args": pytest_arguments(test_command),
    }
    result = sandbox.run(
        [f"{ENV_DIR}/bin/python", "-I", "-S", "-c", program("pytest_supervisor")],
        timeout_s=options.suite_limit_s + options.exit_grace_s,
        stdin=json.dumps(settings).encode(),
        environment=options.environment,
        cwd=TESTBED,
        max_output_bytes=LOG_TAIL_BYTES * 8,
        max_channel_bytes=64 * MIB if options.coverage_of is None else COVERAGE_CHANNEL_BYTES,
    )
    return read_channel(result)


def runner_settings(options: SuiteOptions) -> dict[str, Any]:
    """What the runner's supervisor and worker are told of a run (see `runners/`)."""
    return {
        "token": secrets.token_hex(16),
        "files": None if options.files is None else list(options.files),
        "select": None if options.select is None else list(options.select),
        "random_seed": options.random_seed,
        "shuffle_seed": options.shuffle_seed,
        "reverse": options.reverse,
        "coverage": options.coverage_of is not None,
        "source_files": list(options.coverage_of or ()),
        "trace": options.trace,
        "state": options.state,
        "scout": False,
        "bytecode": None,
        "explain": None if options.explain is None else list(options.explain),
        "limits_s": dict(options.limits_s),
        "default_limit_s": options.default_limit_s,
        "cpu_limits_s": dict(options.cpu_limits_s),
        "default_cpu_limit_s": options.default_cpu_limit_s,
        "idle_limits_s": dict(options.idle_limits_s),
        "startup_limit_s": options.suite_limit_s,
        "startup_cpu_limit_s": options.load_cpu_limit_s,
        "exit_grace_s": options.exit_grace_s,
        "exit_cpu_limit_s": options.exit_cpu_limit_s,
        "exit_idle_limit_s": options.exit_idle_limit_s,
        "stop_on_timeout": options.stop_on_timeout,
        "max_restarts": 50,
    }


def pytest_arguments(test_command: Sequence[str]) -> list[str]:
    """What follows `python -m pytest` or `pytest` in a test command.

    Raises:
        ValueError: it is another command.
    """
    words = list(test_command)
    if words[:3] == ["python", "-m", "pytest"]:
        return words[3:]
    if words[:1] == ["pytest"]:
        return words[1:]
    raise ValueError(f"not a pytest command: {' '.join(words)}; set test_command in gymforge.toml")


def program(*names: str) -> str:
    """One text for `python -c` of files in `runners/`: the last is the program, the others modules that it imports."""
    folder = Path(__file__).parent / "runners"
    *modules, last = ((folder / f"{name}.py").read_text("utf-8") for name in names)
    loading = "".join(
        f"_m = sys.modules[{name!r}] = types.ModuleType({name!r})\nexec({source!r}, _m.__dict__)\n"
        for name, source in zip(names, modules, strict=False)
    )
    return f"import sys, types\n{loading}{last}" if modules else last
