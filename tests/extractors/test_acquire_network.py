"""Cloning from git servers that ask, fail, stall, lie, redirect and change: one pinned commit, or a clear error in time."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from extractors import git_limits, git_watch
from schemas.errors import CloneFailed

_SPEC = importlib.util.spec_from_file_location("git_server", Path(__file__).with_name("git_server.py"))
web = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(web)
ADVERTISEMENT, LISTING, FETCH = web.ADVERTISEMENT, web.LISTING, web.FETCH
git, commit, contents = web.git, web.commit, web.contents

pytestmark = pytest.mark.usefixtures("own_git_configuration")

MIB = 1024 * 1024
BLOBS = 2
"""The number of the request that fetches contents into a partial copy; the first one fetches commits and folders."""


@pytest.fixture
def refused(get, tmp_path, site):
    """`acquire` must fail as `CloneFailed` with this message, leave nothing half-made, and tell no password."""

    def run(source, match, *, transient, ref=None):
        with pytest.raises(CloneFailed, match=match) as caught:
            get(source, ref)
        message = str(caught.value)
        assert caught.value.exit_code == 3
        assert caught.value.transient is transient
        assert source.removeprefix("file://") in message, "says where"
        assert web.PASSWORD not in message + repr(caught.value.__context__)
        assert not list(tmp_path.glob("out*")), "no tree"
        assert not list((tmp_path / "cache").rglob("*.partial")), "no half copy"
        assert ends(site.url), "no git is left running"
        return message

    return run


def processes_that_name(text):
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if text.encode() in command and b"git" in command:
            found.append(command)
    return found


def ends(text):
    """Whether all git processes that name this have ended within two seconds: killed ones take a moment."""
    deadline = time.monotonic() + 2
    while (found := processes_that_name(text)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not found


def is_commit(checkout, place, name):
    """Whether this is the tree of that commit, to the last file, and no mixture."""
    wanted = {
        path: subprocess.run(
            ["git", "-C", str(place), "show", f"{name}:{path}"], check=True, capture_output=True
        ).stdout
        for path in git(place, "ls-tree", "-r", "--name-only", name).splitlines()
    }
    found = contents(checkout.path)
    found.pop("link", None)
    wanted.pop("link", None)
    return checkout.ref.commit == git(place, "rev-parse", f"{name}^{{commit}}") and found == wanted


def helper(folder, configuration, password):
    """A credential helper of git's that answers with this password, and writes down what it is asked for."""
    script = folder / "helper"
    script.write_text(
        f'#!/bin/sh\necho "$1" >> {folder}/asked\n[ "$1" = get ] && echo username={web.USER} && echo password={password}\nexit 0\n'
    )
    script.chmod(0o755)
    configuration.write_text(f"[credential]\n\thelper = {script}\n")


# --- credentials


def test_without_credentials_none_are_sent_and_the_message_says_how_to_give_them(site, refused):
    source = f"{site.url}/private/proj.git"
    refused(source, f"needs credentials.*git's own credential helper.*git ls-remote {source}", transient=False)
    assert len(site.requests) == 1
    assert not any("Authorization" in request.headers for request in site.requests)


def test_wrong_credentials_are_tried_once_and_git_is_told_to_forget_them(
    site, refused, tmp_path, own_git_configuration
):
    helper(tmp_path, own_git_configuration, "wrong-secret")
    message = refused(f"{site.url}/private/proj.git", "needs credentials.*Authentication failed", transient=False)
    assert "wrong-secret" not in message
    assert sum("Authorization" in request.headers for request in site.requests) == 1
    assert (tmp_path / "asked").read_text().split() == ["get", "erase"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and b"wrong" in path.read_bytes()]


def test_credentials_that_end_in_the_middle_are_asked_for_as_such(site, refused, tmp_path, own_git_configuration):
    helper(tmp_path, own_git_configuration, web.PASSWORD)
    site.faults.append(web.on(FETCH, web.says(403)))
    refused(f"{site.url}/private/proj.git", "needs credentials", transient=False)
    assert len(site.asked(FETCH)) == 1, "no second way is tried against a closed door"


# --- answers that are no repository


