"""`gymforge export`: what the files hold, or no folder at all."""

import json
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from flows.export import export_tasks
from schemas.errors import CloneFailed, DatasetDamaged, InvalidInput
from schemas.tasks import TaskInstance
from storage.formats import FORMATS, dataset_format

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "tinystats.bundle"
MakeTask = Callable[..., TaskInstance]
WriteDataset = Callable[[Path, TaskInstance], None]
AT_URL = "https://github.com/acme/tinystats"
SEEN = {"FAIL_TO_PASS": ("tests/test_s.py::test_even[a]",)}
ODD_ID = "tests/test_s.py::test_even[a b-ä]"


@pytest.fixture
def dataset(tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset) -> Callable[..., str]:
    """A dataset of one task of a repository that lies at a URL, or not."""

    def make(*, url: str = AT_URL, **changes: object) -> str:
        folder = tmp_path / "tasks"
        write_dataset(folder, make_task(1, **changes))
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["ingestions"][0]["url"] = url
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return str(folder)

    return make


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_knows_every_format() -> None:
    option = next(one for one in main.commands["export"].params if one.name == "format_name")
    assert tuple(option.type.choices) == tuple(FORMATS)
    assert all(callable(dataset_format(name).write) for name in FORMATS)


def test_swebench_rows_have_its_columns(tmp_path: Path, dataset: Callable[..., str]) -> None:
    export_tasks(dataset(**SEEN), format_name="swebench", out=tmp_path / "out")
    [row] = lines(tmp_path / "out" / "test.jsonl")
    assert list(row) == [
        "repo", "instance_id", "base_commit", "patch", "test_patch", "problem_statement", "hints_text", "created_at",
        "version", "FAIL_TO_PASS", "PASS_TO_PASS", "environment_setup_commit",
    ]  # fmt: skip
    assert json.loads(str(row["FAIL_TO_PASS"])) == list(SEEN["FAIL_TO_PASS"])
    assert "+a < b" in str(row["patch"])


def test_swesmith_rows_have_its_columns(tmp_path: Path, dataset: Callable[..., str]) -> None:
    export_tasks(dataset(**SEEN), format_name="swesmith", out=tmp_path / "out")
    [row] = lines(tmp_path / "out" / "tasks.jsonl")
    assert list(row) == [
        "instance_id", "repo", "patch", "FAIL_TO_PASS", "PASS_TO_PASS", "created_at", "image_name", "base_commit",
        "problem_statement",
    ]  # fmt: skip
    assert row["FAIL_TO_PASS"] == list(SEEN["FAIL_TO_PASS"])
    assert "-a < b" in str(row["patch"])
    assert row["image_name"] == "gymforge/swesmith.x86_64.acme_1776_tinystats.01234567"


def test_ids_of_a_repository_with_dots_begin_with_what_its_profile_is_called(
    tmp_path: Path, dataset: Callable[..., str]
) -> None:
    """swesmith 0.0.9 refuses to grade what its profile's `repo_name` is no beginning of."""
    instance_id = "acme__tiny-stats.01234567.op_change__0123456789"
    exported = dataset(
        repo="acme/tiny.stats", instance_id=instance_id, url="https://github.com/acme/tiny.stats", **SEEN
    )
    export_tasks(exported, format_name="swesmith", out=tmp_path / "out")
    [row], [profile] = lines(tmp_path / "out" / "tasks.jsonl"), lines(tmp_path / "out" / "profiles.jsonl")
    repo_name = f"{profile['owner']}__{profile['repo']}.{str(profile['commit'])[:8]}"
    assert str(row["instance_id"]).rpartition(".")[0] == repo_name
    assert row["repo"] == f"gymforge/{repo_name}"
    assert row["image_name"] == "gymforge/swesmith.x86_64.acme_1776_tiny-stats.01234567"
    assert (tmp_path / "out" / "environments" / repo_name / "Dockerfile").is_file()


