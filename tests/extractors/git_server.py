"""A real git server on loopback (`git http-backend` behind Python's), that can misbehave and keeps what it was asked."""

import base64
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

_DATE = "2024-03-01T12:00:00+02:00"
_ENVIRONMENT = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": _DATE,
    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": _DATE,
}  # fmt: skip

ADVERTISEMENT, LISTING, FETCH = "advertisement", "listing", "fetch"
USER, PASSWORD = "me", "hunter22"


def git(place, *arguments):
    command = ["git", "-c", "protocol.file.allow=always", "-C", str(place), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **_ENVIRONMENT}
    ).stdout.strip()


def commit(place, **files):
    for name, content in files.items():
        path = Path(place, name.replace("__", "/").replace("_dot_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "x")
    return git(place, "rev-parse", "HEAD")


def contents(tree):
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


class Request(NamedTuple):
    kind: str
    """What a client of git's protocol asks for: an `advertisement`, a `listing` of refs (v2 alone) or a `fetch`."""
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    content: bytes


class Caller:
    """One request in hand: what a fault is given, and answers with."""

    def __init__(self, handler, request, backend):
        self.request = request
        self._handler = handler
        self._backend = backend

    def real(self):
        """What git's own server says to this."""
        return self._backend(self.request)

    def send(self, status, *headers, content=b""):
        """A whole answer."""
        with suppress(ConnectionError):
            self.begin(status, *headers, ("Content-Length", str(len(content))))
            self._handler.wfile.write(content)

    def begin(self, status, *headers):
        self._handler.send_response(status)
        for name, value in headers:
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def write(self, piece):
        """One piece of the content; whether the client still takes it."""
        try:
            self._handler.wfile.write(piece)
            self._handler.wfile.flush()
        except OSError:
            return False
        return True


Fault = Callable[[Caller], bool]
"""Answers a request itself and returns True, or leaves it to git and returns False."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._serve(b"")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._serve(body)

    def _serve(self, body):
        site = self.server.site
        posted = LISTING if b"command=ls-refs" in body else FETCH
        kind = ADVERTISEMENT if self.command == "GET" else posted
        request = Request(kind, self.path, dict(self.headers), body)
        site.requests.append(request)
        caller = Caller(self, request, site.backend)
        if any(fault(caller) for fault in tuple(site.faults)):
            return
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.path.startswith("/private") and self.headers.get("Authorization") != wanted:
            caller.send(401, ("WWW-Authenticate", 'Basic realm="x"'))
            return
        status, headers, content = caller.real()
        caller.send(status, *headers, content=content)

    def log_message(self, *arguments):
        pass


class GitSite:
    """The server's side: its folder, its faults, and what it was asked."""

    def __init__(self, root, url):
        self.root = root
        self.url = url
        self.requests = []
        self.faults = []
        self.ending = threading.Event()
        """Set when the test is over: whoever waits may go."""

    def bare(self, name):
        """The folder of the repository at `URL/name/proj.git`."""
        return self.root / name / "proj.git"

    def asked(self, kind):
        return [request for request in self.requests if request.kind == kind]

    def backend(self, request):
        path, _, query = request.path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query,
            "REQUEST_METHOD": "GET" if request.kind == ADVERTISEMENT else "POST",
            "CONTENT_TYPE": headers.get("content-type", ""), "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
        }  # fmt: skip
        command = ["git", "http-backend"]
        done = subprocess.run(command, input=request.body, capture_output=True, env=environment, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        found = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        return Reply(int(found.pop("Status", "200").split()[0]), list(found.items()), content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


@contextmanager
def serve(root, *, certificate=None):
    """A server of the repositories below `root`; https where `certificate` (a file with its key) is given."""
    httpd = _Server(("127.0.0.1", 0), _Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    scheme = "https" if certificate else "http"
    site = httpd.site = GitSite(root, f"{scheme}://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.ending.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def on(kind, fault, *, times=None):
    """`fault` for requests of one kind alone, the first `times` of them."""
    left = [times]

    def chosen(caller):
        if kind not in {caller.request.kind, "any"} or left[0] == 0:
            return False
        if left[0] is not None:
            left[0] -= 1
        return fault(caller)

    return chosen


def says(status, *headers, content=b""):
    """Always the same answer."""

    def fault(caller):
        caller.send(status, *headers, content=content)
        return True

    return fault


def cut(share, *, announced):
    """The true answer up to a share of it, then the end of the connection; `announced` tells its whole length before."""

    def fault(caller):
        status, headers, content = caller.real()
        length = [("Content-Length", str(len(content)))] if announced else []
        caller.begin(status, *headers, *length)
        caller.write(content[: int(len(content) * share)])
        return True

    return fault


def changed(change):
    """The true answer with other bytes."""

    def fault(caller):
        status, headers, content = caller.real()
        caller.send(status, *headers, content=change(content))
        return True

    return fault


def stall(share, site):
    """The true answer up to a share of it, then nothing, while the connection stays open."""

    def fault(caller):
        status, headers, content = caller.real()
        if share is not None:
            caller.begin(status, *headers, ("Content-Length", str(len(content))))
            caller.write(content[: int(len(content) * share)])
        site.ending.wait(30)
        return True

    return fault


def trickle(site, *, every_s):
    """The true answer, byte by byte."""

    def fault(caller):
        status, headers, content = caller.real()
        caller.begin(status, *headers, ("Content-Length", str(len(content))))
        ends = time.monotonic() + 30
        for byte in content:
            if time.monotonic() > ends or site.ending.wait(every_s) or not caller.write(bytes([byte])):
                break
        return True

    return fault


def endless(beginning, piece, *, limit_bytes, sent):
    """A beginning and then one piece again and again, up to `limit_bytes`; what was sent is added to the list `sent`."""

    def fault(caller):
        _, headers, content = caller.real()
        caller.begin(200, *headers)
        caller.write(beginning(content))
        total = 0
        while total < limit_bytes and caller.write(piece):
            total += len(piece)
        sent.append(total)
        return True

    return fault


def redirect(to, status=302):
    """To the same path under another base, or wherever `to(path)` says."""

    def fault(caller):
        caller.send(status, ("Location", to(caller.request.path)))
        return True

    return fault


def then_git(action):
    """Do something on the server's side, and let git answer."""

    def fault(caller):
        action()
        return False

    return fault


def packet(content):
    """A packet line."""
    return b"%04x" % (len(content) + 4) + content


def pack_offset(content):
    """Where the first byte of a pack lies inside an answer."""
    return re.search(rb"PACK\x00\x00\x00\x02", content).start()