@pytest.mark.parametrize(
    ("status", "match", "transient"),
    [
        (404, r"no Git repository at this address\. Check its spelling", False),
        (410, r"does not speak Git's protocol\. Check the address", False),
        (429, r"overloaded\. Run this again a little later", True),
        (500, r"overloaded\. Run this again a little later", True),
        (503, r"overloaded\. Run this again a little later", True),
    ],
    ids=["404", "410", "429", "500", "503"],
)
def test_refusal_by_status_says_whether_to_try_again(site, refused, status, match, transient):
    site.faults.append(web.on(ADVERTISEMENT, web.says(status, content=b"<html>no</html>")))
    refused(f"{site.url}/partial/proj.git", match, transient=transient)
    assert len(site.requests) == 1


@pytest.mark.parametrize("moment", [LISTING, FETCH])
def test_server_that_fails_later_is_not_asked_for_more_and_works_again(site, repo, get, refused, moment):
    site.faults.append(web.on(moment, web.says(503), times=1))
    refused(f"{site.url}/partial/proj.git", "overloaded", transient=True)
    assert len(site.asked(moment)) == 1
    assert is_commit(get(f"{site.url}/partial/proj.git"), repo, "main")


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_web_page_in_place_of_a_repository_is_no_repository(site, refused, end):
    page = web.says(200, ("Content-Type", "text/html"), content=b"<html><title>Sign in</title></html>" + end)
    site.faults.append(page)
    refused(f"{site.url}/partial/proj.git", r"(?i)no Git repository at this.*Check|is none: check", transient=False)


def test_name_of_a_repository_does_not_count_as_its_failure(site, refused):
    site.faults.append(web.says(410))
    refused(f"{site.url}/ssl/timeout.git", "does not speak Git's protocol", transient=False)


# --- slow


@pytest.mark.parametrize(
    ("moment", "share"),
    [(ADVERTISEMENT, None), (ADVERTISEMENT, 0.5), (FETCH, None), (FETCH, 0.5)],
    ids=["never answers", "listing", "no pack", "pack"],
)
def test_silent_server_is_left_after_the_limit(site, repo, get, refused, monkeypatch, moment, share):
    monkeypatch.setattr(git_limits, "SILENT_S", 1)
    site.faults.append(web.on(moment, web.stall(share, site), times=1))
    began = time.monotonic()
    refused(f"{site.url}/partial/proj.git", r"does not answer.*Check the network.*run this again", transient=True)
    assert time.monotonic() - began < 15
    assert is_commit(get(f"{site.url}/partial/proj.git"), repo, "main")


@pytest.mark.parametrize(("moment", "limit"), [(ADVERTISEMENT, "LISTING_S"), (FETCH, "FETCH_S")])
def test_trickling_server_is_left_after_the_limit(site, repo, get, refused, monkeypatch, moment, limit):
    site.faults.append(web.on(moment, web.trickle(site, every_s=0.2), times=1))
    with monkeypatch.context() as patch:
        patch.setattr(git_limits, limit, 3)
        began = time.monotonic()
        refused(f"{site.url}/partial/proj.git", r"took longer than 3 seconds.*clone it by hand", transient=False)
        assert time.monotonic() - began < 20
    assert is_commit(get(f"{site.url}/partial/proj.git"), repo, "main")


# --- gymforge is killed

