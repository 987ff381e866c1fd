"""What the command says to bad input: one message, the exit code of its class, and no half-written dataset."""

import errno
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.cli import _told
from flows.run import require_server
from flows.statistics import _run_record
from schemas.errors import DatasetDamaged, InvalidInput
from schemas.tasks import TaskInstance

ROOT = Path(__file__).parents[2]
SAMPLE = str(ROOT / "examples" / "tinystats.bundle")

Contents = Callable[[Path], dict[str, bytes | None]]
Make = Callable[[Path, Mapping[str, str]], Path]


class _Website(BaseHTTPRequestHandler):
    """A host as a git client meets it: a repository behind a password, a page that is none, and nothing."""

    def do_GET(self) -> None:
        private = self.path.startswith("/private/")
        self.send_response(401 if private else 200 if self.path.startswith("/page/") else 404)
        if private:
            self.send_header("WWW-Authenticate", 'Basic realm="members"')
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b"<html></html>")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def website() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Website) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refused_at_once(ran, cache: Path) -> bool:
    """Before Prefect was imported (seconds of work) or its server started (which makes a folder in the cache)."""
    return ran.cpu_s < 2.0 and not (cache / "prefect").exists()


def path_without_repository(folder: Path) -> str:
    (folder / "plain").mkdir()
    return str(folder / "plain")


