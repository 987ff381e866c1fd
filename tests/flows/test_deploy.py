"""Schedules on a real Prefect server with a real worker: they fire, are killed, and go on."""

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest
import yaml

from storage.layout import DatasetLayout
from storage.manifest import read_manifest

ROOT = Path(__file__).parents[2]
SAMPLE = str(ROOT / "examples" / "tinystats.bundle")
PREFECT = (sys.executable, "-m", "prefect")
pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


class Server(NamedTuple):
    url: str
    environment: Mapping[str, str]
    restart: Callable[[], None]
    """Kill it, and start it again."""

    def ask(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}/{path}", json=body, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Its runs that are due, the earliest first."""
        found = self.ask("flow_runs/filter", flows={"name": {"any_": [flow]}}, sort="EXPECTED_START_TIME_ASC")
        return [run for run in found if run["state_type"] != "SCHEDULED"]


def test_parameters_of_the_deployments_are_those_of_their_flows() -> None:
    for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        module, _, name = one["entrypoint"].rpartition(".")
        called = import_module(module)
        inspect.signature(getattr(called, name).fn).bind(**one["parameters"])


def eventually(what: Callable[[], Any], *, within_s: float, every_s: float = 0.5) -> Any:
    end = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(every_s)
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Server]:
    """A whole server, with its scheduler and what acts on events, as `prefect server start` makes it."""
    home = tmp_path_factory.mktemp("server")
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    leases = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_UI_ENABLED": "0",
        "DO_NOT_TRACK": "1",
        "GYMFORGE_CACHE_DIR": str(shared_cache),
        "PYTHONPATH": str(ROOT),
        leases: compose["services"]["server"]["environment"][leases],
    }
    started: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        os.killpg(started[-1].pid, signal.SIGKILL)
        started[-1].wait()

    def start() -> None:
        with (home / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)

        def answers() -> bool:
            assert process.poll() is None, (home / "server.log").read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).is_success
            except httpx.TransportError:
                return False

        eventually(answers, within_s=120)

    def restart() -> None:
        stop()
        start()

    try:
        start()
        yield Server(f"http://127.0.0.1:{port}/api", environment, restart)
    finally:
        stop()