_CLONE = """
import sys
from pathlib import Path
from extractors.acquire import acquire
acquire(sys.argv[1], ref=None, cache_dir=Path(sys.argv[2]), destination=Path(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("moment", "number"),
    [(ADVERTISEMENT, signal.SIGKILL), (ADVERTISEMENT, signal.SIGHUP), (FETCH, signal.SIGKILL)],
    ids=["listing-SIGKILL", "listing-SIGHUP", "fetch-SIGKILL"],
)
def test_git_ends_with_a_killed_clone_and_the_next_one_is_good(site, repo, get, tmp_path, moment, number):
    source, cache = f"{site.url}/full/proj.git", tmp_path / "cache"
    site.faults.append(web.on(moment, web.trickle(site, every_s=0.2), times=1))
    with subprocess.Popen([sys.executable, "-c", _CLONE, source, str(cache), str(tmp_path / "killed")]) as clone:
        wait_for(lambda: site.asked(moment))
        assert processes_that_name(source), "git is at it"
        clone.send_signal(number)
        assert clone.wait() == -number
    assert ends(source)
    assert ends(str(cache))
    assert is_commit(get(source), repo, "main")


# --- cut


@pytest.mark.parametrize("announced", [True, False], ids=["length announced", "no length"])
@pytest.mark.parametrize("share", [0.0, 0.6])
@pytest.mark.parametrize("moment", [ADVERTISEMENT, LISTING, FETCH])
def test_cut_connection_is_worth_another_try_that_starts_anew(site, repo, get, refused, moment, share, announced):
    source = f"{site.url}/partial/proj.git"
    site.faults.append(web.on(moment, web.cut(share, announced=announced), times=1))
    refused(source, r"connection broke.*run this again", transient=True)
    assert len(site.asked(moment)) == 1
    assert is_commit(get(source), repo, "main")


def second(fault):
    """The fault at the second request to fetch: the one for contents."""
    return web.on(FETCH, lambda caller: len(caller_site(caller).asked(FETCH)) == BLOBS and fault(caller))


def caller_site(caller):
    return caller._handler.server.site


def test_connection_that_is_cut_while_contents_come_leaves_the_copy_good(site, repo, get, refused):
    site.faults.append(second(web.cut(0.5, announced=True)))
    refused(f"{site.url}/partial/proj.git", "cannot write the files of .*connection broke", transient=True)
    assert is_commit(get(f"{site.url}/partial/proj.git"), repo, "main")
    assert len(site.asked(FETCH)) == 3, "the copy of commits was not made again"


@pytest.mark.parametrize("fault", [web.cut(0.5, announced=True), web.says(418)], ids=["cut", "refused"])
def test_failed_update_of_a_partial_copy_does_not_make_it_forget_that_it_is_partial(site, repo, get, refused, fault):
    source = f"{site.url}/partial/proj.git"
    older = git(repo, "rev-parse", "HEAD~1")
    newer = commit(repo, a_dot_py="changed\n")
    git(repo, "push", "-q", str(site.bare("partial")), "main")
    get(source)
    commit(repo, c_dot_py="three\n")
    git(repo, "push", "-q", str(site.bare("partial")), "main")
    site.faults.append(web.on(FETCH, fault))
    with pytest.raises(CloneFailed):
        get(source)
    site.faults.clear()
    assert is_commit(get(source, newer), repo, newer)
    assert is_commit(get(source, older), repo, older), "its a.py was never fetched before"


# --- servers of other kinds


def test_server_without_protocol_2_gives_the_same_tree(site, repo, get):
    def old(caller):
        caller.request.headers.pop("Git-Protocol", None)
        return False

    site.faults.append(old)
    assert is_commit(get(f"{site.url}/partial/proj.git"), repo, "main")
    assert is_commit(get(f"{site.url}/full/proj.git", "v1.0"), repo, "v1.0")
    assert not site.asked(LISTING)


def test_server_of_plain_files_gives_the_same_tree_and_does_not_make_git_start_itself_without_end(
    site, repo, get, monkeypatch
):
    monkeypatch.setattr(git_limits, "FETCH_S", 20)
    git(site.bare("full"), "update-server-info")

    def files(caller):
        path = site.root / caller.request.path.partition("?")[0].lstrip("/")
        caller.send(*((200,) if path.is_file() else (404,)), content=path.read_bytes() if path.is_file() else b"")
        return True

    site.faults.append(files)
    assert is_commit(get(f"{site.url}/full/proj.git"), repo, "main")
    assert is_commit(get(f"{site.url}/full/proj.git", "v1.0"), repo, "v1.0")


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirect_on_the_same_server_is_followed(site, repo, get, status):
    moved = web.redirect(lambda path: site.url + path.replace("/old/", "/partial/"), status)
    site.faults.append(lambda caller: "/old/" in caller.request.path and moved(caller))
    checkout = get(f"{site.url}/old/proj.git")
    assert is_commit(checkout, repo, "main")
    assert checkout.ref.url == f"{site.url}/old/proj.git"


def test_credentials_do_not_follow_to_another_port(site, refused, tmp_path, own_git_configuration):
    store = tmp_path / "store"
    store.write_text(site.url.replace("//", f"//{web.USER}:{web.PASSWORD}@") + "\n")
    store.chmod(0o600)
    own_git_configuration.write_text(f"[credential]\n\thelper = store --file={store}\n")
    with web.serve(site.root) as other:
        moved = web.redirect(lambda path: other.url + path)
        site.faults.append(lambda caller: "Authorization" in caller.request.headers and moved(caller))
        refused(f"{site.url}/private/proj.git", "needs credentials", transient=False)
        assert any("Authorization" in request.headers for request in site.requests)
        assert other.requests
        assert not any("Authorization" in request.headers for request in other.requests)


def test_redirect_without_end_is_given_up(site, refused):
    site.faults.append(web.redirect(lambda path: f"{site.url}{path}"))
    refused(
        f"{site.url}/partial/proj.git", r"redirected without an end.*Give the address that it has now", transient=False
    )
    assert len(site.requests) < 30


def test_redirect_in_the_middle_is_refused(site, refused):
    with web.serve(site.root) as other:
        site.faults.append(web.on(FETCH, web.redirect(lambda path: other.url + path)))
        refused(f"{site.url}/partial/proj.git", "redirected.*to where git does not follow", transient=False)
        assert other.requests == []


def test_redirect_to_a_file_reads_nothing(site, repo, refused):
    site.faults.append(web.redirect(lambda path: f"file://{repo}/.git/info/refs"))
    refused(f"{site.url}/partial/proj.git", "of a kind that gymforge does not fetch from", transient=False)


def test_redirect_to_another_scheme_calls_nobody_whatever_the_user_allows(site, refused, own_git_configuration):
    own_git_configuration.write_text('[protocol "ftp"]\n\tallow = always\n')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        calls = []
        thread = threading.Thread(target=lambda: calls.append(answer_ftp(listener)))
        thread.start()
        port = listener.getsockname()[1]
        site.faults.append(web.redirect(lambda path: f"ftp://127.0.0.1:{port}/proj.git/info/refs"))
        refused(f"{site.url}/partial/proj.git", "of a kind that gymforge does not fetch from", transient=False)
        thread.join()
        assert calls == [False]


def answer_ftp(listener):
    """Whether anybody calls before it times out twenty times."""
    for _ in range(6):
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.close()
        return True
    return False


# --- repositories that change meanwhile


def rewrite(site, repo, name):
    """Force a new history into the served branch and drop the old one from the server for good."""

    def act():
        git(repo, "checkout", "-q", "--orphan", "rewritten")
        commit(repo, a_dot_py="rewritten\n", z_dot_py="new\n")
        git(repo, "branch", "-M", "rewritten", "main")
        bare = site.bare(name)
        git(repo, "push", "-q", "--force", str(bare), "main")
        git(bare, "tag", "-d", "v1.0")
        git(bare, "reflog", "expire", "--expire=now", "--all")
        git(bare, "repack", "-q", "-a", "-d")
        git(bare, "prune", "--expire=now")

    return act


def at_listing(number, action):
    """When refs are listed for the `number`th time."""
    return web.on(LISTING, lambda caller: len(caller_site(caller).asked(LISTING)) == number and action() and False)


@pytest.mark.parametrize("name", ["partial", "full"])
def test_branch_that_advances_after_it_was_named_is_taken_as_it_was_named(site, repo, get, name):
    named = git(repo, "rev-parse", "main")

    def advance():
        commit(repo, a_dot_py="newer\n", c_dot_py="three\n")
        git(repo, "push", "-q", str(site.bare(name)), "main")

    site.faults.append(at_listing(2, advance))
    checkout = get(f"{site.url}/{name}/proj.git", "main")
    assert git(repo, "rev-parse", "main") != named, "it did move"
    assert is_commit(checkout, repo, named)
    assert is_commit(get(f"{site.url}/{name}/proj.git", "main"), repo, "main")


@pytest.mark.parametrize("ref", ["main", None])
@pytest.mark.parametrize("name", ["partial", "full"])
def test_branch_that_is_rewritten_after_it_was_named_says_so(site, repo, get, refused, name, ref):
    site.faults.append(at_listing(2, rewrite(site, repo, name)))
    refused(f"{site.url}/{name}/proj.git", r"moved while it was fetched\. Run this again", transient=True, ref=ref)
    assert is_commit(get(f"{site.url}/{name}/proj.git", ref), repo, "main")


def test_branch_that_is_rewritten_while_it_is_fetched_says_so(site, repo, get, refused):
    site.faults.append(web.on(FETCH, web.then_git(rewrite(site, repo, "full")), times=1))
    refused(f"{site.url}/full/proj.git", r"no longer has a commit that it named.*Run this again", transient=True)
    assert is_commit(get(f"{site.url}/full/proj.git"), repo, "main")


def test_branch_that_is_rewritten_before_its_contents_are_fetched_gives_no_mixture(site, repo, get, refused):
    action = rewrite(site, repo, "partial")
    site.faults.append(second(web.then_git(action)))
    refused(f"{site.url}/partial/proj.git", r"no longer has a commit that it named.*Run this again", transient=True)
    site.faults.clear()
    assert is_commit(get(f"{site.url}/partial/proj.git"), repo, "main")


@pytest.mark.parametrize("name", ["partial", "full"])
def test_tag_that_moves_after_it_was_named_gives_what_it_named_before(site, repo, get, name):
    source = f"{site.url}/{name}/proj.git"
    old = git(repo, "rev-parse", "v1.0^{commit}")

    def move():
        git(repo, "tag", "-f", "-a", "v1.0", "-m", "moved", "main")
        git(repo, "push", "-q", "--force", str(site.bare(name)), "v1.0")

    site.faults.append(at_listing(2, move))
    assert is_commit(get(source, "v1.0"), repo, old)
    site.faults.clear()
    assert git(repo, "rev-parse", "v1.0^{commit}") != old, "it did move"
    assert is_commit(get(source, "v1.0"), repo, "v1.0")
    assert is_commit(get(source, old), repo, old), "the pinned commit stays what it was"


# --- lies and floods


def damaged(content):
    """One byte of the pack, inside its first object, changed."""
    at = web.pack_offset(content) + 20
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def cut_hash(content):
    """The pack's last byte changed: its checksum."""
    at = web.pack_offset(content)
    trailer = content.rindex(b"0000") - 1
    assert trailer > at
    return content[:trailer] + bytes([content[trailer] ^ 0xFF]) + content[trailer + 1 :]