def file_that_is_no_bundle(folder: Path) -> str:
    (folder / "archive.bundle").write_text("PK")
    return str(folder / "archive.bundle")


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("source", "says"),
    [
        (lambda _: "/no/such/path", "/no/such/path"),
        (lambda _: "acme/widgets", "did you mean https://github.com/acme/widgets?"),
        (lambda _: "ftp://example.invalid/x.git", "ftp"),
        (lambda _: "https://", "names no repository"),
        (lambda _: "https://[::1/x", "not a well-formed URL"),
        (lambda _: "https://example.invalid", "names no repository"),
        (lambda _: "file://host/x", "three slashes"),
        (lambda _: "--upload-pack=x", "upload-pack"),
        (lambda _: "", "is not an address"),
        (path_without_repository, "git init"),
        (file_that_is_no_bundle, "git bundle create"),
    ],
    ids=[
        "path",
        "shorthand",
        "scheme",
        "no-host",
        "brackets",
        "no-path",
        "file-host",
        "option",
        "empty",
        "folder",
        "file",
    ],
)
def test_source_in_no_known_form_is_refused_at_once(gymforge, tmp_path: Path, source, says: str) -> None:
    cache = tmp_path / "cache"
    out = tmp_path / "out"
    ran = gymforge("ingest", "--out", out, "--sandbox", "local", "--", source(tmp_path), GYMFORGE_CACHE_DIR=str(cache))
    assert (ran.code, says in ran.message, ran.out) == (2, True, ""), ran
    assert refused_at_once(ran, cache)
    assert not out.exists()


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--strategies", "no_such"], 2, "op_change"),
        (["--strategies", ","], 2, "--strategies"),
        (["--config", "{}/none.toml"], 2, "none.toml"),
        (["--config", "{}/broken.toml"], 2, "broken.toml"),
        (["--config", "{}/unknown.toml"], 2, "unknown key 'tset_command'"),
        (["--out", "{}/broken.toml/below"], 11, "broken.toml is a file"),
        (["--out", "{}/foreign"], 2, "thesis.tex"),
        (["--out", "{}/older"], 2, "0.9"),
        (["--out", "{}/torn"], 12, "manifest.json is damaged"),
        (["--out", "{}/circle"], 2, "circle"),
        (["--out", "{}/" + "o" * 300], 11, "too long"),
        (["--sandbox", "docker"], 7, "--sandbox local"),
        (["--ray", "cluster"], 2, "HOST:PORT"),
    ],
    ids=[
        *("strategy", "no-strategy", "no-config", "broken-toml", "unknown-key"),
        *("out-below-file", "foreign-folder", "older-schema", "torn-manifest", "out-in-a-circle", "out-too-long"),
        *("no-docker", "no-address-of-a-cluster"),
    ],
)
def test_bad_option_is_refused_at_once_and_changes_nothing(
    gymforge, contents: Contents, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "broken.toml").write_text("test_command = [")
    (tmp_path / "unknown.toml").write_text('tset_command = ["pytest"]')
    for folder, name, text in (
        ("foreign", "thesis.tex", "\\documentclass{article}"),
        ("older", "manifest.json", '{"schema_version": "0.9", "gymforge_version": "0.0.7"}'),
        ("torn", "manifest.json", '{"schema_version": '),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    (tmp_path / "circle").symlink_to("circle")
    before = contents(tmp_path)
    given = [one.format(tmp_path) for one in arguments]
    rest = [*([] if "--sandbox" in given else ["--sandbox", "local"])]
    rest += [] if "--out" in given else ["--out", str(tmp_path / "out")]
    cache = tmp_path / "cache"
    nowhere = f"unix://{tmp_path}/no-engine.sock"
    ran = gymforge("ingest", SAMPLE, *given, *rest, GYMFORGE_CACHE_DIR=str(cache), DOCKER_HOST=nowhere)
    assert (ran.code, says in ran.message, ran.out) == (code, True, ""), ran
    assert refused_at_once(ran, cache)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "option",
    [
        ["--sandbox", "none"],
        ["--workers", "0"],
        ["--max-tasks", "-1"],
        ["--seed", "x"],
        ["--config", "."],
        ["--frob"],
        ["--out", SAMPLE],
        ["--seed", "99999999999999999999999"],
    ],
    ids=[
        "sandbox",
        "workers",
        "max-tasks",
        "seed",
        "config-is-folder",
        "unknown",
        "out-is-file",
        "seed-beyond-64-bits",
    ],
)
def test_option_value_out_of_range_is_named(gymforge, tmp_path: Path, option: list[str]) -> None:
    ran = gymforge("ingest", SAMPLE, "--out", tmp_path / "out", *option)
    assert (ran.code, option[0] in ran.err, ran.err.count("Error: ")) == (2, True, 1), ran
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://no-such-host.invalid/acme/widgets", "no-such-host.invalid"),
        ("{}/private/acme/widgets.git", "needs credentials"),
        ("{}/page/acme/widgets.git", "what answers there is none: check the address"),
        ("{}/nothing/acme/widgets.git", "no Git repository at this address"),
        (SAMPLE, "no branch, tag or commit 'no-such-ref'"),
        ("empty", "empty repository"),
    ],
    ids=["unknown-host", "private", "not-a-repository", "not-there", "unknown-ref", "empty"],
)
def test_source_that_cannot_be_cloned_leaves_nothing_behind(
    gymforge, orchestrator: Mapping[str, str], website: str, tmp_path: Path, source: str, says: str
) -> None:
    if source == "empty":
        subprocess.run(["git", "init", "-q", str(tmp_path / "empty")], check=True)
        source = str(tmp_path / "empty")
    given = ["--ref", "no-such-ref"] if source == SAMPLE else []
    out = tmp_path / "made" / "out"
    (tmp_path / "gitconfig").write_text("")
    ran = gymforge(
        *("ingest", source.format(website), *given, "--out", out, "--sandbox", "local"),
        **{**orchestrator, "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"), "no_proxy": "127.0.0.1"},
    )
    assert (ran.code, says in ran.message, ran.out) == (3, True, ""), ran
    assert not out.parent.exists()


