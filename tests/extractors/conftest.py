"""Fixtures of the extractors' tests."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from extractors.acquire import acquire


def _support(name):
    """A module beside this one: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """`(index, tasks)` of the bundled sample package."""
    return _support("sample_tasks").build(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def own_git_configuration(tmp_path, monkeypatch):
    """No setting of the machine takes part."""
    (tmp_path / "gitconfig").write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "gitconfig"


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A repository with a branch of two commits, a tag on the first, a program and a link."""
    support = _support("git_server")
    place = tmp_path_factory.mktemp("template") / "proj"
    support.git(place.parent, "init", "-q", "-b", "main", str(place))
    support.commit(place, a_dot_py="one\n")
    support.git(place, "tag", "-a", "v1.0", "-m", "v1.0")
    (place / "run").write_text("#!/bin/sh\n")
    (place / "run").chmod(0o755)
    (place / "link").symlink_to("a.py")
    support.commit(place, pkg__b_dot_py="two\n")
    return place


@pytest.fixture
def repo(tmp_path, template):
    """A copy of `template` to change."""
    return shutil.copytree(template, tmp_path / "proj", symlinks=True)


@pytest.fixture
def get(tmp_path):
    """`acquire` into a fresh folder, with one cache for the whole test."""
    counter = iter(range(100))

    def run(source, ref=None):
        return acquire(str(source), ref=ref, cache_dir=tmp_path / "cache", destination=tmp_path / f"out{next(counter)}")

    return run


@pytest.fixture
def site(repo, tmp_path):
    """A server with `repo` under /partial/proj.git (it can filter), /full/proj.git and /private/proj.git (a password)."""
    support = _support("git_server")
    root = tmp_path / "served"
    for kind in ("partial", "full", "private"):
        support.git(tmp_path, "clone", "-q", "--bare", str(repo), str(root / kind / "proj.git"))
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        support.git(root / "partial" / "proj.git", "config", key, "true")
    with support.serve(root) as site:
        yield site