@pytest.mark.parametrize("change", [damaged, cut_hash])
def test_damaged_pack_is_refused_and_not_kept(site, repo, get, refused, change):
    site.faults.append(web.on(FETCH, web.changed(change)))
    refused(f"{site.url}/full/proj.git", "sends damaged data.*its owner must repair it", transient=False)
    site.faults.clear()
    assert is_commit(get(f"{site.url}/full/proj.git"), repo, "main")


def test_noise_in_place_of_the_protocol_is_named(site, refused):
    site.faults.append(web.on(LISTING, web.changed(lambda content: b"zzzz" + content)))
    refused(f"{site.url}/partial/proj.git", "does not speak Git's protocol.*any proxy", transient=False)


def beginning_of_pack(content):
    """The true answer up to its pack, then a pack that says to hold a million objects."""
    head = content[: content.index(b"packfile\n") + len(b"packfile\n")]
    return head + web.packet(b"\x01" + b"PACK" + (2).to_bytes(4) + (1_000_000).to_bytes(4))


def blob(data):
    """A file as packs hold it."""
    size = len(data)
    head = [0x30 | size & 15]
    size >>= 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    return bytes(head) + zlib.compress(data)


@pytest.mark.parametrize("again", [False, True], ids=["first", "update"])
def test_pack_without_end_is_stopped_at_the_limit(site, repo, get, refused, tmp_path, monkeypatch, again):
    source = f"{site.url}/full/proj.git"
    if again:
        get(source)
        commit(repo, c_dot_py="three\n")
        git(repo, "push", "-q", str(site.bare("full")), "main")
        (tmp_path / "out0").rename(tmp_path / "first")
    sent = []
    flood = web.endless(
        beginning_of_pack, web.packet(b"\x01" + blob(os.urandom(60_000))), limit_bytes=300 * MIB, sent=sent
    )
    site.faults.append(web.on(FETCH, flood))
    with monkeypatch.context() as patch:
        patch.setattr(git_limits, "MAX_COPY_BYTES", 8 * MIB)
        refused(source, r"holds more than 8 MiB, which is the limit\. Take the large parts out", transient=False)
    assert len(site.asked(FETCH)) == 1 + again, "no second flood is asked for"
    site.faults.clear()
    assert is_commit(get(source), repo, "main")
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) < MIB, "no remains"
    wait_for(lambda: sent)
    assert sent[0] < 250 * MIB, "it was stopped on its way"


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_names_without_end_are_stopped_by_memory(site, refused, monkeypatch):
    monkeypatch.setattr(git_limits, "MEMORY_BYTES", 64 * MIB)
    sent = []
    names = b"".join(web.packet(b"%040x refs/heads/%s\n" % (number, b"x" * 900)) for number in range(1, 1000))
    site.faults.append(web.on(LISTING, web.endless(lambda _: b"", names, limit_bytes=300 * MIB, sent=sent)))
    refused(f"{site.url}/partial/proj.git", "memory for what its server sends, which is the limit", transient=False)