BACKEND = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "x"\nversion = "1"\n'
CODE = {"pkg/__init__.py": "def f(x):\n    return x + 1\n"}
TESTS = {"tests/test_f.py": "from pkg import f\n\n\ndef test_f():\n    assert f(1) == 2\n"}


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"README.md": "text"}, 4, "python"),
        (CODE, 4, "test"),
        ({**CODE, **TESTS, "requirements.txt": "gymforge-has-no-such-requirement\n"}, 5, "no-such-requirement"),
        ({**CODE, **TESTS, "pyproject.toml": BACKEND, "backend.py": "raise SystemError('broken')"}, 5, "broken"),
        ({**CODE, **TESTS, "setup.py": "import sys\nsys.exit('not today')\n"}, 5, "not today"),
        ({**CODE, "tests/test_f.py": "def test_f():\n    assert 1 == 2\n"}, 6, "1 tests reported, 1 failed"),
        ({**CODE, **TESTS, "tests/conftest.py": "raise RuntimeError('conftest is broken')\n"}, 6, "conftest is broken"),
    ],
    ids=["no-python", "no-tests", "no-requirement", "backend-raises", "setup-exits", "all-fail", "conftest-raises"],
)
def test_repository_that_gives_no_tasks_says_why_and_leaves_nothing_behind(
    gymforge, orchestrator, make_repository: Make, tmp_path: Path, files: dict[str, str], code: int, says: str
) -> None:
    source = make_repository(tmp_path / "repository", files)
    out = tmp_path / "made" / "out"
    ran = gymforge("ingest", source, "--out", out, "--sandbox", "local", **orchestrator)
    assert (ran.code, says in ran.message, ran.out) == (code, True, ""), ran
    assert not out.parent.exists()


@pytest.fixture
def dataset(tmp_path: Path, make_task, write_dataset: Callable[[Path, TaskInstance], None]) -> Path:
    write_dataset(tmp_path / "dataset", make_task())
    return tmp_path / "dataset"


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def flip(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)


def remove(shard: Path) -> None:
    shard.unlink()


@pytest.mark.sandbox
@pytest.mark.parametrize("damage", [truncate, flip, remove])
def test_damaged_shard_is_named_by_every_command_and_nothing_is_changed(
    gymforge, contents: Contents, make_task, dataset: Path, damage: Callable[[Path], None]
) -> None:
    (shard,) = dataset.glob("data/*.parquet")
    damage(shard)
    before = contents(dataset)
    commands = [["tasks"], ["show", make_task().instance_id], ["stats"], ["verify", "--sandbox", "local"]]
    for command, *rest in commands:
        ran = gymforge(command, dataset, *rest, "--json")
        assert (ran.code, str(shard) in ran.message, ran.out) == (12, True, ""), ran
        assert "Restore it from a copy, or ingest the repository again" in ran.message
    if damage is not flip:  # a run looks at every file's size, and at the bytes of its own repository's files alone
        ran = gymforge("ingest", SAMPLE, "--out", dataset, "--sandbox", "local")
        assert (ran.code, str(shard) in ran.message) == (12, True), ran
    assert contents(dataset) == before


def test_damaged_record_of_a_run_is_named(gymforge, dataset: Path) -> None:
    record = dataset / "runs" / "acme__tinystats.01234567.json"
    record.write_text("{")
    ran = gymforge("stats", dataset)
    assert (ran.code, str(record) in ran.message) == (12, True), ran


