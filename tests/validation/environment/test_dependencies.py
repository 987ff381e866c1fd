from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from schemas.errors import EnvironmentFailed
from validation.dependencies import NoWheel, SourceOnly, Target, _failure, checked_requirements, resolve

TARGET = Target(python_version="3.11.2", machine="x86_64", libc="glibc 2.36")


def pins(wheels):
    return [wheel.pin for wheel in wheels]


def test_newest_releases_are_chosen_with_what_they_depend_on(index, tmp_path):
    index.add_wheel("alpha", "1.0")
    index.add_wheel("alpha", "2.0", requires=["beta<2"])
    index.add_wheel("beta", "1.5")
    index.add_wheel("beta", "2.0")
    wheels = resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path)
    assert pins(wheels) == ["alpha==2.0", "beta==1.5"]
    assert wheels[0].sha256 == index.sha256_of("alpha-2.0-py3-none-any.whl")


def test_a_plain_html_index_is_read_too(index, tmp_path):
    index.html = True
    index.add_wheel("alpha", "1.0")
    assert pins(resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path)) == ["alpha==1.0"]


def test_releases_after_the_cutoff_do_not_exist(index, tmp_path):
    index.add_wheel("alpha", "1.0", uploaded_at=datetime(2021, 3, 1, tzinfo=UTC))
    index.add_wheel("alpha", "2.0", uploaded_at=datetime(2022, 3, 1, tzinfo=UTC))
    cutoff = datetime(2021, 6, 1, tzinfo=UTC)
    wheels = resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path, cutoff=cutoff)
    assert pins(wheels) == ["alpha==1.0"]


def test_exact_lists_are_not_completed(index, tmp_path):
    index.add_wheel("alpha", "1.0", requires=["beta"])
    index.add_wheel("beta", "1.0")
    wheels = resolve(["alpha==1.0"], target=TARGET, settings=index.settings, cache_dir=tmp_path, exact=True)
    assert pins(wheels) == ["alpha==1.0"]


def test_the_wheel_made_for_the_interpreter_is_preferred(index, tmp_path):
    for tag in (
        "py3-none-any",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_28_aarch64",
    ):
        index.add_wheel("alpha", "1.0", tag=tag)
    (wheel,) = resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path)
    assert wheel.filename == "alpha-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"


def test_markers_are_read_for_the_sandbox_and_not_for_this_process(index, tmp_path):
    index.add_wheel("alpha", "1.0")
    target = TARGET.model_copy(update={"python_version": "3.8.1"})
    requirements = ["alpha; python_version < '3.9'", "missing; python_version >= '3.9'"]
    assert pins(resolve(requirements, target=target, settings=index.settings, cache_dir=tmp_path)) == ["alpha==1.0"]


def test_a_source_only_project_is_named_and_its_code_does_not_run(index, tmp_path):
    canary = tmp_path / "canary"
    index.add_sdist("alpha", "1.0", {"setup.py": f"open({str(canary)!r}, 'w')", "PKG-INFO": "Name: alpha\n"})
    index.add_sdist("alpha", "0.1", {"setup.py": f"open({str(canary)!r}, 'w')", "PKG-INFO": "Name: alpha\n"})
    index.add_wheel("beta", "1.0", requires=["alpha>=0.5"])
    with pytest.raises(NoWheel) as caught:
        resolve(["beta==1.0"], target=TARGET, settings=index.settings, cache_dir=tmp_path)
    (project,) = caught.value.projects
    admitted = SpecifierSet(",".join(project.specifiers))
    assert project.name == "alpha"
    assert (admitted.contains("1.0"), admitted.contains("0.1")) == (True, False)
    assert not canary.exists()


def test_an_impossible_requirement_says_what_to_do(index, tmp_path):
    index.add_wheel("alpha", "1.0")
    with pytest.raises(EnvironmentFailed, match=r"(?s)alpha>=9.*gymforge\.toml"):
        resolve(["alpha>=9"], target=TARGET, settings=index.settings, cache_dir=tmp_path)


def test_no_requirements_need_no_resolver(index, tmp_path):
    assert resolve([], target=TARGET, settings=index.settings, cache_dir=tmp_path) == ()
    assert index.requests == []


