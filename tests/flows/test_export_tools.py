"""SWE-bench's, SWE-smith's and Docker's own code on exports of a real dataset: they load, run and grade as we do."""

import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.export import export_tasks
from flows.pipeline import Pipeline
from flows.settings import IngestSettings
from schemas.tasks import TaskInstance
from storage.formats.seen import unseen_tests
from task_registry import Registry
from validation.junit import JunitResult, address_of, read_junit
from validation.sandbox.protocol import TESTBED, Sandbox
from validation.sandbox.select import open_backend
from validation.verify import apply_with_git

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]
ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "tinystats.bundle"
JUNIT = "/tmp/ours.xml"
IMAGE_FOLDERS = ("/testbed", "/env", "/gymforge", "/tmp", "/root", "/home", "/opt", "/srv", "/var/tmp")
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

SWEBENCH = """
import json, sys
sys.path.insert(0, "."); import register
from swebench.harness.grading import get_eval_report
from swebench.harness.test_spec.test_spec import make_test_spec
from swebench.harness.utils import load_swebench_dataset
specs = {row["instance_id"]: make_test_spec(row) for row in load_swebench_dataset("test.jsonl")}
asked = json.load(sys.stdin)
def report(one):
    prediction = {"instance_id": one["id"], "model_name_or_path": "x", "model_patch": "x"}
    return get_eval_report(specs[one["id"]], prediction, one["log"], include_tests_status=True)[one["id"]]
print(json.dumps({
    "specs": {name: {"eval": spec.eval_script, "repo": spec.repo_script_list, "env": spec.env_script_list}
              for name, spec in specs.items()},
    "reports": [report(one) for one in asked],
}))
"""
SWESMITH = """
import json, sys
sys.path.insert(0, "."); import register
from swesmith.harness.grading import get_eval_report
from swesmith.profiles import registry
rows = {row["instance_id"]: row for row in map(json.loads, open("tasks.jsonl"))}
asked = json.load(sys.stdin)
def profile(row):
    found = registry.get_from_inst(row)
    return {"command": found.get_test_cmd(row)[0], "image": found.image_name, "files": found.get_test_files(row)}
print(json.dumps({
    "specs": {name: profile(row) for name, row in rows.items()},
    "reports": [get_eval_report({"model_patch": "x"}, rows[one["id"]], one["log"]) for one in asked],
}))
"""


class Ran(NamedTuple):
    """One tree, run once for each tool."""

    task: str
    what: str
    logs: Mapping[str, Path]
    """Format to the log of its command."""
    ours: Mapping[str, Mapping[tuple[str, str], JunitResult]]
    """Format to what stock pytest's JUnit report says of the same run."""


def child(script: str, folder: Path, asked: object = ()) -> Any:
    """Run a tool as its users do: in a process of its own, in the export's folder."""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, **QUIET}
    done = subprocess.run(
        command, cwd=folder, input=json.dumps(asked), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory,
    sample_settings: Callable[..., IngestSettings],
    walk: Callable[[Pipeline], Any],
) -> Path:
    out = tmp_path_factory.mktemp("export") / "tasks"
    walk(Pipeline(sample_settings(out)))
    return out


@pytest.fixture(scope="module")
def tasks(dataset: Path) -> Sequence[TaskInstance]:
    return list(Registry.open(dataset).tasks())