@pytest.fixture
def start_worker(server: Server, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(pool: str = "gymforge") -> "subprocess.Popen[bytes]":
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PREFECT, "worker", "start", "--pool", pool, "--limit", "1"],
                env={**server.environment, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
                cwd=tmp_path,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        kill_all(process)


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    """As the power would: the worker and everything that it started."""
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        for one in [process, *children]:
            try:
                os.kill(one.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def deploy(server: Server, folder: Path, *, silence_s: int = 90) -> dict[str, Any]:
    # A run that is silent for a minute and a half is dead here, or the test would take half an hour.
    soon = f"import flows.deploy; flows.deploy.SILENCE_S = {silence_s}"
    done = subprocess.run(
        [sys.executable, "-c", f"{soon}; from flows.entry import main; main()", "deploy", "--json"],
        cwd=folder,
        env={**server.environment, "PYTHONPATH": f"{ROOT}:{folder}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def describe(folder: Path, **parameters: object) -> None:
    """The project's own prefect.yaml, with a schedule that fires every minute and parameters of the test's."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for one in content["deployments"]:
        if one["name"] == "nightly":
            one["schedules"] = [{"cron": "* * * * *", "timezone": "UTC"}]
            one["parameters"] = {"repositories": "list.csv", "out": "tasks", "sandbox": "local", **parameters}
        else:
            one["schedules"] = []
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    (folder / "list.csv").write_text(f"source\n{SAMPLE}\n")


def test_a_schedule_fires_and_a_killed_run_is_told_dead_and_the_next_one_goes_on(
    server: Server,
    start_worker: Callable[[], "subprocess.Popen[bytes]"],
    finished_validations: Callable[[Path], dict[str, tuple[int, bytes]]],
    tmp_path: Path,
) -> None:
    describe(tmp_path)
    assert deploy(server, tmp_path)["deployments"] == ["check-health/daily", "refresh/nightly", "release/weekly"]
    assert deploy(server, tmp_path)["work_pools"] == [], "again, and nothing is made twice"
    (reaper,) = server.ask("automations/filter")
    assert reaper["trigger"]["within"] == 90
    out = tmp_path / "tasks"

    first = start_worker()
    eventually(lambda: len(finished_validations(out)) >= 2, within_s=180, every_s=0.05)
    kill_all(first)
    before = finished_validations(out)
    assert not DatasetLayout(out).manifest.exists() or not read_manifest(DatasetLayout(out)).ingestions
    (dead,) = [run for run in server.runs("refresh") if run["state_type"] == "RUNNING"]

    start_worker()
    # The dead run's place is free when it is told dead; then all of the sample is ingested, on a machine that may be busy.
    eventually(lambda: [run for run in server.runs("refresh") if run["state_type"] == "COMPLETED"], within_s=600)
    after = finished_validations(out)
    assert {name: after[name] for name in before} == before, "what was finished is not done again"
    (ingestion,) = read_manifest(DatasetLayout(out)).ingestions
    assert ingestion.tasks > 0

    def state_of_the_dead() -> str:
        return str(httpx.get(f"{server.url}/flow_runs/{dead['id']}", trust_env=False).json()["state_type"])

    eventually(lambda: state_of_the_dead() == "CRASHED", within_s=240)


def test_deployments_of_other_flows_that_have_the_same_name_are_not_taken_for_ours(
    server: Server, tmp_path: Path
) -> None:
    describe(tmp_path)
    deploy(server, tmp_path)
    other = server.ask("flows/", name="somebody-elses")
    server.ask("deployments/", name="nightly", flow_id=other["id"], entrypoint="theirs.flow")
    assert deploy(server, tmp_path)["deployments"] == ["check-health/daily", "refresh/nightly", "release/weekly"]


def test_an_automation_that_was_made_with_other_parameters_is_changed_and_stays_off_where_it_was(
    server: Server, tmp_path: Path
) -> None:
    describe(tmp_path)
    deploy(server, tmp_path)
    (before,) = server.ask("automations/filter")
    httpx.patch(f"{server.url}/automations/{before['id']}", json={"enabled": False}, trust_env=False).raise_for_status()
    deploy(server, tmp_path, silence_s=120)
    (after,) = server.ask("automations/filter")
    assert (after["id"], after["trigger"]["within"], after["enabled"]) == (before["id"], 120, False)
    httpx.patch(f"{server.url}/automations/{before['id']}", json={"enabled": True}, trust_env=False).raise_for_status()


WAITING = """
import time
from pathlib import Path

import prefect.concurrency._leases as leases
from prefect import flow

ROUNDS = []


class Often:
    \"\"\"A lease is renewed as soon as there is a reason to look at it, not every four minutes.\"\"\"

    def __rmul__(self, duration_s):
        while ROUNDS and not Path("restarted").exists():
            time.sleep(0.2)
        ROUNDS.append(duration_s)
        return 2.0


leases._RENEWAL_FRACTION = Often()


@flow
def waiting():
    Path("began").touch()
    while len(ROUNDS) < 4:
        time.sleep(0.2)
"""


def test_a_run_goes_on_where_its_server_is_started_again(
    server: Server, start_worker: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    """Its place among those that may run at the same time is kept: it is asked for after the restart, several times."""
    (tmp_path / "waiting.py").write_text(WAITING)
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    one = content["deployments"][0] | {"name": "waits", "entrypoint": "waiting.waiting", "parameters": {}}
    content["deployments"] = [one | {"schedules": [], "work_pool": one["work_pool"] | {"name": "waiting"}}]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(content))
    deploy(server, tmp_path)
    (deployed,) = server.ask("deployments/filter", deployments={"name": {"any_": ["waits"]}})
    assert deployed["global_concurrency_limit"]["limit"] == 1
    server.ask(f"deployments/{deployed['id']}/create_flow_run")
    start_worker("waiting")
    eventually((tmp_path / "began").exists, within_s=120)
    server.restart()
    (tmp_path / "restarted").touch()
    run = eventually(
        lambda: [one for one in server.runs("waiting") if one["state_type"] != "RUNNING"], within_s=180, every_s=2
    )
    assert [one["state_name"] for one in run] == ["Completed"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot read prefect.yaml"),
        ("[", "cannot read prefect.yaml"),
        ("deployments: []", "describes no deployment"),
        ("deployments: {a: b}", "describes no deployment"),
        ("deployments:\n- {name: a, entrypoint: b, work_pool: gymforge}", "deployment a: work_pool is 'gymforge'"),
        ("deployments:\n- {name: a, entrypoint: b, work_pool: {name: 3}}", "as in `work_pool: {name: gymforge}`"),
        ("deployments:\n- {name: a, entrypoint: flows.gone.nothing, work_pool: {name: gymforge}}", "does not accept"),
    ],
)
def test_a_file_that_prefect_cannot_use_is_one_clear_error(
    server: Server, tmp_path: Path, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / "prefect.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", "from flows.entry import main; main()", "deploy"],
        cwd=tmp_path,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("gymforge: "), told in done.stderr) == (2, 1, True), done.stderr


def test_without_a_server_the_command_says_how_to_have_one(gymforge) -> None:
    unnamed = gymforge("deploy", "prefect.yaml")
    assert (unnamed.code, "name it in PREFECT_API_URL" in unnamed.message) == (2, True)
    silent = gymforge("deploy", "prefect.yaml", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert (silent.code, "no Prefect server answers there" in silent.message) == (2, True)