def test_messages_without_end_are_stopped(site, refused, monkeypatch):
    monkeypatch.setattr(git_limits, "MAX_SAID_BYTES", 4 * MIB)
    sent = []
    talk = web.packet(b"\x02" + b"hello\n" * 1000) * 20

    def beginning(content):
        return content[: content.index(b"packfile\n") + len(b"packfile\n")]

    site.faults.append(web.on(FETCH, web.endless(beginning, talk, limit_bytes=100 * MIB, sent=sent)))
    refused(f"{site.url}/full/proj.git", r"sent more than 4 MiB of names and messages", transient=False)


def test_contents_that_are_larger_than_a_tree_may_be_are_stopped_in_a_partial_copy(site, repo, refused, monkeypatch):
    with (repo / "zeros").open("wb") as file:
        file.truncate(64 * MIB)
    commit(repo, small="x")
    git(repo, "push", "-q", str(site.bare("partial")), "main")
    monkeypatch.setattr(git_limits, "MAX_BYTES", 2 * MIB)
    refused(f"{site.url}/partial/proj.git", "holds more than", transient=False)


# --- submodules


@pytest.fixture
def with_submodule(site, repo, tmp_path):
    """`repo` holds a submodule by a relative address; it is served beside it as /partial/lib.git."""
    git(tmp_path, "init", "-q", "-b", "main", "lib")
    commit(tmp_path / "lib", file="lib")
    git(tmp_path, "clone", "-q", "--bare", str(tmp_path / "lib"), str(site.root / "partial" / "lib.git"))
    (repo / ".gitmodules").write_text('[submodule "lib"]\n\tpath = ext/lib\n\turl = ../lib.git\n')
    git(repo, "add", ".gitmodules")
    pinned = git(tmp_path / "lib", "rev-parse", "HEAD")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{pinned},ext/lib")
    git(repo, "commit", "-q", "-m", "y")
    git(repo, "push", "-q", str(site.bare("partial")), "main")
    return site.root / "partial" / "lib.git"