def test_settings_of_a_project_around_do_not_count(index, tmp_path, monkeypatch):
    index.add_wheel("alpha", "1.0")
    index.add_wheel("alpha", "2.0")
    (tmp_path / "uv.toml").write_text('[pip]\nresolution = "lowest"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    wheels = resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path / "cache")
    assert pins(wheels) == ["alpha==2.0"]


@pytest.mark.parametrize(
    "text",
    [
        "--index-url=https://example.org/simple",
        "-r /etc/passwd",
        "-e .",
        "./local",
        "alpha @ file:///etc/passwd",
        "alpha @ git+https://example.org/alpha",
        "alpha\n--extra-index-url https://example.org",
    ],
)
def test_requirements_that_reach_beyond_the_index_are_refused(text):
    with pytest.raises(EnvironmentFailed, match=r"gymforge\.toml"):
        checked_requirements([text])


def test_requirements_have_one_spelling_and_one_order():
    assert checked_requirements(["Zope.Interface >= 5", "alpha[b, a]", "zope-interface>=5"]) == (
        "alpha[a,b]",
        "zope-interface>=5",
    )


def test_an_explanation_over_several_lines_is_understood():
    explanation = (
        "  cause: Because old-style==0.6.2 has no usable wheels and only old-style<=0.6.2 is available, we can conclude\n"
        "         that old-style>=0.6.2 cannot be used.\n"
        "         And because user==0.5.10 depends on\n         old-style>=0.6.2,<1 and you require user==0.5.10, ...\n\n"
        "hint: Wheels are required for `old-style` because building from source is disabled for all packages\n"
    )
    failure = _failure(explanation)
    assert isinstance(failure, NoWheel)
    assert failure.projects == (SourceOnly("old-style", (">=0.6.2,<1",)),)


@pytest.mark.parametrize(
    "cause",
    [
        "error sending request for url (http://127.0.0.1:9/simple/alpha/)\n  cause: client error (Connect)",
        "HTTP status server error (503 Service Unavailable) for url (http://127.0.0.1:9/simple/alpha/)",
        "HTTP status client error (429 Too Many Requests) for url (http://127.0.0.1:9/simple/alpha/)",
    ],
)
def test_an_index_that_is_down_may_be_up_again_later(cause):
    explanation = (
        f"error: Request failed after 3 retries in 8.9s\n  cause: Failed to fetch: http://x/alpha/\n  cause: {cause}"
    )
    failure = _failure(explanation)
    assert failure.transient
    assert "an index cannot be reached" in str(failure)


@pytest.mark.parametrize(
    "explanation",
    [
        "error: No solution found when resolving dependencies\n  cause: Because alpha was not found",
        "error: Failed to fetch: `http://x/alpha/`\n  cause: HTTP status client error (403 Forbidden) for url (http://x/)",
        "hint: Wheels are required for `alpha` because building from source is disabled for all packages",
    ],
)
def test_requirements_that_cannot_be_met_are_not_tried_again(explanation):
    assert not _failure(explanation).transient


@pytest.mark.slow
def test_what_uv_says_about_an_index_that_is_down_is_understood(index, tmp_path):
    index.close()
    with pytest.raises(EnvironmentFailed, match="an index cannot be reached") as caught:
        resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path)
    assert caught.value.transient


@pytest.mark.slow
def test_what_uv_says_about_an_index_that_fails_is_understood(index, tmp_path):
    index.missing_status = 503
    with pytest.raises(EnvironmentFailed, match="an index cannot be reached") as caught:
        resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path)
    assert caught.value.transient


def test_credentials_do_not_reach_the_message(index, tmp_path):
    settings = index.settings.model_copy(
        update={"index_url": f"http://user:secret@127.0.0.1:{index.port}/simple"},
    )
    with pytest.raises(EnvironmentFailed) as caught:
        resolve(["missing"], target=TARGET, settings=settings, cache_dir=tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("libc", "platform"),
    [
        ("glibc 2.36", "x86_64-manylinux_2_36"),
        ("glibc 2.30", "x86_64-manylinux_2_28"),
        ("glibc 2.44", "x86_64-manylinux_2_40"),
        ("musl 1.2", "x86_64-unknown-linux-musl"),
    ],
)
def test_a_libc_becomes_a_platform_that_uv_knows(libc, platform):
    assert Target(python_version="3.11.2", machine="x86_64", libc=libc).uv_platform == platform


def test_a_libc_without_wheels_is_refused():
    with pytest.raises(EnvironmentFailed, match="older than any wheel"):
        _ = Target(python_version="3.11.2", machine="x86_64", libc="glibc 2.12").uv_platform


def test_nothing_is_left_in_the_working_folder(index, tmp_path, monkeypatch):
    index.add_wheel("alpha", "1.0")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    resolve(["alpha"], target=TARGET, settings=index.settings, cache_dir=tmp_path / "cache")
    assert list(Path(work).iterdir()) == []
