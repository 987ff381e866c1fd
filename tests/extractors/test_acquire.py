"""Trees of pinned commits from every kind of source, and what hostile or broken sources may not do."""

import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from extractors import git_limits
from extractors.acquire import acquire
from schemas.errors import CloneFailed, InvalidInput

_SPEC = importlib.util.spec_from_file_location("git_server", Path(__file__).with_name("git_server.py"))
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
git, commit, contents = _MODULE.git, _MODULE.commit, _MODULE.contents

pytestmark = pytest.mark.usefixtures("own_git_configuration")


def test_tree_is_the_commit_with_modes_and_links_and_without_git(repo, get):
    tree = get(repo).path
    assert sorted(path.name for path in tree.iterdir()) == ["a.py", "link", "pkg", "run"]
    assert os.access(tree / "run", os.X_OK)
    assert not os.access(tree / "a.py", os.X_OK)
    assert (tree / "link").readlink() == Path("a.py")


def test_reference_is_pinned_with_time_in_utc_and_version_from_tags(repo, get):
    ref = get(repo).ref
    head = git(repo, "rev-parse", "HEAD")
    assert (ref.name, ref.url, ref.commit) == ("local/proj", "local/proj", head)
    assert ref.committed_at == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert ref.version == f"v1.0-1-g{head[:12]}"


def test_version_is_empty_without_tags(repo, get):
    git(repo, "tag", "-d", "v1.0")
    assert get(repo).ref.version == ""


def test_uncommitted_changes_are_left_out(repo, get):
    (repo / "a.py").write_text("changed\n")
    assert (get(repo).path / "a.py").read_text() == "one\n"


@pytest.mark.parametrize("form", ["main", "refs/heads/main", "HEAD", None])
def test_branch_and_head_give_the_newest_commit(repo, get, form):
    assert get(repo, form).ref.commit == git(repo, "rev-parse", "HEAD")


@pytest.mark.parametrize("form", ["v1.0", "refs/tags/v1.0", "full", "short"])
def test_tag_and_hash_give_an_older_commit(repo, get, form):
    older = git(repo, "rev-parse", "HEAD~1")
    assert get(repo, {"full": older, "short": older[:9]}.get(form, form)).ref.commit == older


def test_branch_named_like_a_hash_is_the_branch(repo, get):
    git(repo, "branch", "beef", "HEAD~1")
    assert get(repo, "beef").ref.commit == git(repo, "rev-parse", "HEAD~1")


@pytest.mark.parametrize("ref", ["nope", "dead1234", "f" * 40, "--all", "main^{/x}"])
def test_unknown_ref_names_what_there_is(repo, get, ref):
    with pytest.raises(CloneFailed, match=r"no branch, tag or commit.*--ref.*main, v1\.0"):
        get(repo, ref)


def test_name_of_both_a_branch_and_a_tag_is_refused(repo, get):
    git(repo, "tag", "both", "HEAD")
    git(repo, "branch", "both", "HEAD~1")
    with pytest.raises(CloneFailed, match="refs/tags/both"):
        get(repo, "both")


def test_empty_repository_is_refused(tmp_path, get):
    git(tmp_path, "init", "-q", "empty")
    with pytest.raises(CloneFailed, match="empty repository"):
        get(tmp_path / "empty")


def test_bare_repository_file_url_and_bundle_give_the_same_tree(repo, tmp_path, get):
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    git(repo, "bundle", "create", str(tmp_path / "all.bundle"), "--all")
    trees = [get(source) for source in (repo, tmp_path / "bare.git", f"file://{repo}", tmp_path / "all.bundle")]
    assert len({tree.ref.commit for tree in trees}) == 1
    assert all(contents(tree.path) == contents(trees[0].path) for tree in trees)


def test_bundle_without_a_head_gives_its_only_branch(repo, tmp_path, get):
    git(repo, "bundle", "create", str(tmp_path / "main.bundle"), "main")
    assert get(tmp_path / "main.bundle").ref.commit == git(repo, "rev-parse", "main")