def test_relative_submodule_comes_from_the_same_server(site, get, with_submodule):
    assert (get(f"{site.url}/partial/proj.git").path / "ext" / "lib" / "file").read_text() == "lib"
    assert any(request.path.startswith("/partial/lib.git/") for request in site.requests)


@pytest.mark.parametrize(("status", "transient"), [(404, False), (503, True)])
def test_submodule_that_its_server_refuses_is_named(site, refused, with_submodule, status, transient):
    site.faults.append(lambda caller: "/lib.git/" in caller.request.path and web.says(status)(caller))
    message = refused(f"{site.url}/partial/proj.git", r"submodule 'ext/lib' of .* cannot be had", transient=transient)
    assert f"{site.url}/partial/lib.git" in message


# --- certificates


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate that nobody has signed but itself, with its key."""
    place = tmp_path_factory.mktemp("certificate") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(place), "-out", f"{place}.crt",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    place.write_text(place.read_text() + Path(f"{place}.crt").read_text())
    return place


def test_certificate_of_a_stranger_is_refused_and_a_trusted_one_taken(
    site, repo, get, refused, certificate, own_git_configuration, monkeypatch
):
    for name in ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_NO_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    with web.serve(site.root, certificate=certificate) as secure:
        source = f"{secure.url}/partial/proj.git"
        refused(
            source, r"certificate is not trusted here\. Point GIT_SSL_CAINFO or git's http\.sslCAInfo", transient=False
        )
        assert secure.requests == []
        own_git_configuration.write_text(f"[http]\n\tsslCAInfo = {certificate}.crt\n")
        assert is_commit(get(source), repo, "main")


def test_a_process_that_ends_while_processes_are_counted_is_not_counted(monkeypatch):
    listed = ["uptime", str(2**30), str(os.getpid())]
    monkeypatch.setattr(git_watch.Path, "iterdir", lambda folder: [folder / name for name in listed])
    assert git_watch._session_size(os.getsid(0)) == 1
