import pytest

from schemas.errors import EnvironmentFailed
from validation.downloads import Downloader
from validation.wheelhouse import Wheel, Wheelhouse


@pytest.fixture
def downloader():
    with Downloader(sleep=lambda _: None) as opened:
        yield opened


def listed(index, filename, **changes):
    name, version = filename.split("-")[:2]
    wheel = Wheel(
        name=name,
        version=version,
        filename=filename,
        url=index.url_of(filename),
        sha256=index.sha256_of(filename),
    )
    return wheel.model_copy(update=changes)


def files_under(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_wheel_is_downloaded_once_for_all(index, downloader, tmp_path):
    wheel = listed(index, index.add_wheel("alpha", "1.0"))
    first = Wheelhouse(tmp_path).fetch([wheel], downloader)
    second = Wheelhouse(tmp_path).fetch([wheel], downloader)
    assert (first.downloaded, second.downloaded) == (1, 0)
    assert first.paths == second.paths
    assert len(index.downloads) == 1


def test_files_keep_their_names_and_the_order_asked_for(index, downloader, tmp_path):
    wheels = [listed(index, index.add_wheel(name, "1.0")) for name in ("beta", "alpha", "gamma")]
    Wheelhouse(tmp_path).fetch(wheels[1:2], downloader)
    fetched = Wheelhouse(tmp_path).fetch(wheels, downloader)
    assert [path.name for path in fetched.paths] == [wheel.filename for wheel in wheels]
    assert fetched.downloaded == 2


def test_a_file_that_is_not_what_was_promised_is_refused_and_not_kept(index, downloader, tmp_path):
    wheel = listed(index, index.add_wheel("alpha", "1.0"), sha256="0" * 64)
    with pytest.raises(EnvironmentFailed, match="SHA-256"):
        Wheelhouse(tmp_path).fetch([wheel], downloader)
    assert files_under(tmp_path) == []


def test_a_listed_file_that_is_gone_is_an_error_with_its_address(index, downloader, tmp_path):
    wheel = listed(index, index.add_wheel("alpha", "1.0"), url=index.url_of("other.whl"))
    with pytest.raises(EnvironmentFailed, match=r"other\.whl"):
        Wheelhouse(tmp_path).fetch([wheel], downloader)
    assert files_under(tmp_path) == []


def test_local_files_need_no_network(index, downloader, tmp_path):
    filename = index.add_wheel("alpha", "1.0")
    place = tmp_path / filename
    place.write_bytes(index.answer(f"/files/{filename}")[1])
    fetched = Wheelhouse(tmp_path / "cache").fetch([listed(index, filename, url=place.as_uri())], downloader)
    assert fetched.paths[0].read_bytes() == place.read_bytes()
    assert index.downloads == []


def test_a_name_cannot_lead_out_of_the_store(index, downloader, tmp_path):
    honest = listed(index, index.add_wheel("alpha", "1.0"))
    wheel = honest.model_copy(update={"filename": "../../alpha-1.0-py3-none-any.whl"})
    with pytest.raises(EnvironmentFailed, match="not the name of a wheel"):
        Wheelhouse(tmp_path / "cache").fetch([wheel], downloader)
    assert files_under(tmp_path) == []


def test_a_server_error_is_tried_again(index, downloader, tmp_path, monkeypatch):
    wheel = listed(index, index.add_wheel("alpha", "1.0"))
    answers = iter([None])
    honest = index.answer

    def flaky(path):
        if next(answers, "done") is None:
            raise ConnectionResetError
        return honest(path)

    monkeypatch.setattr(index, "answer", flaky)
    monkeypatch.setattr(index._server, "handle_error", lambda *_: None)
    assert Wheelhouse(tmp_path).fetch([wheel], downloader).downloaded == 1
    assert len(index.downloads) == 2