def test_a_harbor_task_is_a_folder(tmp_path: Path, dataset: Callable[..., str]) -> None:
    export_tasks(dataset(), format_name="harbor", out=tmp_path / "out")
    [folder] = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "task.toml", "instruction.md", "environment/Dockerfile", "environment/bug.patch", "environment/test_files.txt",
        "environment/requirements.txt", "environment/variables.sh", "solution/solve.sh", "solution/fix.patch", "tests/test.sh", "tests/tests.json",
        "tests/grade.py", "tests/gymforge_report.py",
    }  # fmt: skip
    settings = tomllib.loads((folder / "task.toml").read_text())
    assert settings["task"]["name"] == f"gymforge/{folder.name}"
    assert settings["verifier"]["user"] == "root"
    assert (folder / "tests" / "test.sh").stat().st_mode & 0o111 == 0o111
    assert "größer, 数" in (folder / "instruction.md").read_text()
    assert json.loads((folder / "tests" / "tests.json").read_text())["FAIL_TO_PASS"] == [ODD_ID]


def test_the_second_stage_takes_neither_patch_nor_sources(tmp_path: Path, dataset: Callable[..., str]) -> None:
    export_tasks(dataset(), format_name="harbor", out=tmp_path / "out")
    [dockerfile] = (tmp_path / "out").rglob("Dockerfile")
    second = dockerfile.read_text().rpartition("\nFROM ")[2]
    assert [line.split()[-2:] for line in second.splitlines() if line.startswith(("COPY", "ADD"))] == [
        ["/env", "/env"],
        ["/gymforge", "/gymforge"],
        ["/testbed", "/testbed"],
    ]


@pytest.mark.parametrize("name", ["swebench", "swesmith"])
def test_a_task_none_of_whose_failing_tests_can_be_told_of_stays_out_and_is_named(
    tmp_path: Path, dataset: Callable[..., str], name: str
) -> None:
    result = call("export", dataset(), "--format", name, "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.output)
    assert summary["written"]["tasks"] == 0
    assert summary["written"]["left_out"] == ["acme__tinystats.01234567.op_change__0000000001"]
    assert summary["written"]["unseen_tests"] == {"acme__tinystats.01234567": [ODD_ID]}
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == summary


def test_what_a_tool_does_not_see_is_said(tmp_path: Path, dataset: Callable[..., str]) -> None:
    tests = (*SEEN["FAIL_TO_PASS"], ODD_ID)
    result = call("export", dataset(FAIL_TO_PASS=tests), "--format", "swesmith", "--out", str(tmp_path / "out"))
    assert "1 tasks as swesmith reads them" in result.output
    assert "1 tests have ids that it cannot read" in result.output
    assert ODD_ID in result.output
    [row] = lines(tmp_path / "out" / "tasks.jsonl")
    assert row["FAIL_TO_PASS"] == list(SEEN["FAIL_TO_PASS"])


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path, dataset: Callable[..., str], name: str) -> None:
    folder = dataset(**SEEN)
    for out in ("one", "two"):
        export_tasks(folder, format_name=name, out=tmp_path / out)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("name", list(FORMATS))
def test_texts_with_unusual_line_ends_stay_one_row(tmp_path: Path, dataset: Callable[..., str], name: str) -> None:
    text = "one\u2028two\x85three\x0bfour\r\nfive"
    export_tasks(dataset(problem_statement=text, **SEEN), format_name=name, out=tmp_path / "out")
    if name == "harbor":
        [path] = (tmp_path / "out").rglob("instruction.md")
        assert path.read_bytes().startswith(text.encode())
    else:
        [path] = (tmp_path / "out").glob("t*.jsonl")
        assert [json.loads(line)["problem_statement"] for line in path.read_text().splitlines()] == [text]


ODD_VALUES = {
    "A_LINES": "one\ntwo\r\nthree\n",
    "A_TAB": "a\tb",
    "B_QUOTES": "it's \"so\" `x` $HOME ${Y} \\ and \\n 'end\\",
    "C_EMPTY": "",
    "D_FAR": "größer 数 \u2028 \x01b",
}
ODD_FILES = ("tests/-v.py", "tests/[a] b*.py", "tests/é数.py", 'tests/"q".py', "tests/it's $(x).py", "-top.py")


def echoed(shell: str, script: str) -> dict[str, str]:
    """The variables of `ODD_VALUES`, as a shell has them at the end of a script."""
    told = f"{script}\nexec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run([shell, "-c", told], env={"HOME": "/h"}, capture_output=True, text=True, check=True)
    return {name: value for name, value in json.loads(done.stdout).items() if name in ODD_VALUES}


