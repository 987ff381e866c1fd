"""`gymforge publish`: what goes to the hub and what does not, and whether it can be used there."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from flows.card import make_card
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from schemas.errors import MissingExtra
from schemas.health import HealthCheck
from schemas.tasks import TaskInstance
from storage.health import add_health
from storage.layout import DatasetLayout
from storage.manifest import read_manifest, write_manifest
from task_registry import Registry, load_rejected
from task_registry.splits import Splits

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client sends files as `data=`

MakeTask = Callable[..., TaskInstance]
WriteDataset = Callable[[Path, TaskInstance], None]
MakeRelease = Callable[..., Path]
SPLITS = Splits(shares={"train": 0.5, "test": 0.5})
REPO = "acme/tasks"
SECRET = "ghp_" + "a1B2" * 9
AWS_KEY = "AKIA" + "Q7XW" * 4
ADDRESS = "erika.mustermann@web.de"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["publish", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def make_small(tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset) -> MakeRelease:
    """A release of three tasks in two splits, and of one that stays out; `changes` are of the first task."""

    def make(name: str = "release", **changes: Any) -> Path:
        chosen = ("acme/r0", "acme/r1", "acme/r2", "acme/gpl")
        folders = []
        for number, repo in enumerate(chosen):
            commit = f"{number:08x}" * 5
            fields: dict[str, Any] = {
                "repo": repo,
                "base_commit": commit,
                "instance_id": f"{repo.replace('/', '__')}.{commit[:8]}.op_change__{number:010x}",
                "problem_statement": f"Text {number} of {name}.",
                "license_spdx": "GPL-3.0-only" if repo.endswith("gpl") else "MIT",
            }
            folders.append(str(tmp_path / f"{name}-{number}"))
            write_dataset(Path(folders[-1]), make_task(number, **(fields | (changes if number == 0 else {}))))
        make_release(ReleaseSettings(datasets=tuple(folders), out=tmp_path / name, splits=SPLITS))
        return tmp_path / name

    return make


@pytest.fixture
def release(make_small: MakeRelease) -> Path:
    return make_small()


def test_a_release_is_there_with_its_card_and_can_be_opened_there(hub: Any, release: Path) -> None:
    before = contents(release)
    done = call(release, REPO)
    assert done.exit_code == 0, done.output
    assert "3 tasks: " in done.output
    assert "everything reads back equal" in done.output
    there = hub.files(REPO)
    assert before.items() <= there.items()
    added = there.keys() - before.keys()
    assert {name for name in added if not name.startswith("figures/")} == {".gitattributes", "README.md"}
    assert len(added) > 4
    assert b'datasets.load_dataset("acme/tasks"' in there["README.md"]
    assert contents(release) == before, "the folder is only read"
    opened = Registry.open(f"hf://datasets/{REPO}")
    assert list(opened.tasks()) == list(Registry.open(release).tasks())
    assert {one.token for one in hub.seen("GET /cdn")} == {""}
    assert list(opened.versions.values()) == list(Registry.open(release).versions.values())
    name = opened.ids("split = 'train'")[0]
    assert opened.get(name).instance_id == name
    listed = CliRunner().invoke(main, ["tasks", f"hf://datasets/{REPO}", "--where", "split = 'train'", "--json"])
    assert name in [one["instance_id"] for one in json.loads(listed.output)]


def test_the_same_release_again_makes_no_second_commit(hub: Any, release: Path) -> None:
    first = json.loads(call(release, REPO, "--json").output)
    assert set(first["uploaded"]) == set(first["files"])
    assert first["commit"] == hub.repos[REPO].branches["main"]
    again = json.loads(call(release, REPO, "--json").output)
    assert (again["commit"], again["uploaded"], again["removed"]) == (first["commit"], [], [])
    assert "all was there already" in call(release, REPO).output
    assert len(hub.repos[REPO].commits) == 2


def test_the_next_release_takes_the_place_of_the_one_before(hub: Any, release: Path, make_small: MakeRelease) -> None:
    call(release, REPO)
    following = make_small("following")
    done = json.loads(call(following, REPO, "--json").output)
    assert not done["removed"]
    assert contents(following).items() <= hub.files(REPO).items()
    assert "manifest.json" in done["uploaded"]
    assert [one for one in done["uploaded"] if one.startswith("figures/")] == [], "these are as they were"
    assert list(Registry.open(f"hf://datasets/{REPO}").tasks()) == list(Registry.open(following).tasks())


def test_only_what_belongs_to_the_release_is_sent(hub: Any, release: Path) -> None:
    others = ("ledger/ledger.sqlite", "runs/r.json", ".gymforge.lock", "data/stranger.parquet", "notes.txt")
    for name in (*others, "report/index.html", "report/data/parts.js"):
        (release / name).parent.mkdir(exist_ok=True, parents=True)
        (release / name).write_text("x")
    assert call(release, REPO).exit_code == 0
    kinds = {name.split("/")[0] for name in hub.files(REPO)}
    assert kinds == {".gitattributes", "README.md", "manifest.json", "data", "rejected", "figures"}
    assert "data/stranger.parquet" not in hub.files(REPO)


def test_nothing_of_what_stayed_out_is_given_away(hub: Any, release: Path) -> None:
    import polars as pl

    (dropped,) = release.glob("rejected/*.parquet")
    rows = pl.read_parquet(dropped)
    assert rows["reason"].to_list() == ["licence_not_allowed"]
    assert rows["bug_patch"].to_list() == [""]


def test_a_release_that_still_has_patches_that_stayed_out_is_refused(
    hub: Any, make_small: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.release

    rows_of = flows.release._rejected_rows
    monkeypatch.setattr(
        flows.release,
        "_rejected_rows",
        lambda *a: [one.model_copy(update={"bug_patch": "-a\n"}) for one in rows_of(*a)],
    )
    done = call(make_small(), REPO)
    assert (done.exit_code, "the patches of tasks that stayed out" in done.output) == (2, True)
    assert not hub.requests


def test_a_dry_run_needs_no_hub_and_changes_nothing(hub: Any, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    before = contents(release)
    done = call(release, REPO, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "data/train-00000-of-00001.parquet" in done.output
    assert "the hub was not asked" in done.output
    said = json.loads(call(release, REPO, "--dry-run", "--json").output)
    assert said["dry_run"]
    assert said["commit"] == ""
    assert said["files"]["manifest.json"] == len(before["manifest.json"])
    assert contents(release) == before
    assert not hub.requests


def test_a_dataset_that_is_no_release_is_refused(hub: Any, release: Path, tmp_path: Path) -> None:
    done = call(tmp_path / "release-0", REPO)
    assert (done.exit_code, "only releases are published" in done.output) == (2, True)
    done = call(tmp_path, REPO)
    assert done.exit_code == 2
    assert not hub.requests


def test_a_damaged_release_is_not_sent(hub: Any, release: Path) -> None:
    shard = next(release.glob("data/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    assert call(release, REPO).exit_code == 12
    assert not hub.requests


FINDINGS: Mapping[str, dict[str, Any]] = {
    "secret (GitHub Token)": {"problem_statement": f"It says {SECRET}."},
    "personal_data (email)": {"problem_statement": f"Write to {ADDRESS}."},
    "personal_data (phone)": {"bug_patch": "diff --git a/s.py b/s.py\n+# call +49 30 901820\n"},
    "secret (AWS Access Key)": {"PASS_TO_PASS": ("t.py::test_one", f"t.py::test_key[{AWS_KEY}]")},
    "personal_data (iban)": {"FAIL_TO_PASS": ("t.py::test_iban[DE02120300000000202051]",)},
}


@pytest.mark.parametrize("kind", FINDINGS)
def test_findings_block_publishing_and_are_not_repeated(
    hub: Any, make_small: MakeRelease, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("flows.release.GATES", {"licence": ""})  # as in a release that was made before there were more
    old = make_small(**FINDINGS[kind])
    for arguments in ((), ("--dry-run",)):
        done = call(old, REPO, *arguments)
        assert done.exit_code == 14, done.output
        assert f"acme__r0.00000000.op_change__0000000000: {kind}" in done.output
        assert not any(text in done.output for text in (SECRET, ADDRESS, AWS_KEY, "901820", "202051"))
    assert not hub.requests


def test_a_release_leaves_such_tasks_out_from_the_start(make_small: MakeRelease) -> None:
    folder = make_small(problem_statement=f"Write to {ADDRESS}.")
    assert len(Registry.open(folder).ids()) == 2
    text = (folder / "manifest.json").read_text()
    assert json.loads(text)["release"]["dropped"]["personal_data"] == {"email": 1}
    assert ADDRESS.encode() not in b"".join(contents(folder).values())


def test_a_release_holds_nothing_of_what_tests_are_called(
    tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset
) -> None:
    write_dataset(tmp_path / "d", make_task(7))
    layout = DatasetLayout(tmp_path / "d")
    manifest = read_manifest(layout)
    (one,) = manifest.ingestions
    told = one.model_copy(update={"not_passing": (f"t.py::test[{ADDRESS}]",), "quarantined": {SECRET: ("failed",)}})
    write_manifest(layout, manifest.model_copy(update={"ingestions": (told,)}))
    against = HealthCheck(
        instance_id=make_task(7).instance_id,
        checked_at=datetime(2026, 3, 1, tzinfo=UTC),
        sandbox="local",
        gymforge_version="1",
        disagreements=(f"t.py::test_key[{AWS_KEY}] passed",),
    )
    for history, gate in (([], "secret"), ([against], "health")):
        add_health(layout, history)
        out = tmp_path / f"release-{gate}"
        made = make_release(ReleaseSettings(datasets=(str(layout.root),), out=out)).release
        assert made is not None
        assert sum(made.dropped[gate].values()) == 1
        rows = "".join(row.model_dump_json() for row in load_rejected(out)).encode()
        held = b"".join([*contents(out).values(), rows])
        assert not any(text.encode() in held for text in (ADDRESS, SECRET, AWS_KEY))


@pytest.mark.parametrize(
    ("text", "says"),
    [(SECRET, "secret (GitHub Token)"), (ADDRESS, "personal_data (email)")],
    ids=["a token", "an address"],
)
def test_findings_in_what_stayed_out_and_in_the_manifest_block_publishing(
    hub: Any, make_small: MakeRelease, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    import flows.release

    rows_of = flows.release._rejected_rows
    with monkeypatch.context() as patch:
        patch.setattr(
            flows.release,
            "_rejected_rows",
            lambda *a: [one.model_copy(update={"detail": f"as in {text}"}) for one in rows_of(*a)],
        )
        telling = make_small("telling")
    done = call(telling, REPO)
    assert done.exit_code == 14
    assert f"rejected acme__gpl.00000003.op_change__0000000003: {says}" in done.output
    layout = DatasetLayout(make_small("stating"))
    manifest = read_manifest(layout)
    first, *others = manifest.ingestions
    stated = first.model_copy(update={"attribution": (f"Copyright 2020 {ADDRESS}",)})
    write_manifest(layout, manifest.model_copy(update={"ingestions": (stated, *others)}))
    assert call(layout.root, REPO, "--dry-run").exit_code == 0, "whose the code is stays as it is stated"
    made_by = first.model_copy(update={"config_hash": f"made by {text}"})
    write_manifest(layout, manifest.model_copy(update={"ingestions": (made_by, *others)}))
    done = call(layout.root, REPO)
    assert (done.exit_code, f"manifest.json: {says}" in done.output) == (14, True)
    assert not hub.requests


def test_a_text_that_speaks_of_a_figure_is_published(hub: Any, make_small: MakeRelease) -> None:
    text = "See figures/none.png:\n![it](figures/none.png)\nin OWNER/NAME."
    shown = {"repo": "acme/r1a", "instance_id": "acme__r1a.00000000.op_change__0000000000"}  # between the two others
    folder = make_small(problem_statement=text, **shown)
    make_card(folder)
    assert call(folder, REPO).exit_code == 0
    assert text.encode() in hub.files(REPO)["README.md"]


def test_a_secret_in_the_card_blocks_publishing(hub: Any, release: Path) -> None:
    make_card(release)
    with (release / "README.md").open("a") as card:
        card.write(f"\nAsk with {SECRET}.\n")
    done = call(release, REPO)
    assert (done.exit_code, "README.md: secret (GitHub Token)" in done.output) == (14, True)
    assert SECRET not in done.output
    assert not hub.requests


def test_a_card_of_ones_own_is_published_under_the_name_of_the_dataset(hub: Any, release: Path) -> None:
    make_card(release, name="My tasks")
    with (release / "README.md").open("a") as card:
        card.write("\nAnd I would like to add something.\n")
    own = (release / "README.md").read_bytes()
    assert call(release, REPO).exit_code == 0
    assert hub.files(REPO)["README.md"] == own.replace(b"OWNER/NAME", b"acme/tasks")
    assert (release / "README.md").read_bytes() == own


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("num_examples: 1", "num_examples: 7", "`dataset_info` is another"),
        ("path: data/train-*.parquet", "path: data/*.parquet", "`configs` is another"),
        ("pretty_name: ", "pretty_name: [", "its metadata cannot be read"),
        ("figures/complexity.png", "figures/no-such.png", "no-such.png, which is not in"),
    ],
)
def test_a_card_that_does_not_fit_fails_the_publish(hub: Any, release: Path, old: str, new: str, says: str) -> None:
    card = make_card(release)
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))
    done = call(release, REPO)
    assert (done.exit_code, says in done.output) == (2, True), done.output
    assert not hub.requests


@pytest.mark.parametrize("module", ["matplotlib.figure", "tldextract", "detect_secrets.settings", "huggingface_hub"])
def test_what_cannot_be_made_or_looked_at_fails_the_publish(
    hub: Any, release: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = call(release, REPO)
    assert done.exit_code == MissingExtra.exit_code, done.output
    assert "pip install 'gymforge[release]'" in done.output
    assert not hub.requests


def test_the_card_passes_the_check_of_the_hub(hub: Any, release: Path) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub import DatasetCard

    def here(request: httpx.Request) -> None:
        """The client asks huggingface.co itself, whatever the endpoint is."""
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=hub.server_port)

    call(release, REPO)
    card = DatasetCard(hub.files(REPO)["README.md"].decode())
    huggingface_hub.set_client_factory(lambda: httpx.Client(event_hooks={"request": [here]}))
    try:
        card.validate()
        card.data.license = "no-such"
        with pytest.raises(ValueError, match="must be one of"):
            card.validate()
    finally:
        from huggingface_hub.utils._http import default_client_factory

        huggingface_hub.set_client_factory(default_client_factory)
    assert len(hub.seen("POST /api/validate-yaml")) == 3


@pytest.mark.parametrize("place", ["a page", "the footer"])
def test_bytes_that_the_hub_damages_are_noticed(hub: Any, release: Path, place: str) -> None:
    def damage(content: bytes) -> bytes:
        """Another byte, while the storage says that it has what it was sent."""
        if not content.startswith(b"PAR1"):
            return content
        column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(3)
        end = column.data_page_offset + column.total_compressed_size
        position = end - 3 if place == "a page" else len(content) - 6
        return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]

    hub.damage = damage
    done = call(release, REPO)
    assert done.exit_code == 13, done.output
    assert "as it was sent" in done.output


@pytest.mark.parametrize("token", ["hf_" + "wrong" * 7, "hf_" + "readREADreadREADread"])
def test_a_token_is_in_nothing_that_is_told(
    hub: Any, hub_server: ModuleType, release: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.faults = [hub_server.Fault("POST /api/repos/create", status=403, text=f"not with {token}")]
    done = CliRunner().invoke(main, ["--debug", "publish", str(release), REPO, "--json"])
    assert done.exit_code == 13
    assert "Traceback" in done.output
    assert token not in done.output


def environment(hub: Any, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_TOKEN": hub.TOKEN,
        "DO_NOT_TRACK": "1",
    }


@pytest.mark.slow
def test_a_publish_that_is_killed_goes_on_and_sends_nothing_twice(
    hub: Any, hub_server: ModuleType, release: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from flows.entry import main; main()", "publish", str(release), REPO]
    started: list[subprocess.Popen[str]] = []
    puts: list[bool] = []

    def kill_at_the_third() -> None:
        puts.append(True)
        if len(puts) == 3:
            os.killpg(started[0].pid, signal.SIGKILL)

    hub.faults = [hub_server.Fault("PUT /lfs", times=99, then=kill_at_the_third)]
    variables = environment(hub, tmp_path / "home")
    with hub.lock:  # the server waits until it is known whom to kill
        started.append(
            subprocess.Popen(
                command,
                env=variables,
                text=True,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    assert started[0].wait() == -signal.SIGKILL
    kept = set(hub.repos[REPO].lfs)
    assert kept
    assert len(hub.repos[REPO].commits) == 1, "nothing but what was there from the start"
    hub.faults.clear()
    sent_before = len(hub.requests)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert hub.TOKEN not in done.stdout + done.stderr
    again = [one.path.rpartition("/")[2] for one in hub.requests[sent_before:] if one.method == "PUT"]
    assert again
    assert kept.isdisjoint(again)
    assert len(hub.repos[REPO].commits) == 2
    assert contents(release).items() <= hub.files(REPO).items()


@pytest.mark.slow
def test_other_programs_read_what_was_published(hub: Any, release: Path, tmp_path: Path) -> None:
    assert call(release, REPO).exit_code == 0
    script = """
import datasets, json, sys
from huggingface_hub import DatasetCard
found = {}
for split in ("train", "test"):
    rows = list(datasets.load_dataset("acme/tasks", split=split, streaming=True))
    found[split] = [row["instance_id"] for row in rows]
loaded = datasets.load_dataset("acme/tasks")
assert {split: rows["instance_id"][:] for split, rows in loaded.items()} == found
assert DatasetCard.load("acme/tasks").data.license == "mit"
from task_registry import Registry
assert sorted(sum(found.values(), [])) == Registry.open("hf://datasets/acme/tasks").ids()
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(hub, tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    registry = Registry.open(release)
    expected = {split: registry.ids(f"split = '{split}'") for split in ("train", "test")}
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_names_that_cannot_be_are_refused_before_anything_is_read(hub: Any, release: Path) -> None:
    assert call(release, "tasks").exit_code == 2
    assert call(release, REPO, "--revision", "a b").exit_code == 2
    assert not hub.requests
