"""Files on the hub: sent once, in one commit, read back, whatever goes wrong on the way; by the real client over HTTP."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from schemas.errors import DatasetError, InvalidInput, PublishFailed
from storage.hub import HubDataset, HubFile, Sent, hub_file
from storage.places import Place

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client sends files as `data=`

REPO = "acme/tasks"
FIRST = {
    "manifest.json": b'{"gymforge_version": "0.1.0"}',
    "README.md": b"---\nlicense: mit\n---\n# Tasks\n",
    "data/train-00000-of-00002.parquet": b"PAR1" + b"a" * 3000,
    "data/train-00001-of-00002.parquet": b"PAR1" + b"b" * 3000,
    "figures/complexity.png": b"\x89PNG",
}
SECOND = FIRST | {
    "manifest.json": b'{"gymforge_version": "0.2.0"}',
    "README.md": b"---\nlicense: mit\n---\n# More tasks\n",
    "data/train-00000-of-00001.parquet": b"PAR1" + b"c" * 3000,
}
for _gone in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "figures/complexity.png"):
    del SECOND[_gone]

Send = Callable[..., Sent]


@pytest.fixture
def files_of(tmp_path: Path) -> Callable[[Mapping[str, bytes]], list[HubFile]]:
    def make(contents: Mapping[str, bytes]) -> list[HubFile]:
        folder = tmp_path / hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()[:8]
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return [hub_file(path, folder / path) for path in contents]

    return make


@pytest.fixture
def send(hub: Any, files_of: Callable[[Mapping[str, bytes]], list[HubFile]]) -> Send:
    """Publish and read back; `sleep` is where waiting is written down."""

    def publish(contents: Mapping[str, bytes], *, sleep: Callable[[float], object] = bool, **options: Any) -> Sent:
        files = files_of(contents)
        dataset = HubDataset(REPO, **options)
        sent = dataset.publish(files, message="Release", sleep=sleep)
        dataset.check(files, (), local=Place("/"), commit=sent.commit)
        return sent

    return publish


def there(hub: Any, revision: str = "main") -> dict[str, bytes]:
    return {path: content for path, content in hub.files(REPO, revision).items() if path != ".gitattributes"}


def test_files_arrive_in_one_commit(hub: Any, send: Send) -> None:
    sent = send(FIRST)
    assert there(hub) == FIRST
    assert hub.repos[REPO].messages == ["initial commit", "Release"]
    assert hub.repos[REPO].branches == {"main": sent.commit}
    assert set(sent.uploaded) == FIRST.keys()
    assert (sent.removed, sent.url) == ((), f"{hub.url}/datasets/{REPO}/tree/{sent.commit}")
    assert not hub.repos[REPO].private


def test_the_same_again_sends_nothing(hub: Any, send: Send) -> None:
    first = send(FIRST)
    again = send(FIRST)
    assert (again.commit, again.uploaded, again.removed) == (first.commit, (), ())
    assert len(hub.repos[REPO].commits) == 2
    assert len(hub.seen("^PUT ")) == 3
    assert len(hub.seen("POST .*/commit/")) == 1


def test_only_what_changed_is_sent_and_what_has_gone_is_removed(hub: Any, send: Send) -> None:
    send(FIRST)
    sent = send(SECOND)
    assert there(hub) == SECOND
    assert sent.uploaded == ("manifest.json", "README.md", "data/train-00000-of-00001.parquet")
    assert sent.removed == tuple(sorted(FIRST.keys() - SECOND.keys()))
    assert len(hub.repos[REPO].commits) == 3
    assert len(hub.seen("^PUT ")) == 4


def test_what_a_user_added_elsewhere_stays(hub: Any, hub_server: ModuleType, send: Send) -> None:
    send(FIRST)
    repo = hub.repos[REPO]
    tree = repo.commits[repo.branches["main"]] | {
        "LICENSE": hub_server.regular(b"MIT"),
        "docs/a.md": hub_server.regular(b""),
    }
    hub_server.add_commit(repo, "main", tree, "by hand")
    send(SECOND)
    assert there(hub) == SECOND | {"LICENSE": b"MIT", "docs/a.md": b""}


def test_a_branch_is_made_and_the_main_one_stays_as_it_is(hub: Any, send: Send) -> None:
    send(FIRST)
    send(SECOND, revision="next/one")
    assert there(hub, "next/one") == SECOND
    assert there(hub) == FIRST
    send(FIRST | {"README.md": b"---\nlicense: isc\n---\n"}, revision="next/one")
    assert len(hub.repos[REPO].commits) == 4


def test_a_branch_of_a_dataset_that_is_new_is_made(hub: Any, send: Send) -> None:
    send(FIRST, revision="next")
    assert there(hub, "next") == FIRST
    assert there(hub) == {}


def test_a_private_dataset_is_made_so_and_never_published_openly(hub: Any, send: Send) -> None:
    send(FIRST, private=True)
    assert hub.repos[REPO].private
    send(SECOND, private=True)
    hub.repos[REPO].private = False
    before = hub.repos[REPO].branches
    with pytest.raises(PublishFailed, match="is there already, and not private"):
        send(FIRST, private=True)
    assert hub.repos[REPO].branches == before


@pytest.mark.parametrize(
    "theirs", [{"data/mine.parquet": b"x"}, {"manifest.json": b"{}"}, {"manifest.json": b"no json"}]
)
def test_the_data_of_somebody_else_is_not_replaced(
    hub: Any, hub_server: ModuleType, send: Send, theirs: dict[str, bytes]
) -> None:
    repo = hub.repos[REPO] = hub_server.Repo(private=False)
    hub_server.add_commit(repo, "main", {path: hub_server.regular(content) for path, content in theirs.items()}, "mine")
    with pytest.raises(DatasetError, match="which no release of gymforge put there"):
        send(FIRST)
    assert there(hub) == theirs


def test_a_dataset_with_nothing_but_a_readme_is_filled(hub: Any, hub_server: ModuleType, send: Send) -> None:
    repo = hub.repos[REPO] = hub_server.Repo(private=False)
    hub_server.add_commit(repo, "main", {"README.md": hub_server.regular(b"# made on the site")}, "mine")
    send(FIRST)
    assert there(hub) == FIRST


EVERYWHERE = (
    "GET /api/datasets/acme/tasks/revision",
    "POST /api/repos/create",
    "GET .*/tree/",
    "POST /api/validate-yaml",
    "POST .*/preupload/",
    "POST .*/info/lfs/objects/batch",
    "PUT /lfs",
    "POST /lfs.*/verify",
    "POST .*/commit/",
    "GET .*/resolve/",
)
FAULTS = {
    "unavailable": {"status": 503},
    "fault": {"status": 500},
    "cut": {"cut_after": 0},
    "cut in the middle": {"cut_after": 1500},
    "lost answer": {"lose_answer": True},
    "rate limit": {"status": 429, "headers": {"Retry-After": "7"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", EVERYWHERE)
def test_whatever_fails_once_is_done_again_and_nothing_is_doubled(
    hub: Any, hub_server: ModuleType, send: Send, where: str, fault: str
) -> None:
    send(FIRST)
    hub.repos.clear() if "create" in where else None
    struck: list[bool] = []
    hub.faults = [hub_server.Fault(where, then=lambda: struck.append(True), **FAULTS[fault])]
    send(SECOND)
    assert struck
    assert there(hub) == SECOND
    assert hub.repos[REPO].messages == ["initial commit", "Release"] + ["Release"] * ("create" not in where)


def test_a_lost_answer_to_the_commit_doubles_nothing_and_is_told_as_sent(
    hub: Any, hub_server: ModuleType, send: Send
) -> None:
    hub.faults = [hub_server.Fault("POST .*/commit/", lose_answer=True)]
    sent = send(FIRST)
    assert set(sent.uploaded) == FIRST.keys()
    assert len(hub.seen("POST .*/commit/")) == 1
    assert hub.repos[REPO].messages == ["initial commit", "Release"]


def test_files_that_arrived_before_a_break_are_not_sent_again(hub: Any, hub_server: ModuleType, send: Send) -> None:
    hub.faults = [hub_server.Fault("POST .*/commit/", times=99, status=503)]
    with pytest.raises(PublishFailed, match="Run the same command again") as failed:
        send(FIRST)
    assert failed.value.transient
    assert there(hub) == {}
    hub.faults.clear()
    send(FIRST)
    assert there(hub) == FIRST
    assert len(hub.seen("^PUT ")) == 3


def test_a_commit_of_somebody_else_in_between_is_not_overwritten(hub: Any, hub_server: ModuleType, send: Send) -> None:
    send(FIRST)
    repo = hub.repos[REPO]

    def commit() -> None:
        tree = repo.commits[repo.branches["main"]] | {"NOTES.md": hub_server.regular(b"mine")}
        hub_server.add_commit(repo, "main", tree, "by hand")

    hub.faults = [hub_server.Fault("POST .*/preupload/", then=commit)]
    send(SECOND)
    assert there(hub) == SECOND | {"NOTES.md": b"mine"}
    assert repo.messages[-2:] == ["by hand", "Release"]


def test_a_release_of_somebody_else_in_between_is_left_alone_and_named(
    hub: Any, hub_server: ModuleType, send: Send
) -> None:
    send(FIRST)
    repo = hub.repos[REPO]

    def commit() -> None:
        theirs = {"manifest.json": hub_server.regular(b'{"gymforge_version": "9"}')}
        hub_server.add_commit(repo, "main", repo.commits[repo.branches["main"]] | theirs, "their release")

    hub.faults = [hub_server.Fault("POST .*/preupload/", then=commit)]
    with pytest.raises(PublishFailed, match="changed by somebody else while this release was sent") as refused:
        send(SECOND)
    assert not refused.value.transient
    assert repo.branches["main"][:12] in str(refused.value)
    assert repo.messages[-1] == "their release"
    assert there(hub)["manifest.json"] == b'{"gymforge_version": "9"}'
    send(SECOND)
    assert there(hub) == SECOND


def test_the_hub_says_how_long_to_wait(hub: Any, hub_server: ModuleType, send: Send) -> None:
    waited_s: list[float] = []
    limit = {"status": 429, "headers": {"Retry-After": "77"}}
    hub.faults = [hub_server.Fault("POST /api/repos/create", **limit), hub_server.Fault("PUT /lfs", **limit)]
    send(FIRST, sleep=waited_s.append)
    assert waited_s == [77.0]
    assert hub.waited_s == [78.0]
    limit = {
        "status": 429,
        "headers": {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
    }
    hub.faults = [hub_server.Fault("GET .*/revision/", **limit)]
    send(FIRST, sleep=waited_s.append)
    assert waited_s == [77.0, 55.0]
    hub.faults = [hub_server.Fault("GET .*/revision/", status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(PublishFailed, match="429"):
        send(SECOND, sleep=waited_s.append)
    assert waited_s == [77.0, 55.0]


def test_a_hub_that_says_nothing_is_given_up(
    hub: Any, hub_server: ModuleType, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.hub_faults.SILENCE_S", 0.05)
    hub.faults = [
        hub_server.Fault("POST /api/repos/create", silent_s=0.3),
        hub_server.Fault("GET .*/tree/", silent_s=0.3),
        hub_server.Fault("PUT /lfs", silent_s=0.3),
    ]
    send(FIRST)
    assert there(hub) == FIRST


def test_a_hub_that_is_not_there_is_told_as_passing(hub: Any, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    waited_s: list[float] = []
    with pytest.raises(PublishFailed, match="Run the same command again") as failed:
        send(FIRST, sleep=waited_s.append)
    assert failed.value.transient
    assert waited_s == [2.0, 8.0, 30.0]


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "there is no token"),
        ("hf_wrong", "does not accept the token"),
        ("hf_" + "readREADreadREADread", "may not write to acme/tasks"),
        ("hf_\x07bell", "has characters that no token has"),
        ("hf_größe", "has characters that no token has"),
    ],
)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_token_that_will_not_do_is_told_and_not_shown(
    hub: Any, send: Send, monkeypatch: pytest.MonkeyPatch, token: str, says: str, is_there: bool
) -> None:
    if is_there:
        send(FIRST)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishFailed, match=says) as failed:
        send(SECOND)
    assert not failed.value.transient
    assert not token or token not in str(failed.value)
    assert not is_there or there(hub) == FIRST


def test_a_namespace_of_somebody_else_is_refused(hub: Any) -> None:
    with pytest.raises(PublishFailed, match="may not write to other/tasks"):
        HubDataset("other/tasks").publish([], message="m")


def test_the_token_is_in_no_message_even_where_the_server_repeats_it(
    hub: Any, hub_server: ModuleType, send: Send, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import traceback

    caplog.set_level(0)
    hub.faults = [hub_server.Fault("POST .*/commit/", status=400, text=f"you sent Bearer {hub.TOKEN}")]
    with pytest.raises(PublishFailed, match=r"you sent Bearer \*\*\*") as failed:
        send(FIRST)
    told = "".join(traceback.format_exception(failed.value)) + caplog.text + "".join(capfd.readouterr())
    assert hub.TOKEN not in told
    assert "Signature" not in told
    assert {one.token for one in hub.seen("POST .*/commit/")} == {hub.TOKEN}
    assert {one.token for one in hub.seen("^PUT ")} == {""}


def test_the_login_of_the_hub_itself_will_do(hub: Any, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    Path(constants.HF_TOKEN_PATH).write_text(hub.TOKEN + "\n")
    send(FIRST)
    assert there(hub) == FIRST


@pytest.mark.parametrize("path", ["data/train-00000-of-00001.parquet", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "other", "other behind the same id"])
def test_what_is_other_than_it_was_sent_is_noticed(
    hub: Any, hub_server: ModuleType, files_of: Callable[[Mapping[str, bytes]], list[HubFile]], path: str, how: str
) -> None:
    files, dataset = files_of(SECOND), HubDataset(REPO)
    commit = dataset.publish(files, message="Release").commit
    dataset.check(files, (), local=Place("/"), commit=commit)
    tree = hub.repos[REPO].commits[commit]
    there = tree.pop(path)
    if how == "other":
        tree[path] = hub_server.in_lfs("0" * 64, there.size) if there.sha256 else hub_server.regular(b"!" * there.size)
    elif how != "gone":
        tree[path] = hub_server.Blob(there.oid, there.size, b"!" * there.size)
    with pytest.raises(PublishFailed, match=f"does not hold {path} as it was sent"):
        dataset.check(files, (), local=Place("/"), commit=commit)


def test_a_card_that_the_hub_refuses_is_not_sent(hub: Any, send: Send) -> None:
    with pytest.raises(PublishFailed, match="license"):
        send(FIRST | {"README.md": b"---\nlicense: no-such\n---\n"})
    assert there(hub) == {}
    assert not hub.seen("^PUT ")


def test_what_the_hub_takes_and_does_not_show_is_told_and_not_tried_for_ever(
    hub: Any, hub_server: ModuleType, send: Send
) -> None:
    def ignore() -> None:
        hub.repos[REPO].commits[hub.repos[REPO].branches["main"]].pop("README.md", None)

    hub.faults = [
        hub_server.Fault("GET .*/tree/", times=99, then=lambda: len(hub.repos[REPO].commits) > 1 and ignore())
    ]
    with pytest.raises(PublishFailed, match=r"does not hold README\.md as it was sent"):
        send(FIRST)
    assert len(hub.repos[REPO].commits) == 2


@pytest.mark.parametrize("name", ["tasks", "a/b/c", "acme/ta sks", "/tasks", "acme/", "acme/../x", "", "acme/ä"])
def test_names_that_cannot_be_are_refused_at_once(name: str) -> None:
    with pytest.raises(InvalidInput, match="Name it OWNER/NAME"):
        HubDataset(name)


@pytest.mark.parametrize("revision", ["", "a b", "a..b", "x~1", "x^", " main"])
def test_branches_that_cannot_be_are_refused_at_once(revision: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a branch"):
        HubDataset(REPO, revision=revision)