@pytest.fixture
def odd(dataset: Callable[..., str], make_task: MakeTask) -> str:
    """A dataset of a repository with odd variables, and odd names of test files."""
    environment = tuple(f"{name}={value}" for name, value in ODD_VALUES.items())
    folder = dataset(provenance=make_task(1).provenance.model_copy(update={"environment": environment}), **SEEN)
    manifest = json.loads(Path(folder, "manifest.json").read_text())
    manifest["ingestions"][0]["profile"] |= {"environment": ODD_VALUES, "test_files": ODD_FILES}
    Path(folder, "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_variables_are_what_they_were_in_every_tool(tmp_path: Path, odd: str) -> None:
    for name in FORMATS:
        export_tasks(odd, format_name=name, out=tmp_path / name)
    [spec] = [row["spec"] for row in lines(tmp_path / "swebench" / "specs.jsonl")]
    assert isinstance(spec, dict)
    for command in (spec["pre_install"][0], *spec["eval_commands"]):
        assert not {"\n", "\r"} & {*command}, "harnesses join, strip and split lines"
    assert echoed("bash", spec["eval_commands"][0]) == ODD_VALUES
    assert echoed("bash", "export " + spec["pre_install"][0].partition(" python -m pip")[0]) == ODD_VALUES
    [profile] = lines(tmp_path / "swesmith" / "profiles.jsonl")
    assert echoed("bash", str(profile["test_cmd"]).rpartition("; ")[0]) == ODD_VALUES
    [task] = (tmp_path / "harbor").glob("acme*")
    assert ODD_VALUES.items() <= json.loads((task / "tests" / "tests.json").read_text())["variables"].items()
    [swesmith] = (tmp_path / "swesmith" / "environments").iterdir()
    for context in (task / "environment", swesmith):
        dockerfile = (context / "Dockerfile").read_bytes().decode()
        assert "COPY requirements.txt variables.sh /tmp/" in dockerfile
        assert ". /tmp/variables.sh && python -m pip install" in dockerfile
        assert echoed("sh", f". {context / 'variables.sh'}") == ODD_VALUES
        assert "A_LINES" not in dockerfile, "no line of a Dockerfile can hold it"
        assert 'A_TAB="a\tb"' in dockerfile


def test_test_files_of_any_name_are_put_back(tmp_path: Path, odd: str, make_repository: Callable[..., Path]) -> None:
    repository = make_repository(tmp_path / "repository", {f"./{path}": "as it was" for path in ODD_FILES})
    for name in ("swebench", "harbor"):
        export_tasks(odd, format_name=name, out=tmp_path / name)
    [spec] = [row["spec"] for row in lines(tmp_path / "swebench" / "specs.jsonl")]
    assert isinstance(spec, dict)
    for path in ODD_FILES:
        (repository / path).write_text("changed")
    subprocess.run(["bash", "-euo", "pipefail", "-c", spec["eval_commands"][1]], cwd=repository, check=True)
    assert {(repository / path).read_text() for path in ODD_FILES} == {"as it was"}
    [task] = (tmp_path / "harbor").glob("acme*")
    [kept] = re.findall(r"\{ cat .*?--files-from -", (task / "environment" / "Dockerfile").read_text(), re.DOTALL)
    command = kept.replace("/tmp/test_files.txt", f"{task}/environment/test_files.txt").replace("/gymforge/", "../")
    (repository / "tests" / "conftest.py").touch()
    subprocess.run(["sh", "-euc", command], cwd=repository, check=True)
    with tarfile.open(tmp_path / "tests.tar") as archive:
        assert set(archive.getnames()) == {*ODD_FILES, "tests/conftest.py"}


@pytest.mark.parametrize("link", ["logs", "logs/verifier", "logs/verifier/reward.txt", "logs/verifier/report.json"])
def test_the_verifiers_folder_is_none_that_a_link_leads_to(
    tmp_path: Path, dataset: Callable[..., str], link: str
) -> None:
    export_tasks(dataset(), format_name="harbor", out=tmp_path / "out")
    [script] = (tmp_path / "out").glob("acme*/tests/test.sh")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "reward.txt").write_text("precious")
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(elsewhere / "reward.txt" if "." in link else elsewhere)
    text = script.read_text().replace("/logs", f"{tmp_path}/logs")
    own = re.sub("^exec .*$", "true", text, flags=re.MULTILINE).replace("chown 0:0", "true")
    subprocess.run(["bash", "-c", own], check=True)
    assert (elsewhere / "reward.txt").read_text() == "precious"
    assert [path.name for path in elsewhere.iterdir()] == ["reward.txt"]
    verifier = tmp_path / "logs" / "verifier"
    assert not verifier.is_symlink()
    assert [(path.name, path.is_symlink()) for path in verifier.iterdir()] == [("reward.txt", False)]
    assert (verifier / "reward.txt").read_text() == "0\n"


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path, dataset: Callable[..., str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(InvalidInput, match="there already"):
        export_tasks(dataset(), format_name="swebench", out=tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine": b"x"}


@pytest.mark.parametrize(("where", "says"), [("strategy = 'none'", "no such task"), ("nonsense(", "condition")])
def test_a_condition_that_gives_nothing_leaves_no_folder(
    tmp_path: Path, dataset: Callable[..., str], where: str, says: str
) -> None:
    folder = dataset()
    with pytest.raises(InvalidInput, match=says):
        export_tasks(folder, format_name="swebench", out=tmp_path / "out", where=where)
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]


def test_only_tasks_that_are_asked_for_are_written(tmp_path: Path, dataset: Callable[..., str]) -> None:
    folder = dataset(**SEEN)
    summary = export_tasks(
        folder, format_name="swebench", out=tmp_path / "out", where="strategy = 'op_change'", repo="acme/tinystats"
    )
    assert summary.written.tasks == 1
    with pytest.raises(InvalidInput, match="no such task"):
        export_tasks(folder, format_name="swebench", out=tmp_path / "other", repo="acme/other' OR 'a' = 'a")


def test_a_repository_without_a_url_needs_its_source(tmp_path: Path, dataset: Callable[..., str]) -> None:
    folder = dataset(url="local/tinystats")
    with pytest.raises(InvalidInput, match="--source"):
        export_tasks(folder, format_name="harbor", out=tmp_path / "out")
    with pytest.raises(CloneFailed):
        export_tasks(folder, format_name="harbor", out=tmp_path / "out", source=str(SAMPLE), cache_dir=tmp_path / "c")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["swebench", "swesmith"])