def test_commits_without_parents_are_known_where_the_history_is_whole(repo, tmp_path, get):
    git(tmp_path, "clone", "-q", str(repo), "fork")
    git(tmp_path / "fork", "commit", "-q", "--allow-empty", "-m", "ours")
    git(tmp_path / "fork", "checkout", "-q", "--orphan", "other")
    git(tmp_path / "fork", "commit", "-q", "-m", "from nothing")
    git(tmp_path / "fork", "merge", "-q", "--allow-unrelated-histories", "-s", "ours", "-m", "both", "main")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    (root,) = get(repo).ref.root_commits
    assert get(repo).ref.first_commit == root
    fork = get(tmp_path / "fork").ref
    assert len(fork.root_commits) == 2
    assert list(fork.root_commits) == sorted(fork.root_commits)
    assert {fork.first_commit, root} == set(fork.root_commits), "into its own main line, the other one was merged"
    shallow = get(tmp_path / "shallow").ref
    assert (shallow.root_commits, shallow.first_commit) == ((), "")


def test_linked_work_tree_and_shallow_clone_are_sources_too(repo, tmp_path, get):
    git(repo, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    head = git(repo, "rev-parse", "HEAD")
    assert get(tmp_path / "linked").ref.commit == head
    assert get(tmp_path / "shallow").ref.commit == head


def test_source_is_not_changed_by_a_byte(repo, get):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(repo.rglob("*")) if path.is_file()}
    get(repo)
    assert {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(repo.rglob("*")) if path.is_file()
    } == before


def test_second_run_fetches_what_is_new_into_the_same_copy(repo, tmp_path, get):
    get(repo)
    [copy] = (tmp_path / "cache" / "git").glob("*.git")
    inode = copy.stat().st_ino
    newer = commit(repo, c_dot_py="three\n")
    assert get(repo).ref.commit == newer
    assert [path.stat().st_ino for path in (tmp_path / "cache" / "git").glob("*.git")] == [inode]


def test_rewritten_branch_and_deleted_branch_are_followed(repo, get):
    git(repo, "branch", "gone")
    get(repo)
    git(repo, "branch", "-D", "gone")
    git(repo, "reset", "-q", "--hard", "HEAD~1")
    rewritten = commit(repo, d_dot_py="four\n")
    assert get(repo).ref.commit == rewritten
    with pytest.raises(CloneFailed, match="no branch"):
        get(repo, "gone")


def test_known_commit_needs_no_source(repo, get):
    ref = get(repo).ref
    git_folder = repo / ".git"
    for path in git_folder.rglob("*.pack"):
        path.unlink()
    (git_folder / "refs" / "heads" / "main").write_text("0" * 40 + "\n")
    assert get(repo, ref.commit).ref == ref


@pytest.mark.parametrize("left_behind", ["partial", "broken", "lock"])
def test_killed_run_does_not_poison_the_cache(repo, tmp_path, get, left_behind):
    get(repo)
    cache = tmp_path / "cache" / "git"
    [copy] = cache.glob("*.git")
    if left_behind == "partial":
        copy.rename(cache / f"{copy.name}.abc.partial")
    elif left_behind == "broken":
        (copy / "HEAD").unlink()
    else:
        (copy / "packed-refs.lock").write_text("")
        (copy / "refs" / "heads" / "main.lock").write_text("")
        commit(repo, c_dot_py="three\n")
    assert get(repo).ref.commit == git(repo, "rev-parse", "HEAD")
    assert not list(cache.glob("*.partial"))


def test_parallel_runs_share_one_copy(repo, tmp_path, get):
    with ThreadPoolExecutor(4) as pool:
        trees = list(pool.map(lambda _: get(repo), range(4)))
    assert len({tree.ref for tree in trees}) == 1
    assert len({str(contents(tree.path)) for tree in trees}) == 1
    assert len(list((tmp_path / "cache" / "git").glob("*.git"))) == 1