@pytest.mark.sandbox
@pytest.mark.slow
def test_folder_that_holds_the_repository_with_another_seed_is_left_as_it_was(
    gymforge, orchestrator, contents: Contents, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["ingest", SAMPLE, "--out", out, "--sandbox", "local", "--strategies", "op_change", "--max-tasks", "1"]
    assert gymforge(*command, **orchestrator).code == 0
    before = contents(out)
    ran = gymforge(*command, "--seed", "1", **orchestrator)
    assert (ran.code, "seed was 0, now 1" in ran.message) == (2, True), ran
    assert contents(out) == before
    (shard,) = out.glob("data/*.parquet")
    flip(shard)
    ran = gymforge(*command, **orchestrator)
    assert (ran.code, str(shard) in ran.message) == (12, True), ran


def test_traceback_is_shown_when_it_is_asked_for_with_the_same_exit_code(gymforge, tmp_path: Path) -> None:
    plain = gymforge("tasks", tmp_path)
    debug = gymforge("--debug", "tasks", tmp_path)
    assert (plain.code, "Traceback" in plain.err) == (2, False)
    assert (debug.code, "Traceback" in debug.err, plain.err in debug.err) == (2, True, True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_disk_that_refuses_anywhere_is_told_with_its_own_code(number: int) -> None:
    told = _told(OSError(number, os.strerror(number), "/some/file"))
    assert told.exit_code == 11
    assert f"cannot write /some/file: {os.strerror(number)}. Free space" in str(told)


def test_error_that_nobody_foresaw_names_the_way_to_more() -> None:
    told = _told(ZeroDivisionError("division by zero"))
    assert (told.exit_code, "--debug" in str(told)) == (1, True)


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("GYMFORGE_CACHE_DIR", "{}/file", 11),
        ("GYMFORGE_CACHE_DIR", "{}/file/below", 11),
        ("GYMFORGE_CACHE_DIR", "/proc/nope", 11),
        ("PREFECT_HOME", "/proc/nope", 11),
        ("PREFECT_API_URL", "nonsense", 2),
        ("PREFECT_API_URL", "http://127.0.0.1:1/api", 2),
    ],
)
def test_a_variable_that_names_what_cannot_be_used_is_named(
    gymforge, tmp_path: Path, variable: str, value: str, code: int
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    ran = gymforge("ingest", SAMPLE, "--sandbox", "local", "--out", out, **{variable: value.format(tmp_path)})
    assert (ran.code, variable in ran.message, ran.out) == (code, True, ""), ran
    assert not out.exists()


@pytest.mark.sandbox
@pytest.mark.parametrize(("name", "code"), [("git", 11), ("prefect", 11), ("environments", 8), ("distributions", 11)])
def test_a_file_in_the_place_of_a_folder_of_the_cache_is_named(gymforge, tmp_path: Path, name: str, code: int) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    cache.mkdir()
    (cache / name).touch()
    ran = gymforge("ingest", SAMPLE, "--sandbox", "local", "--out", out, GYMFORGE_CACHE_DIR=str(cache))
    assert (ran.code, str(cache / name) in ran.message) == (code, True), ran
    assert not out.exists()


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_a_run_record_that_is_no_file_is_damage(tmp_path: Path, kind: str) -> None:
    record = tmp_path / "x.json"
    if kind == "folder":
        record.mkdir()
    else:
        record.symlink_to("nowhere")
    with pytest.raises(DatasetDamaged, match=r"x\.json"):
        _run_record(record)


@pytest.mark.parametrize("command", ["ingest", "show", "tasks"])
def test_an_argument_that_is_no_text_is_refused(gymforge, command: str) -> None:
    ran = gymforge(command, "\udcff")
    assert (ran.code, "no UTF-8 text" in ran.err, "Traceback" in ran.err) == (2, True, False), ran


@pytest.mark.parametrize("hours", ["nan", "inf", "-1", "0", "1e9", "x"])
def test_a_number_of_hours_that_is_none_is_refused(gymforge, tmp_path: Path, hours: str) -> None:
    ran = gymforge("refresh", tmp_path / "list.csv", "--hours", hours)
    assert (ran.code, "--hours" in ran.err, "Traceback" in ran.err) == (2, True, False), ran


def _answering(text: bytes, status: int) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    return Answers


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (b"<html>", 200, "no Prefect server answers there (but something else)"),
        (b"true", 404, "no Prefect server answers there (but something that answers 404)"),
        (b'"2.20.1"', 200, 'a Prefect server "2.20.1" answers; gymforge needs 3'),
        (b'"3.8.8"', 200, ""),
        (b"who are you", 401, ""),
    ],
)
def test_only_a_prefect_server_is_taken_for_one(text: bytes, status: int, told: str) -> None:
    with HTTPServer(("127.0.0.1", 0), _answering(text, status)) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        if not told:
            require_server(url)
            return
        with pytest.raises(InvalidInput, match=re.escape(told)):
            require_server(url)


@pytest.mark.parametrize("score", ["nan", "-1", "2", "x"])
def test_a_score_that_is_none_is_refused(gymforge, tmp_path: Path, score: str) -> None:
    ran = gymforge("tasks", tmp_path, "--min-complexity", score)
    assert (ran.code, "--min-complexity" in ran.err, "Traceback" in ran.err) == (2, True, False), ran