def test_repositories_whose_image_the_tool_cannot_build_are_named(
    tmp_path: Path, dataset: Callable[..., str], name: str
) -> None:
    summary = export_tasks(dataset(url="local/tinystats", **SEEN), format_name=name, out=tmp_path / "out")
    assert summary.written.no_image == ("acme__tinystats.01234567",)


def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path: Path, dataset: Callable[..., str]) -> None:
    folder = dataset(instance_id="../../acme__tinystats.01234567.op_change__x")
    with pytest.raises(DatasetDamaged, match="no id that gymforge gives"):
        export_tasks(folder, format_name="harbor", out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]


def test_an_export_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, dataset: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dataset(**SEEN)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.formats.swesmith.write_line", full)
    result = call("export", folder, "--format", "swesmith", "--out", str(tmp_path / "out"))
    assert result.exit_code == 11
    assert "No space left" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["tasks"]


def test_what_a_killed_export_left_is_no_part_of_the_next(tmp_path: Path, dataset: Callable[..., str]) -> None:
    for left in (".out.unfinished", ".out.trees"):
        (tmp_path / left / "environments").mkdir(parents=True)
    export_tasks(dataset(**SEEN), format_name="swebench", out=tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"test.jsonl", "specs.jsonl", "register.py", "export.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"tasks", "out"}


def test_the_grader_runs_on_old_interpreters() -> None:
    import ast

    for path in (ROOT / "storage" / "formats" / "harbor_files").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.slow
def test_an_export_imports_none_of_the_tools(tmp_path: Path, dataset: Callable[..., str]) -> None:
    script = (
        "import sys; from pathlib import Path; from flows.export import export_tasks;"
        "export_tasks(sys.argv[1], format_name='swebench', out=Path(sys.argv[2]));"
        "assert not {'swebench', 'swesmith', 'prefect', 'docker'} & set(sys.modules), sorted(sys.modules)"
    )
    command = [sys.executable, "-c", script, dataset(**SEEN), str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
