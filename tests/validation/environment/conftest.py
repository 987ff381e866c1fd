"""A package index on this machine, with tiny wheels and source releases that the tests make."""

import contextlib
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution

import pytest

from validation.indexes import IndexSettings

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class PackageIndex:
    """Speaks PEP 691, or PEP 503 where `html` is set, and remembers what was asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.html = False
        self.missing_status = 404
        self._files: dict[str, tuple[bytes, datetime]] = {}
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                index.requests.append(self.path)
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                answer = index.answer(self.path)
                self.send_response(index.missing_status if answer is None else 200)
                content_type, body = answer or ("text/plain", b"")
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # A client may have read enough before the end.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    if with_body:
                        self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def settings(self) -> IndexSettings:
        return IndexSettings(index_url=f"{self.url}/simple", timeout_s=10)

    @property
    def downloads(self) -> list[str]:
        return [path for path in self.requests if path.startswith("/files/") and not path.endswith(".metadata")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_wheel(
        self,
        name: str,
        version: str,
        *,
        requires: Sequence[str] = (),
        tag: str = "py3-none-any",
        files: Mapping[str, str] | None = None,
        uploaded_at: datetime = LONG_AGO,
    ) -> str:
        content = make_wheel(name, version, requires=requires, tag=tag, files=files)
        return self.add_file(f"{name}-{version}-{tag}.whl", content, uploaded_at=uploaded_at)

    def add_sdist(self, name: str, version: str, files: Mapping[str, str], *, uploaded_at: datetime = LONG_AGO) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path, text in files.items():
                entry = tarfile.TarInfo(f"{name}-{version}/{path}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
        return self.add_file(f"{name}-{version}.tar.gz", buffer.getvalue(), uploaded_at=uploaded_at)

    def add_file(self, filename: str, content: bytes, *, uploaded_at: datetime = LONG_AGO) -> str:
        self._files[filename] = (content, uploaded_at)
        return filename

    def url_of(self, filename: str) -> str:
        return f"{self.url}/files/{filename}"

    def sha256_of(self, filename: str) -> str:
        return hashlib.sha256(self._files[filename][0]).hexdigest()

    def answer(self, path: str) -> tuple[str, bytes] | None:
        kind, _, rest = path.strip("/").partition("/")
        if kind == "files" and rest in self._files:
            return "application/octet-stream", self._files[rest][0]
        listed = {
            filename: file
            for filename, file in self._files.items()
            if kind == "simple" and filename.split("-")[0].replace("_", "-") == rest
        }
        if not listed:
            return None
        if self.html:
            links = (
                f'<a href="../../files/{filename}#sha256={self.sha256_of(filename)}"'
                f' data-upload-time="{uploaded_at:%Y-%m-%dT%H:%M:%SZ}">{filename}</a>'
                for filename, (_, uploaded_at) in listed.items()
            )
            return "text/html", f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        page = {
            "meta": {"api-version": "1.1"},
            "name": rest,
            "files": [
                {
                    "filename": filename,
                    "url": f"../../files/{filename}",
                    "hashes": {"sha256": self.sha256_of(filename)},
                    "upload-time": f"{uploaded_at:%Y-%m-%dT%H:%M:%SZ}",
                }
                for filename, (_, uploaded_at) in listed.items()
            ],
        }
        return "application/vnd.pypi.simple.v1+json", json.dumps(page).encode()


def make_wheel(
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    files: Mapping[str, str] | None = None,
) -> bytes:
    info = f"{name}-{version}.dist-info"
    contents = {
        **(files if files is not None else {f"{name}.py": f"VERSION = {version!r}\n"}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", record)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def pip_wheel() -> tuple[str, bytes]:
    """The pip that is installed here, packed as a wheel again."""
    pip = distribution("pip")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in pip.files or ():
            if not file.as_posix().startswith("..") and file.suffix != ".pyc":
                archive.writestr(file.as_posix(), file.read_binary())
    return f"pip-{pip.version}-py3-none-any.whl", buffer.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """An empty index."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = PackageIndex()
    yield served
    served.close()


@pytest.fixture
def index_with_pip(index: PackageIndex, pip_wheel: tuple[str, bytes]) -> PackageIndex:
    """An index that holds what every build needs."""
    index.add_file(*pip_wheel)
    return index