def test_taken_destination_is_refused_and_left_alone(repo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(InvalidInput, match="not an empty folder"):
        acquire(str(repo), ref=None, cache_dir=tmp_path / "cache", destination=tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine": b"x"}


def test_failure_leaves_nothing_at_the_destination(repo, tmp_path):
    with pytest.raises(CloneFailed):
        acquire(str(repo), ref="nope", cache_dir=tmp_path / "cache", destination=tmp_path / "trees" / "out")
    assert list((tmp_path / "trees").iterdir()) == []


def test_bytes_come_out_as_they_went_in(repo, get, own_git_configuration):
    own_git_configuration.write_text(
        '[core]\n\tautocrlf = true\n[filter "lfs"]\n\tsmudge = sed s/./X/g\n\trequired = true\n'
    )
    attributes = "*.py text eol=crlf ident export-subst\n*.bin filter=lfs\n*.txt working-tree-encoding=UTF-16\nhid export-ignore\n"
    (repo / ".gitattributes").write_text(attributes)
    raw = {"k.py": b"# $Id$ $Format:%H$\n", "k.bin": b"data", "k.txt": b"text\n", "hid": b"hidden"}
    blobs = {name: git_blob(repo, content) for name, content in raw.items()}
    for name, blob in blobs.items():
        git(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    git(repo, "update-index", "--add", ".gitattributes")
    git(repo, "commit", "-q", "-m", "x")
    tree = get(repo).path
    assert {name: (tree / name).read_bytes() for name in raw} == raw


def git_blob(place, content):
    command = ["git", "-C", str(place), "hash-object", "-w", "--no-filters", "--stdin"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout.decode().strip()


def test_nothing_that_the_source_configures_runs(repo, tmp_path, get, own_git_configuration):
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\ntouch {tmp_path}/sprung\nexec "$@"\n')
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "core.sshCommand", "uploadpack.packObjectsHook", "core.pager", "core.askPass"):
        git(repo, "config", key, str(trap))
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "post-index-change", "reference-transaction", "post-update", "pre-receive"):
        (hooks / name).symlink_to(trap)
    git(repo, "config", "core.hooksPath", str(hooks))
    (tmp_path / "sprung").unlink(missing_ok=True)
    own_git_configuration.write_text(f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {trap}\n")
    get(repo)
    assert not (tmp_path / "sprung").exists()


def test_callers_own_repository_takes_no_part(repo, tmp_path, get, monkeypatch):
    git(tmp_path, "init", "-q", "caller")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "caller" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "caller" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "caller"))
    checkout = get(repo)
    assert (checkout.path / "a.py").exists()
    assert not (tmp_path / "caller" / "index").exists()


def test_submodules_are_included_at_any_depth(repo, tmp_path, get):
    for name in ("deep", "lib"):
        git(tmp_path, "init", "-q", "-b", "main", name)
        commit(tmp_path / name, file=name)
    git(tmp_path / "lib", "submodule", "--quiet", "add", "../deep", "vendored/deep")
    git(tmp_path / "lib", "commit", "-q", "-m", "y")
    git(repo, "submodule", "--quiet", "add", "../lib", "ext/lib")
    commit(repo, x="x")
    for clone in ("lib", "proj"):  # the addresses alone must do
        subprocess.run(["rm", "-rf", str(tmp_path / clone / ".git" / "modules")], check=True)
    tree = get(repo).path
    assert (tree / "ext" / "lib" / "file").read_text() == "lib"
    assert (tree / "ext" / "lib" / "vendored" / "deep" / "file").read_text() == "deep"
    assert not list(tree.rglob(".git"))


def test_submodule_that_is_checked_out_locally_needs_no_address(repo, tmp_path, get):
    git(tmp_path, "init", "-q", "-b", "main", "lib")
    commit(tmp_path / "lib", file="lib")
    git(repo, "submodule", "--quiet", "add", "../lib", "lib")
    git(repo, "config", "-f", ".gitmodules", "submodule.lib.url", "https://nowhere.invalid/lib")
    commit(repo, x="x")
    assert (get(repo).path / "lib" / "file").read_text() == "lib"


@pytest.mark.parametrize("fault", ["address", "commit", "unlisted"])
def test_submodule_that_cannot_be_had_is_named(repo, tmp_path, get, fault):
    git(tmp_path, "init", "-q", "-b", "main", "lib")
    commit(tmp_path / "lib", file="lib")
    git(repo, "submodule", "--quiet", "add", "../lib", "ext/lib")
    commit(repo, x="x")
    subprocess.run(["rm", "-rf", str(repo / ".git" / "modules")], check=True)
    if fault == "address":
        (tmp_path / "lib").rename(tmp_path / "moved")
    elif fault == "commit":
        git(repo, "update-index", "--cacheinfo", f"160000,{'1' * 40},ext/lib")
        git(repo, "commit", "-q", "-m", "y")
    else:
        git(repo, "rm", "-q", "--cached", ".gitmodules")
        git(repo, "commit", "-q", "-m", "y")
    with pytest.raises(CloneFailed, match="submodule 'ext/lib' of"):
        get(repo)


def bomb(repo, *, fan_out, levels, leaf):
    """Commit a tree that is small in git and large on disk: `fan_out ** levels` entries, each `leaf`."""
    entry = leaf
    for _ in range(levels):
        listing = "".join(f"{entry}\tf{number}\n" for number in range(fan_out))
        command = ["git", "-C", str(repo), "mktree"]
        made = subprocess.run(command, input=listing.encode(), check=True, capture_output=True).stdout.decode().strip()
        entry = f"040000 tree {made}"
    commit_hash = git(repo, "commit-tree", "-m", "x", made)
    git(repo, "update-ref", "refs/heads/main", commit_hash)


def assert_refused(repo, tmp_path, match):
    """Refused before a file was written, and with nothing left behind."""
    destination = tmp_path / "trees" / "out"
    with pytest.raises(CloneFailed, match=match):
        acquire(str(repo), ref=None, cache_dir=tmp_path / "cache", destination=destination)
    assert list(destination.parent.iterdir()) == []
    assert sorted(path.suffix for path in (tmp_path / "cache" / "git").iterdir()) == [".git", ".lock"]


def test_tree_of_absurdly_many_empty_folders_is_refused(repo, tmp_path):
    empty = git(repo, "hash-object", "-w", "-t", "tree", "/dev/null")
    bomb(repo, fan_out=10, levels=6, leaf=f"040000 tree {empty}")
    assert_refused(repo, tmp_path, "holds more than 200000 folders")


def test_tree_of_files_without_end_is_refused_before_all_are_listed(repo, tmp_path):
    bomb(repo, fan_out=10, levels=30, leaf=f"100644 blob {git_blob(repo, b'')}")
    assert_refused(repo, tmp_path, "holds more than 200000 files")


def nest(repo, depth):
    stream = f"commit refs/heads/main\ncommitter A <a@example.org> 1 +0000\ndata 0\nM 100644 inline {'f/' * depth}f\ndata 0\n"
    command = ["git", "-C", str(repo), "fast-import", "--quiet", "--force"]
    subprocess.run(command, input=stream.encode(), check=True)


@pytest.mark.parametrize("depth", [101, 1200])
def test_tree_that_is_absurdly_deep_is_refused(repo, tmp_path, depth):
    nest(repo, depth)
    assert_refused(repo, tmp_path, "nests folders more than 100 deep")


def test_deepest_tree_that_is_let_in_is_written(repo, get):
    nest(repo, 100)
    assert (get(repo).path / ("f/" * 100 + "f")).is_file()


def test_tree_with_too_many_bytes_is_refused(repo, tmp_path):
    blob = git_blob(repo, bytes(50 * 1024 * 1024))
    bomb(repo, fan_out=10, levels=2, leaf=f"100644 blob {blob}")
    assert_refused(repo, tmp_path, "holds more than 4 GiB of files")


def test_submodules_draw_on_the_same_room(repo, tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "-b", "main", "lib")
    commit(tmp_path / "lib", **{f"file{number}": "x" for number in range(5)})
    for name in ("one", "two"):
        git(repo, "submodule", "--quiet", "add", "../lib", name)
    commit(repo, x="x")
    monkeypatch.setattr(git_limits, "MAX_FILES", 14)  # 5 of its own, .gitmodules, 2 links and x: 9, and twice 5
    destination = tmp_path / "trees" / "out"
    with pytest.raises(CloneFailed, match=r"submodule 'two' of .* holds more than 14 files \(at 'two/file0'\)"):
        acquire(str(repo), ref=None, cache_dir=tmp_path / "cache", destination=destination)
    assert list(destination.parent.iterdir()) == []


def test_files_of_a_partial_copy_are_counted_without_asking_for_them(server, repo, tmp_path, monkeypatch):
    monkeypatch.setattr(git_limits, "MAX_FILES", 3)
    with pytest.raises(CloneFailed, match="holds more than 3 files"):
        acquire(
            f"{server}/partial/proj.git", ref=None, cache_dir=tmp_path / "cache", destination=tmp_path / "trees" / "out"
        )
    [copy] = (tmp_path / "cache" / "git").glob("*.git")
    assert git(copy, "rev-list", "--objects", "--all", "--missing=print").count("\n?") > 0


def submodule_at(repo, url, *, name="sub", commit_hash):
    """Commit a submodule that nothing but the repository's own text describes."""
    (repo / ".gitmodules").write_text(f'[submodule "{name}"]\n\tpath = sub\n\turl = {url}\n')
    git(repo, "add", ".gitmodules")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{commit_hash},sub")
    git(repo, "commit", "-q", "-m", "y")


@pytest.mark.parametrize("form", ["bundle", "work tree", "git folder"])
@pytest.mark.parametrize("url", ["{secret}", "file://{secret}", "../../private/secret"])
def test_gitmodules_cannot_bring_in_a_repository_of_this_machine(repo, tmp_path, get, form, url):
    place = tmp_path / "downloads"
    place.mkdir()
    repo = repo.rename(place / "proj")
    secret = tmp_path / "private" / "secret"
    git(tmp_path, "init", "-q", "-b", "main", str(secret))
    submodule_at(repo, url.format(secret=secret), commit_hash=commit(secret, file="secret"))
    git(repo, "bundle", "create", str(place / "all.bundle"), "--all")
    source = {"bundle": place / "all.bundle", "work tree": repo, "git folder": repo / ".git"}[form]
    with pytest.raises(CloneFailed, match=r"submodule 'sub' of .* lies on this machine.*git submodule update"):
        get(source)


def test_bundle_brings_in_nothing_that_lies_beside_it(repo, tmp_path, get):
    git(tmp_path, "init", "-q", "-b", "main", "lib")
    submodule_at(repo, "../lib", commit_hash=commit(tmp_path / "lib", file="secret"))
    git(repo, "bundle", "create", str(tmp_path / "all.bundle"), "--all")
    with pytest.raises(CloneFailed, match=r"submodule 'sub' of .* lies on this machine"):
        get(tmp_path / "all.bundle")


def test_link_beside_a_repository_does_not_lead_its_submodule_elsewhere(repo, tmp_path, get):
    place = tmp_path / "downloads"
    place.mkdir()
    repo = repo.rename(place / "proj")
    git(tmp_path, "init", "-q", "-b", "main", "secret")
    (place / "lib").symlink_to(tmp_path / "secret")
    submodule_at(repo, "../lib", commit_hash=commit(tmp_path / "secret", file="secret"))
    with pytest.raises(CloneFailed, match="lies on this machine"):
        get(repo)


@pytest.mark.parametrize("name", ["{secret}/.git", "../../../secret/.git", "link"])
def test_name_of_a_submodule_cannot_lead_out_of_the_repository(repo, tmp_path, get, name):
    git(tmp_path, "init", "-q", "-b", "main", "secret")
    (repo / ".git" / "modules").mkdir()
    (repo / ".git" / "modules" / "link").symlink_to(tmp_path / "secret" / ".git")
    secret = commit(tmp_path / "secret", file="secret")
    name = name.format(secret=tmp_path / "secret")
    submodule_at(repo, "http://127.0.0.1:9/a/b.git", name=name, commit_hash=secret)
    with pytest.raises(CloneFailed, match="does not answer"):
        get(repo)


def test_submodules_that_are_checked_out_locally_need_no_address_at_any_depth(repo, tmp_path, get):
    for name in ("deep", "lib"):
        git(tmp_path, "init", "-q", "-b", "main", name)
        commit(tmp_path / name, file=name)
    git(tmp_path / "lib", "submodule", "--quiet", "add", "../deep", "deep")
    git(tmp_path / "lib", "commit", "-q", "-m", "y")
    git(repo, "submodule", "--quiet", "add", "../lib", "lib")
    git(repo, "submodule", "--quiet", "update", "--init", "--recursive")
    commit(repo, x="x")
    for name in ("deep", "lib"):
        shutil.rmtree(tmp_path / name)
    assert (get(repo).path / "lib" / "deep" / "file").read_text() == "deep"


@pytest.fixture
def server(site):
    return site.url


def test_remote_copy_is_partial_where_the_server_allows(server, repo, tmp_path, get):
    commit(repo, a_dot_py="changed\n")
    git(repo, "push", "-q", str(tmp_path / "served" / "partial" / "proj.git"), "main")
    checkout = get(f"{server}/partial/proj.git")
    assert checkout.ref.name == "partial/proj"
    assert checkout.ref.version.startswith("v1.0-2-g")
    assert (checkout.path / "a.py").read_text() == "changed\n"
    [copy] = (tmp_path / "cache" / "git").glob("*.git")
    missing = git(copy, "rev-list", "--objects", "--all", "--missing=print").count("\n?")
    assert missing == 1  # the old a.py: history's contents stay on the server


def test_server_that_cannot_filter_gives_a_full_copy(server, repo, get):
    assert get(f"{server}/full/proj.git", "v1.0").ref.commit == git(repo, "rev-parse", "v1.0^{commit}")


def test_commit_that_no_branch_reaches_is_asked_for_by_hash(server, repo, tmp_path, get):
    hidden = commit(repo, hidden="x")
    bare = tmp_path / "served" / "partial" / "proj.git"
    git(repo, "push", "-q", str(bare), "HEAD:refs/pull/1/head")
    assert get(f"{server}/partial/proj.git", hidden).ref.commit == hidden


def test_private_repository_without_credentials_says_so(server, get):
    with pytest.raises(CloneFailed, match="needs credentials"):
        get(f"{server}/private/proj.git")


def test_wrong_address_says_so(server, get):
    with pytest.raises(CloneFailed, match="no Git repository at this address") as caught:
        get(f"{server}/full/nothing.git")
    assert not caught.value.transient


def test_closed_port_says_that_nobody_answers(get):
    with pytest.raises(CloneFailed, match="does not answer") as caught:
        get("http://127.0.0.1:9/a/b.git")
    assert caught.value.transient, "the flow tries this again"


def test_credentials_come_from_gits_helper_and_are_stored_nowhere(server, tmp_path, get, own_git_configuration):
    own_git_configuration.write_text(
        '[credential]\n\thelper = "!f() { echo username=me; echo password=hunter22; }; f"\n'
    )
    checkout = get(f"{server}/private/proj.git")
    assert checkout.ref.url == f"{server}/private/proj.git"
    for path in (tmp_path / "cache").rglob("*"):
        assert path.is_dir() or b"hunter22" not in path.read_bytes()


def test_credentials_in_the_source_are_neither_used_nor_told(server, tmp_path, get):
    with pytest.raises(CloneFailed) as caught:
        get(server.replace("//", "//me:hunter22@") + "/private/proj.git")
    assert "hunter22" not in str(caught.value)
    assert "hunter22" not in repr(caught.value.__context__)
    for path in (tmp_path / "cache").rglob("*"):
        assert path.is_dir() or b"hunter22" not in path.read_bytes()


def test_submodule_of_a_remote_may_not_lie_on_this_machine(server, repo, tmp_path, get):
    git(tmp_path, "init", "-q", "-b", "main", "secret")
    commit(tmp_path / "secret", file="secret")
    git(repo, "submodule", "--quiet", "add", f"file://{tmp_path}/secret", "secret")
    commit(repo, x="x")
    git(repo, "push", "-q", str(tmp_path / "served" / "full" / "proj.git"), "main")
    with pytest.raises(CloneFailed, match=r"submodule 'secret' of .* lies on this machine"):
        get(f"{server}/full/proj.git")
