"""A complete row to vary; skips that say why, and that are failures where the environment promises the part (`GYMFORGE_REQUIRE=docker,sandbox,browser`)."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from schemas.manifest import Ingestion
from schemas.repo import DependencyMode, EnvironmentInfo, InstallSpec, Language, RepoProfile, SandboxKind
from schemas.tasks import TaskInstance
from storage.content import seal

# How long a busy machine takes says nothing about an invariant.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    if (
        signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ):  # under `nohup`: tests send it to commands, which inherit that
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


REPO = "acme/tinystats"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


PARTS = ("docker", "sandbox", "browser", "compose", "ray")
"""Markers of what a machine may lack."""


def _missing() -> dict[str, str]:
    from schemas.errors import GymforgeError
    from validation.sandbox.select import open_backend

    missing = {} if shutil.which("chromium") else {"browser": "there is no `chromium` on PATH (apt install chromium)"}
    if any(importlib.util.find_spec(name) is None for name in ("ray", "prefect_ray")):
        missing["ray"] = "the extra `ray` is not installed (make ray-env)"
    plugin = ["docker", "compose", "version"]
    if not shutil.which("docker-compose") and (
        not shutil.which("docker") or subprocess.run(plugin, capture_output=True, check=False).returncode
    ):
        missing["compose"] = "there is neither `docker-compose` nor `docker compose` (apt install docker-compose)"
    for marker, kind in (("docker", "docker"), ("sandbox", "local")):
        try:
            # Asking for the platform also makes Docker's base image, which needs a registry or GYMFORGE_BASE_IMAGE.
            open_backend(kind, cache_dir=Path(os.environ.get("TMPDIR", "/tmp")) / "gymforge-probe").platform()
        except GymforgeError as error:
            missing[marker] = str(error)
    return missing


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not any(item.get_closest_marker(name) for item in items for name in PARTS):
        return
    missing = _missing()
    required = set(filter(None, os.environ.get("GYMFORGE_REQUIRE", "").split(",")))
    if required & set(missing):
        reasons = "; ".join(f"{name}: {missing[name]}" for name in sorted(required & set(missing)))
        raise pytest.UsageError(f"GYMFORGE_REQUIRE asks for what this machine lacks: {reasons}")
    for item in items:
        for name, reason in missing.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{name} is not available here: {reason}"))


@pytest.fixture(autouse=True)
def _no_stray_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in os.environ
        if name.startswith("GYMFORGE_") and name not in {"GYMFORGE_REQUIRE", "GYMFORGE_BASE_IMAGE"}
    ]:
        monkeypatch.delenv(name)


def _task(number: int = 0, **changes: Any) -> TaskInstance:
    fields: dict[str, Any] = {
        "repo": REPO,
        "instance_id": f"acme__tinystats.01234567.op_change__{number:010x}",
        "base_commit": COMMIT,
        "patch": f"diff --git a/s.py b/s.py\n-{number}\n+a < b\n",
        "test_patch": "",
        "problem_statement": f"rolling_mean is wrong for {number}; größer, 数",
        "hints_text": "",
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "version": "v1.2-3-g0123456",
        "FAIL_TO_PASS": ("tests/test_s.py::test_even[a b-ä]",),
        "PASS_TO_PASS": ("tests/test_s.py::test_one", "tests/test_s.py::test_two"),
        "environment_setup_commit": COMMIT,
        "bug_patch": f"diff --git a/s.py b/s.py\n-a < b\n+{number}\n",
        "image_name": "gymforge/acme__tinystats:abcdefabcdef",
        "test_command": ("python", "-m", "pytest"),
        "language": "python",
        "domain": [{"label": "scientific-computing", "score": 0.8, "evidence": ["import:math"]}],
        "complexity": {
            "score": 0.31,
            "cyclomatic": 4,
            "cognitive": 3,
            "nesting": 2,
            "lines": 20,
            "changed_lines": 1,
            "files": 1,
            "functions": 1,
            "call_distance": None,
        },
        "strategy": "op_change",
        "issue_style": "from_test_output",
        "license_spdx": "MIT",
        "plan": {
            "goal": "Make it right",
            "steps": [{"kind": "verify", "description": "d", "files": [], "symbols": [], "tests": ["t"]}],
        },
        "edit_targets": [
            {
                "path": "s.py",
                "language": "python",
                "symbol": "f",
                "node_kind": "comparison_operator",
                "start_line": 1,
                "end_line": 1,
                "start_byte": 0,
                "end_byte": 5,
                "op": "replace",
                "before": str(number),
                "after": "a < b",
                "search": f"{number}\n",
                "replace": "a < b\n",
            }
        ],
        "validation": {
            "sandbox": "local",
            "baseline_runs": 3,
            "bugged_runs": 2,
            "flaky_excluded": 0,
            "fast_path": False,
            "audited": False,
        },
        "provenance": {
            "url": "https://example.org/acme/tinystats",
            "gymforge_version": "0.1.0",
            "generator": "swesmith==0.0.9",
            "seed": 0,
            "candidate_seed": number,
            "config_hash": "c0",
            "entity": "f",
            "python_version": "3.11.7",
            "dependency_mode": "newest",
            "dependencies": ["pytest==9.0.0"],
            "environment": ["MY_FLAG=yes"],
            "tagger_versions": ["radon==6"],
            "issue_reveals": ["behaviour"],
        },
        "content_hash": "",
    }
    return seal(TaskInstance.model_validate(fields | changes))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., TaskInstance]:
    return _task


def _built() -> dict[str, Any]:
    profile = RepoProfile(
        language=Language.PYTHON,
        source_files=("s.py",),
        test_files=("tests/test_s.py",),
        install=InstallSpec(project=True, requirements=("pytest",)),
        test_command=("python", "-m", "pytest"),
        provenance={"source_files": "flat layout"},
    )
    environment = EnvironmentInfo(
        key="ab" * 32,
        image_name="gymforge/acme__tinystats:abcdefabcdef",
        sandbox=SandboxKind.LOCAL,
        python_version="3.11.7",
        dependencies=("pytest==9.0.0",),
        dependency_mode=DependencyMode.NEWEST,
    )
    return {"profile": profile, "environment": environment, "not_passing": ("tests/test_s.py::test_skipped",)}


@pytest.fixture(scope="session")
def built() -> dict[str, Any]:
    """The parts of an `Ingestion` that say how the repository was built and tested."""
    return _built()


@pytest.fixture(scope="session")
def make_ingestion(built: dict[str, Any]) -> Callable[..., Ingestion]:
    def make(**changes: Any) -> Ingestion:
        fields = {
            "repo": REPO,
            "url": "https://example.org/acme/tinystats",
            "commit": COMMIT,
            "license_spdx": "MIT",
            "sandbox": "local",
            "config_hash": "c0",
            "seed": 0,
            "tasks": 0,
            "rejected": {},
            "quarantined": {},
            "shards": (),
            "rejected_shards": (),
        }
        return Ingestion.model_validate(fields | built | changes)

    return make


@pytest.fixture(scope="session")
def write_dataset() -> Callable[[Path, TaskInstance], None]:
    """Make a dataset folder of one task, without running anything."""

    def write(folder: Path, task: TaskInstance) -> None:
        from storage.manifest import add_ingestion, open_for_writing
        from storage.shards import write_tasks

        with open_for_writing(folder) as layout:
            shards = write_tasks(layout, repo=task.repo, commit=task.base_commit, tasks=[task])
            ingestion = Ingestion(
                repo=task.repo,
                url="local/x",
                commit=task.base_commit,
                license_spdx="MIT",
                sandbox="local",
                config_hash="0",
                seed=0,
                tasks=1,
                rejected={},
                quarantined={},
                shards=shards,
                rejected_shards=(),
                **_built(),
            )
            add_ingestion(layout, ingestion)

    return write


@pytest.fixture(scope="session")
def hub_server() -> ModuleType:
    """The module of the hub on this machine."""
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).parent / "storage" / "hub_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["hub_server"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(
    hub_server: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A hub on this machine that the client in this process speaks to, with a token that may write; it never waits long."""
    import huggingface_hub
    from huggingface_hub import constants

    home = tmp_path_factory.mktemp("hf")
    with hub_server.serving() as server:
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HF_TOKEN", server.TOKEN)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        resolve = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # another test may have been the first to import it
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=server.waited_s.append))
        huggingface_hub.close_session()
        yield server
        huggingface_hub.close_session()
