"""What a SOURCE means, and that no secret survives in what is made of it."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.git_failures import explain, scrub
from extractors.source import SourceKind, parse_source, repository_name, resolve_relative, strip_credentials
from schemas.errors import InvalidInput

_words = st.text("abcXYZ019_-", min_size=1, max_size=12)
_secrets = st.text("abcdefGHIJK0123456789%!$:@", min_size=8, max_size=20)


@pytest.mark.parametrize(
    ("source", "name", "url"),
    [
        ("https://github.com/mahmoud/boltons", "mahmoud/boltons", "https://github.com/mahmoud/boltons"),
        ("https://github.com/mahmoud/boltons.git/", "mahmoud/boltons", "https://github.com/mahmoud/boltons.git"),
        ("https://me:hunter22@example.org/a/b.git?private_token=x#y", "a/b", "https://example.org/a/b.git"),
        ("ssh://git:hunter22@example.org:22/a/b.git", "a/b", "ssh://git@example.org:22/a/b.git"),
        ("git@github.com:a/b.git", "a/b", "git@github.com:a/b.git"),
        ("https://example.org/group/sub/repo", "sub/repo", "https://example.org/group/sub/repo"),
        ("https://example.org/repo.git", "local/repo", "https://example.org/repo.git"),
    ],
)
def test_address_gives_owner_and_name_and_a_url_without_credentials(source, name, url):
    parsed = parse_source(source)
    assert (parsed.kind, parsed.name, parsed.url) == (SourceKind.REMOTE, name, url)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "not an address"),
        ("--upload-pack=touch x", "not an address"),
        ("https://example.org", "names no repository"),
        ("ext::sh -c touch% x", "no such file"),
        ("ftp://example.org/a/b", "scheme 'ftp'"),
        ("file://host/a/b", "three slashes"),
        ("/nowhere/at/all", "no such file or folder"),
        ("mahmoud/boltons", "https://github.com/mahmoud/boltons"),
        ("me:hunter22@example.org:a/b", "git's own helpers"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_do(source, says):
    with pytest.raises(InvalidInput, match=re.escape(says)) as caught:
        parse_source(source)
    assert "hunter22" not in str(caught.value)


def test_folder_without_a_repository_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="git init"):
        parse_source(str(tmp_path))


def test_file_that_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "x.bundle").write_text("hello")
    with pytest.raises(InvalidInput, match="git bundle create"):
        parse_source(str(tmp_path / "x.bundle"))


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/.git"])
def test_local_repository_is_named_after_its_folder_and_its_path_is_not_recorded(tmp_path, form):
    place = tmp_path / "my repo"
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    parsed = parse_source(form.format(place))
    assert (parsed.kind, parsed.name, parsed.url) == (SourceKind.DIRECTORY, "local/my-repo", "local/my-repo")


@given(st.text(max_size=40))
def test_name_is_always_safe_in_a_file_or_image_name(path):
    assert re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", repository_name(path))


@given(_words, _secrets, _words)
def test_no_secret_of_a_url_survives(user, secret, path):
    url = f"https://{user}:{secret}@example.org/{path}"
    assert secret not in strip_credentials(url).replace(path, "")
    assert secret not in scrub(f"fatal: unable to access '{url}': x").replace(path, "")
    assert secret not in explain(f"fatal: Authentication failed for '{url}/'", address="A").replace(path, "")


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/x?access_token=hunter22",
        "Authorization: Basic hunter22",
        "remote: bad token ghp_hunter22hunter22hunter22",
    ],
)
def test_tokens_are_scrubbed_in_every_form(text):
    assert "hunter22" not in scrub(text)


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "host is unknown"),
        ("fatal: could not read Username for 'https://x': terminal prompts disabled", "needs credentials"),
        ("git@x: Permission denied (publickey).", "needs credentials"),
        ("fatal: repository 'https://x/y/' not found", "no Git repository at this address"),
        ("fatal: detected dubious ownership in repository at '/x'", "safe.directory"),
        ("fatal: unable to access 'https://x/': Failed to connect to x port 443", "does not answer"),
        ("error: Repository lacks these prerequisite commits:", "incremental bundle"),
        ("fatal: something new", "something new"),
    ],
)
def test_complaint_of_git_is_explained_with_what_to_do(stderr, says):
    assert says in explain(stderr, address="ADDRESS")


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("https://h/o/r.git", "../lib.git", "https://h/o/lib.git"),
        ("https://h/o/r", "../../p/lib", "https://h/p/lib"),
        ("git@h:o/r.git", "../lib.git", "git@h:o/lib.git"),
        ("git@h:r.git", "../lib.git", "git@h:lib.git"),
        ("/a/r", "./lib", "/a/r/lib"),
        ("/a/r", "https://h/x", "https://h/x"),
    ],
)
def test_relative_address_of_a_submodule_counts_from_its_parent(base, url, expected):
    assert resolve_relative(base, url) == expected