@pytest.fixture(scope="module")
def exports(dataset: Path, tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for name in ("swebench", "swesmith", "harbor"):
        export_tasks(str(dataset), format_name=name, out=folder / name, source=str(SAMPLE), cache_dir=shared_cache)
    return {name: folder / name for name in ("swebench", "swesmith", "harbor")}


@pytest.fixture(scope="module")
def specs(exports: Mapping[str, Path]) -> Mapping[str, Mapping[str, Any]]:
    """What the tools make of the exports: format to task to how it is run."""
    scripts = {"swebench": SWEBENCH, "swesmith": SWESMITH}
    return {name: child(script, exports[name])["specs"] for name, script in scripts.items()}


@pytest.fixture(scope="module")
def runs(
    tasks: Sequence[TaskInstance],
    specs: Mapping[str, Mapping[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
    shared_cache: Path,
) -> Sequence[Ran]:
    """Each of two tasks as it is, fixed, and fixed with another task's bug."""
    backend = open_backend("local", cache_dir=shared_cache)
    folder = tmp_path_factory.mktemp("logs")
    found = []
    for task, other in ((tasks[0], tasks[1]), (tasks[1], tasks[0])):
        for what, patches in {
            "nothing": [],
            "gold": [task.patch],
            "another bug": [task.patch, other.bug_patch],
        }.items():
            logs, ours = {}, {}
            for name in ("swebench", "swesmith"):
                with backend.open(task.image_name) as sandbox:
                    script = prepared(sandbox, name, specs[name][task.instance_id], task, patches)
                    log, ours[name] = run(sandbox, script)
                logs[name] = folder / f"{len(found)}.{name}.log"
                logs[name].write_text(log)
            found.append(Ran(task.instance_id, what, logs, ours))
    return found


def prepared(sandbox: Sandbox, name: str, spec: Mapping[str, Any], task: TaskInstance, patches: Sequence[str]) -> str:
    """Bring the sandbox to where the tool's harness runs its script; returns the script."""
    if name == "swebench":
        # What its image has when it is built: our commands, but for the one that downloads, then its own commit.
        own = [line for line in spec["repo"] if "pip install" not in line]
        start = next(number for number, line in enumerate(own) if "for left in" in line)
        checked(sandbox, "git init --quiet . && git add -A -f && git -c user.name=x -c user.email=x commit -qm x")
        checked(sandbox, "set -euxo pipefail\n" + "\n".join(own[start:]))
        script = spec["eval"]
    else:
        sandbox.put("/tmp/bug.patch", task.bug_patch.encode())
        checked(sandbox, "git apply /tmp/bug.patch")
        marks = (": '>>>>> Start Test Output'", ": '>>>>> End Test Output'")
        script = "\n".join(["set -uxo pipefail", f"cd {TESTBED}", marks[0], spec["command"], marks[1], ""])
    for patch in patches:
        sandbox.put("/tmp/patch.diff", patch.encode())
        checked(sandbox, "git apply --verbose /tmp/patch.diff")
    return str(script)


def checked(sandbox: Sandbox, script: str) -> None:
    result = sandbox.run(["bash", "-c", script], timeout_s=60)
    assert result.exit_code == 0, result.stderr.decode()


def run(sandbox: Sandbox, script: str) -> tuple[str, Mapping[tuple[str, str], JunitResult]]:
    sandbox.put("/tmp/eval.sh", script.encode())
    options = {"PYTEST_ADDOPTS": f"--junitxml={JUNIT}"}
    result = sandbox.run(["bash", "-c", "bash /tmp/eval.sh 2>&1"], timeout_s=120, environment=options)
    return result.stdout.decode(), read_junit(sandbox.get(JUNIT))


@pytest.mark.parametrize("name", ["swebench", "swesmith"])
def test_their_grading_agrees_with_ours_on_the_same_runs(
    name: str, runs: Sequence[Ran], exports: Mapping[str, Path]
) -> None:
    asked = [{"id": one.task, "log": str(one.logs[name])} for one in runs]
    script = {"swebench": SWEBENCH, "swesmith": SWESMITH}[name]
    reports = child(script, exports[name], asked)["reports"]
    for one, report in zip(runs, reports, strict=True):
        told = report["tests_status"]
        passing = {test for kind in ("FAIL_TO_PASS", "PASS_TO_PASS") for test in told[kind]["success"]}
        failing = {test for kind in ("FAIL_TO_PASS", "PASS_TO_PASS") for test in told[kind]["failure"]}
        ours = {test for test in passing | failing if one.ours[name].get(address_of(test)) is JunitResult.PASSED}
        assert passing == ours, (one.task, one.what)
        assert len(passing | failing) > 100
        assert report["resolved"] is (one.what == "gold"), (one.task, one.what)


def test_a_prediction_cannot_change_the_tests_that_swebench_runs(
    tasks: Sequence[TaskInstance], specs: Mapping[str, Mapping[str, Any]], shared_cache: Path
) -> None:
    task = tasks[0]
    files = sorted({test.partition("::")[0] for test in task.FAIL_TO_PASS})
    with open_backend("local", cache_dir=shared_cache).open(task.image_name) as sandbox:
        script = prepared(sandbox, "swebench", specs["swebench"][task.instance_id], task, [])
        for file in files:
            sandbox.put(f"{TESTBED}/{file}", b"")
        _, ours = run(sandbox, script)
    assert all(ours[address_of(test)] is JunitResult.FAILED for test in task.FAIL_TO_PASS)


def test_what_swebench_builds_holds_the_bug_and_no_history(
    tasks: Sequence[TaskInstance], specs: Mapping[str, Mapping[str, Any]], shared_cache: Path
) -> None:
    task = tasks[0]
    with open_backend("local", cache_dir=shared_cache).open(task.image_name) as sandbox:
        prepared(sandbox, "swebench", specs["swebench"][task.instance_id], task, [])
        commits = sandbox.run(["git", "rev-list", "--all", "--reflog"], timeout_s=20).stdout.split()
        checked(sandbox, 'test -z "$(git status --porcelain)"')
        sandbox.put("/tmp/fix.patch", task.patch.encode())
        checked(sandbox, "git apply --check /tmp/fix.patch")
    assert len(commits) == 1
    assert f"python={task.provenance.python_version}" in "".join(specs["swebench"][task.instance_id]["env"])


def test_swesmith_finds_profile_image_and_test_files(
    tasks: Sequence[TaskInstance], specs: Mapping[str, Mapping[str, Any]], exports: Mapping[str, Path]
) -> None:
    images = {row["instance_id"]: row["image_name"] for row in rows(exports["swesmith"] / "tasks.jsonl")}
    for task in tasks:
        spec = specs["swesmith"][task.instance_id]
        assert spec["image"].replace("arm64", "x86_64") == images[task.instance_id]
        assert spec["files"][0] == sorted({test.partition("::")[0] for test in task.FAIL_TO_PASS})


@pytest.mark.parametrize(
    ("name", "module"), [("swebench", "swebench.harness.run_evaluation"), ("swesmith", "swesmith.harness.eval")]
)
def test_their_commands_start_by_way_of_the_script(name: str, module: str, exports: Mapping[str, Path]) -> None:
    command = [sys.executable, str(exports[name] / "register.py"), module, "--help"]
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, check=True)
    assert "--predictions_path" in done.stdout


ODD = """
import pytest
IDS = ["a", "a b", " a", "a PASSED", "a - b", "[x", "x]", "::", "é", "a/b", "a|b", "'q'", "a\tb", "a\\nb", "#", "%", "-"]
@pytest.mark.parametrize("value", IDS, ids=IDS)
@pytest.mark.parametrize("what", ["pass", "fail", "error"])
def test_odd(value, what):
    assert what == "pass", "why - not"
@pytest.fixture(autouse=True)
def broken(request):
    assert request.node.callspec.params["what"] != "error", "why - not"
"""
PARSERS = """
import json, sys
sys.path.insert(0, "."); import register
from swebench.harness.log_parsers.python import parse_log_pytest
from swesmith.profiles.python import PythonProfile
log = json.load(sys.stdin)
print(json.dumps({
    "swebench": parse_log_pytest(log["swebench"], None),
    "swesmith": PythonProfile.log_parser(None, log["swesmith"]),
}))
"""


def test_exactly_the_tests_that_we_name_are_lost_by_their_parsers(tmp_path: Path, exports: Mapping[str, Path]) -> None:
    (tmp_path / "test_odd.py").write_text(ODD)

    def log(options: Sequence[str]) -> str:
        command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    collected = log(["--collect-only", "-q"]).split("\n\n")[0].splitlines()
    wanted = {test: "ERROR" if "[error-" in test else "FAILED" if "[fail-" in test else "PASSED" for test in collected}
    assert len(wanted) == 51
    spec, profile = (
        rows(exports["swebench"] / "specs.jsonl")[0]["spec"],
        rows(exports["swesmith"] / "profiles.jsonl")[0],
    )
    logs = {
        "swebench": log(shlex.split(spec["test_cmd"])[3:]),
        "swesmith": log(shlex.split(profile["test_cmd"].rpartition("; ")[2])[3:]),
    }
    unseen = unseen_tests(wanted, others=(), test_files=("test_odd.py",))
    for name, folder in (("swebench", exports["swebench"]), ("swesmith", exports["swesmith"])):
        told = child(PARSERS, folder, logs)[name]
        assert {test for test in wanted if told.get(test) != wanted[test]} == unseen, name
    assert 0 < len(unseen) < len(wanted)


def docker(*arguments: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        ["docker", *map(str, arguments)], env=environment, capture_output=True, text=True, check=False, **options
    )
    assert not check or done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def base_image(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A base with all wheels that the images need, so that building needs no network."""
    held = Registry.open(dataset).held[0].ingestion
    folder = tmp_path_factory.mktemp("base")
    wanted = [*held.environment.dependencies, *held.profile.install.build_requires]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary",
        ":all:",
        "--dest",
        "wheels",
        *wanted,
    ]
    subprocess.run(command, cwd=folder, check=True)
    base = os.environ.get("GYMFORGE_BASE_IMAGE", "python:3.11")
    (folder / "Dockerfile").write_text(
        f"FROM {base}\nUSER 0:0\nRUN command -v git\nCOPY wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n"
    )
    docker("build", "--tag", "gymforge-test/export-base", folder)
    yield "gymforge-test/export-base"
    docker("rmi", "--force", "gymforge-test/export-base", check=False)


def build(folder: Path, *, tag: str, base: str, network: str = "none") -> str:
    docker("build", "--network", network, "--build-arg", f"BASE_IMAGE={base}", "--tag", tag, folder)
    return tag


@pytest.fixture(scope="module")
def harbor_image(tasks: Sequence[TaskInstance], exports: Mapping[str, Path], base_image: str) -> Iterator[str]:
    """The image of the first task."""
    folder = exports["harbor"] / tasks[0].instance_id / "environment"
    yield build(folder, tag="gymforge-test/export-harbor", base=base_image)
    docker("rmi", "--force", "gymforge-test/export-harbor", check=False)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of the sample repository on a Git server."""
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(SAMPLE), "served/tinystats"], cwd=tmp_path, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "served"
    command = ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}", folder]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        yield f"git://127.0.0.1:{port}/tinystats"
        daemon.terminate()


@pytest.mark.docker
def test_an_image_is_built_from_a_url_alike(
    served: str,
    dataset: Path,
    tasks: Sequence[TaskInstance],
    harbor_image: str,
    base_image: str,
    tmp_path: Path,
) -> None:
    shutil.copytree(dataset, tmp_path / "tasks")
    manifest = (dataset / "manifest.json").read_text()
    (tmp_path / "tasks" / "manifest.json").write_text(
        manifest.replace('"url": "local/tinystats"', f'"url": "{served}"')
    )
    export_tasks(
        str(tmp_path / "tasks"),
        format_name="harbor",
        out=tmp_path / "out",
        where=f"instance_id = '{tasks[0].instance_id}'",
    )
    folder = tmp_path / "out" / tasks[0].instance_id / "environment"
    tag = "gymforge-test/export-cloned"
    build(folder, tag=tag, base=base_image, network="host")
    heads = [docker("run", "--rm", image, "git", "rev-parse", "HEAD").stdout for image in (tag, harbor_image)]
    docker("rmi", "--force", tag)
    assert heads[0] == heads[1] != ""


@pytest.fixture
def container(harbor_image: str) -> Iterator[str]:
    """The image, started as Harbor starts it."""
    name = docker("run", "--detach", "--network", "none", harbor_image, "sleep", "600").stdout.strip()
    yield name
    docker("rm", "--force", name)


def reward(container: str, tests: Path) -> str:
    """What the verifier gives: Harbor brings the tests in when the work is done, and runs them as root."""
    docker("cp", tests, f"{container}:/tests")
    docker("exec", "--user", "root", container, "bash", "/tests/test.sh")
    return docker("exec", container, "cat", "/logs/verifier/reward.txt").stdout.strip()


@pytest.mark.docker
def test_a_harbor_task_rewards_its_solution(
    container: str, tasks: Sequence[TaskInstance], exports: Mapping[str, Path]
) -> None:
    folder = exports["harbor"] / tasks[0].instance_id
    docker("cp", folder / "solution", f"{container}:/solution")
    docker("exec", "--user", "1000", container, "bash", "/solution/solve.sh")
    assert reward(container, folder / "tests") == "1"


PRINTS = """
import atexit, sys, os
def told():
    for test in {tests!r}:
        print("PASSED", test, file=sys.__stderr__)
        print(test, "PASSED", file=sys.__stdout__)
atexit.register(told)
def pytest_runtest_logreport(report):
    report.outcome = "passed"
def pytest_collection_modifyitems(items):
    items.clear()
"""


WRITES = """
for _name, _text in (("json", '{"reward": 1}'), ("txt", "1")):
    try:
        with open("/logs/verifier/reward." + _name, "w") as _file:
            _file.write(_text)
    except OSError:
        pass
"""


@pytest.mark.docker
@pytest.mark.parametrize(
    "how",
    ["nothing", "conftest.py", "tests/conftest.py", "failing tests emptied", "environment", "reward written", "a link"],
)
def test_a_harbor_task_rewards_nothing_else(
    how: str, container: str, tasks: Sequence[TaskInstance], exports: Mapping[str, Path]
) -> None:
    task = tasks[0]
    if how.endswith("conftest.py"):
        text = PRINTS.format(tests=task.FAIL_TO_PASS)
        docker("exec", "--user", "1000", "--interactive", container, "tee", f"/testbed/{how}", input=text)
    elif how == "failing tests emptied":
        for file in {test.partition("::")[0] for test in task.FAIL_TO_PASS}:
            docker("exec", "--user", "1000", container, "truncate", "--size", "0", f"/testbed/{file}")
    elif how == "environment":
        refused = docker("exec", "--user", "1000", container, "sh", "-c", "echo > /env/bin/python", check=False)
        assert "Permission denied" in refused.stderr
    elif how == "reward written":
        docker("exec", "--user", "root", container, "install", "-d", "-o", "1000", "-m", "777", "/logs/verifier")
        docker("exec", "--user", "1000", container, "sh", "-c", "echo '{\"reward\": 1}' > /logs/verifier/reward.json")
        path = f"/testbed/{task.edit_targets[0].path}"
        docker("exec", "--user", "1000", "--interactive", container, "tee", "--append", path, input=WRITES)
    elif how == "a link":
        docker("exec", "--user", "root", container, "install", "-d", "-o", "1000", "-m", "777", "/logs")
        docker("exec", "--user", "1000", container, "ln", "-s", "/testbed", "/logs/verifier")
    assert reward(container, exports["harbor"] / task.instance_id / "tests") == "0"
    assert docker("exec", container, "ls", "/logs/verifier").stdout.split() == ["report.json", "reward.txt"]
    report = json.loads(docker("exec", container, "cat", "/logs/verifier/report.json").stdout)
    assert set(report["failing"]) == set(task.FAIL_TO_PASS)


@pytest.mark.docker
def test_nothing_in_a_harbor_image_shows_the_fix(container: str, tasks: Sequence[TaskInstance]) -> None:
    paths = sorted({target.path for target in tasks[0].edit_targets})
    bugged = {path: docker("exec", container, "cat", path).stdout.encode() for path in paths}
    clean = apply_with_git(bugged, tasks[0].patch)
    assert clean != bugged
    files = docker("exec", container, "find", *IMAGE_FOLDERS, "-type", "f", "-exec", "sha256sum", "{}", "+").stdout
    objects = docker("exec", container, "git", "cat-file", "--batch-all-objects", "--batch-check").stdout
    for path, content in clean.items():
        assert hashlib.sha256(bugged[path]).hexdigest() in files
        assert hashlib.sha256(content).hexdigest() not in files
        assert hashlib.sha1(b"blob %d\0%s" % (len(bugged[path]), bugged[path])).hexdigest() in objects
        assert hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest() not in objects
    assert ".patch" not in files
    assert not [line for line in files.splitlines() if " /testbed/" in line and "__pycache__" in line]
    assert docker("exec", container, "git", "rev-list", "--all", "--reflog").stdout.count("\n") == 1
    assert docker("exec", container, "git", "status", "--porcelain").stdout == ""


@pytest.mark.docker
@pytest.mark.parametrize(("predictions", "resolved"), [("gold", True), ("nothing", False)])
def test_swebench_runs_a_task_in_its_own_way(
    predictions: str,
    resolved: bool,
    harbor_image: str,
    tasks: Sequence[TaskInstance],
    exports: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """On our image, for its own builder needs GitHub and conda; all else is its harness as it is."""
    task = tasks[0]
    tag = f"gymforge-test/sweb.eval.x86_64.{task.instance_id.lower()}:latest".replace("__", "_1776_")
    docker("tag", harbor_image, tag)
    row = {"instance_id": task.instance_id, "model_name_or_path": "nobody", "model_patch": NOTHING}
    (tmp_path / "nothing.jsonl").write_text(json.dumps(row))
    options = [
        "--dataset_name", exports["swebench"] / "test.jsonl", "--namespace", "gymforge-test", "--run_id", "try",
        "--predictions_path", "gold" if predictions == "gold" else "nothing.jsonl", "-i", task.instance_id,
    ]  # fmt: skip
    try:
        use(exports["swebench"], "swebench.harness.run_evaluation", options, cwd=tmp_path)
    finally:
        docker("rmi", tag)
    [report] = (tmp_path / "logs").rglob("report.json")
    assert json.loads(report.read_text())[task.instance_id]["resolved"] is resolved, report.read_text()


NOTHING = "diff --git a/note b/note\nnew file mode 100644\n--- /dev/null\n+++ b/note\n@@ -0,0 +1 @@\n+note\n"


def use(folder: Path, module: str, options: Sequence[object], *, cwd: Path) -> None:
    command = [sys.executable, str(folder / "register.py"), module, *map(str, options)]
    environment = {**os.environ, **QUIET}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def swesmith_image(
    specs: Mapping[str, Mapping[str, Any]], exports: Mapping[str, Path], base_image: str
) -> Iterator[str]:
    [folder] = (exports["swesmith"] / "environments").iterdir()
    tag = next(iter(specs["swesmith"].values()))["image"]
    yield build(folder, tag=tag, base=base_image)
    docker("rmi", "--force", tag, check=False)


@pytest.mark.docker
@pytest.mark.parametrize(("predictions", "resolved"), [("gold", True), ("nothing", False)])
def test_swesmith_runs_every_task_in_its_own_way(
    predictions: str,
    resolved: bool,
    swesmith_image: str,
    tasks: Sequence[TaskInstance],
    exports: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    rows = [{"instance_id": t.instance_id, "model_name_or_path": "nobody", "model_patch": NOTHING} for t in tasks]
    (tmp_path / "nothing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = exports["swesmith"] / "tasks.jsonl"
    options = ["--dataset_path", data, "--run_id", "try", "--workers", "1"]
    use(
        exports["swesmith"],
        "swesmith.harness.eval",
        [*options, "--predictions_path", "gold" if predictions == "gold" else "nothing.jsonl"],
        cwd=tmp_path,
    )
    report = json.loads((tmp_path / "logs" / "run_evaluation" / "try" / "report.json").read_text())
    assert report["ids_resolved" if resolved else "ids_unresolved"] == [task.instance_id for task in tasks], report
