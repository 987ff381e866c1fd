"""The registry over S3, spoken by a real local server (moto)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import DatasetError
from task_registry import Registry

from .conftest import DatasetOf, TaskOf


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("tasks")
    yield "s3://tasks"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_gives_what_the_folder_gives(
    tmp_path: Path, bucket: str, task_of: TaskOf, dataset_of: DatasetOf
) -> None:
    import s3fs

    folder = dataset_of(tmp_path / "one", [*map(task_of, range(5)), task_of(7, "beta/maps")])
    s3fs.S3FileSystem().put(str(folder), f"{bucket}/one", recursive=True)
    local, remote = Registry.open(folder), Registry.open(f"{bucket}/one")
    assert [*remote.versions.values()] == [*local.versions.values()]
    for where in ("", "repo = 'beta/maps'", "complexity.score > 0.5", "'scientific-computing' = ANY(domains)"):
        assert remote.summaries(where) == local.summaries(where)
    assert list(remote.tasks()) == list(local.tasks())
    assert remote.get(local.ids()[0]) == local.get(local.ids()[0])
    with pytest.raises(DatasetError, match=r"s3://tasks/two is not a gymforge dataset: it has no manifest\.json"):
        Registry.open(f"{bucket}/two")
    with pytest.raises(DatasetError, match="s3://nowhere"):
        Registry.open("s3://nowhere/one")
