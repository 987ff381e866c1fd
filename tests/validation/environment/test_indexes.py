import pytest

from schemas.errors import EnvironmentFailed
from validation.downloads import Downloader
from validation.indexes import IndexSettings, index_settings, list_files, redact


@pytest.fixture
def bare(tmp_path):
    """An environment in which pip finds no configuration of the user's."""
    return {"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}


@pytest.fixture
def downloader():
    with Downloader(sleep=lambda _: None) as opened:
        yield opened


def test_pip_variables_are_honoured(bare):
    settings = index_settings(
        {
            **bare,
            "PIP_INDEX_URL": "https://mirror.example/simple",
            "PIP_EXTRA_INDEX_URL": "https://a.example/simple https://b.example/simple",
            "PIP_FIND_LINKS": "/srv/wheels",
            "PIP_CERT": "/srv/ca.pem",
            "PIP_TRUSTED_HOST": "a.example",
            "PIP_DEFAULT_TIMEOUT": "180",
        }
    )
    assert settings == IndexSettings(
        index_url="https://mirror.example/simple",
        extra_index_urls=("https://a.example/simple", "https://b.example/simple"),
        find_links=("/srv/wheels",),
        cert="/srv/ca.pem",
        trusted_hosts=("a.example",),
        timeout_s=180,
    )


def test_a_pip_configuration_file_is_honoured(bare, tmp_path):
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nextra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n")
    settings = index_settings({**bare, "PIP_CONFIG_FILE": str(file)})
    assert settings.indexes == ("https://pypi.org/simple", "https://a.example/simple", "https://b.example/simple")


def test_uv_variables_win_over_those_of_pip():
    settings = index_settings(
        {
            "PIP_INDEX_URL": "https://pip.example/simple",
            "UV_DEFAULT_INDEX": "main=https://uv.example/simple",
            "UV_INDEX": "more=https://more.example/simple",
        }
    )
    assert settings.indexes == ("https://uv.example/simple", "https://more.example/simple")


def test_credentials_are_redacted():
    assert (
        redact("at https://user:pass@host/simple and https://host/x") == "at https://***@host/simple and https://host/x"
    )


@pytest.mark.parametrize("html", [False, True])
def test_both_forms_of_a_listing_say_the_same(index, downloader, html):
    index.html = html
    index.add_sdist("alpha", "1.0", {"setup.py": ""})
    (file,) = list_files("Alpha", index.settings, downloader)
    assert file.filename == "alpha-1.0.tar.gz"
    assert file.url == index.url_of("alpha-1.0.tar.gz")
    assert file.sha256 == index.sha256_of("alpha-1.0.tar.gz")
    assert file.uploaded_at.year == 2020


def test_a_project_that_no_index_has_gives_no_files(index, downloader):
    assert list_files("missing", index.settings, downloader) == ()


def test_files_of_a_local_folder_are_listed(tmp_path, downloader):
    (tmp_path / "alpha-1.0.tar.gz").write_bytes(b"")
    settings = IndexSettings(no_index=True, find_links=(str(tmp_path),))
    assert [file.filename for file in list_files("alpha", settings, downloader)] == ["alpha-1.0.tar.gz"]


def test_an_index_in_a_local_folder_is_read(tmp_path, downloader):
    page = tmp_path / "simple" / "alpha" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text('<a href="../../files/alpha-1.0.tar.gz#sha256=00">alpha</a>')
    settings = IndexSettings(index_url=(tmp_path / "simple").as_uri())
    (file,) = list_files("alpha", settings, downloader)
    assert (file.url, file.sha256) == ((tmp_path / "files" / "alpha-1.0.tar.gz").as_uri(), "00")


def test_an_index_that_cannot_be_reached_is_named_without_credentials(index, downloader):
    index.close()
    settings = IndexSettings(index_url=f"http://user:secret@127.0.0.1:{index.port}/simple")
    with pytest.raises(EnvironmentFailed, match="cannot reach") as caught:
        list_files("alpha", settings, downloader)
    assert "secret" not in str(caught.value)
    assert caught.value.transient, "the flow tries this again"


@pytest.mark.parametrize(
    ("status", "transient", "asked"), [(500, True, 3), (503, True, 3), (429, True, 3), (403, False, 1)]
)
def test_a_failing_server_may_do_better_later_and_a_refusing_one_will_not(
    index, downloader, monkeypatch, status, transient, asked
):
    monkeypatch.setattr(index, "missing_status", status)
    with pytest.raises(EnvironmentFailed, match=f"answers with HTTP {status}") as caught:
        list_files("alpha", index.settings, downloader)
    assert caught.value.transient is transient
    assert len(index.requests) == asked


def test_an_address_that_cannot_be_fetched_from_is_not_tried_again(downloader):
    with pytest.raises(EnvironmentFailed, match="cannot reach ftp:") as caught:
        list_files("alpha", IndexSettings(index_url="ftp://127.0.0.1/simple"), downloader)
    assert not caught.value.transient
