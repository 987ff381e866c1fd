"""A hub of datasets over real HTTP on this machine, as huggingface_hub's client speaks to one, with faults on demand.

Git's object ids, LFS storage beside the repository with signed addresses, one commit a request, pages of listings, ranges.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

LFS_PATTERNS = re.compile(r"\.(parquet|png|arrow|gz|zip)$")
"""What a new dataset's .gitattributes gives to LFS; else files from 10 MB on."""
LFS_FROM_BYTES = 10_000_000
GITATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.png filter=lfs diff=lfs merge=lfs -text\n"
PAGE = 3
# fmt: off
LICENCES = frozenset({
    "apache-2.0", "mit", "openrail", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause",
    "bsd-3-clause", "bsd-3-clause-clear", "cc", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "ecl-2.0", "epl-2.0",
    "eupl-1.1", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-3.0", "isc", "mpl-2.0", "odc-by",
    "ms-pl", "ncsa", "osl-3.0", "postgresql", "ofl-1.1", "unlicense", "zlib", "pddl", "unknown", "other",
})
# fmt: on
SIZES = frozenset({"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"})
DTYPES = re.compile(
    r"(string|large_string|bool|u?int(8|16|32|64)|float(16|32|64)|timestamp\[(s|ms|us|ns)(, tz=.+)?\]|binary|null)$"
)
NAME = r"([\w.-]+/[\w.-]+)"


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    oid: str
    """Git's id: of the content, or of the pointer where the content is in LFS."""
    size: int
    content: bytes | None
    sha256: str = ""
    """Where it is in LFS."""


@dataclass
class Repo:
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    lfs: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    token: str
    received: int
    """Bytes of the body that arrived."""


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose method and path match."""

    where: str
    """Pattern for `METHOD /path`."""
    times: int = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = "fault"
    cut_after: int | None = None
    """Cut the connection after so many bytes of the body."""
    lose_answer: bool = False
    """Do what is asked, and cut the connection instead of answering."""
    silent_s: float = 0.0
    """Say nothing for so long, then cut the connection."""
    then: Callable[[], object] = bool
    """Called when it strikes."""


class _Cut(Exception):
    """The connection ends here."""


class _Refused(Exception):
    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, {k.replace("_", "-"): v for k, v in headers.items()}


class HubServer(ThreadingHTTPServer):
    """The hub's state and what it saw."""

    daemon_threads = True
    TOKEN = "hf_" + "rightRIGHTrightRIGHT"
    READ_TOKEN = "hf_" + "readREADreadREADread"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.storage_url = f"http://localhost:{self.server_port}"
        """Large files are on another host, which is shown no token."""
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.damage: Callable[[bytes], bytes] = bytes
        """What LFS storage makes of what it is sent, while it says that all is well."""
        self.waited_s: list[float] = []
        """How long the client would have waited between its own attempts."""
        self.lock = threading.RLock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""

    def strikes(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.where, line):
                    fault.times -= 1
                    fault.then()
                    return fault
        return None

    def seen(self, pattern: str) -> list[Request]:
        """Requests whose `METHOD /path` matches."""
        with self.lock:
            return [one for one in self.requests if re.search(pattern, f"{one.method} {one.path}")]

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a branch holds."""
        repo = self.repos[name]
        tree = repo.commits[repo.branches[revision]]
        return {path: repo.lfs[blob.sha256] if blob.sha256 else blob.content or b"" for path, blob in tree.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out whole: in parts, each would wait for the other side's delayed acknowledgement
    disable_nagle_algorithm = True
    server: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.route, self.query = parts.path, parse_qs(parts.query)
        fault = self.server.strikes(f"{self.command} {self.route}")
        self._lost = fault is not None and fault.lose_answer
        try:
            body = self._body(fault)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            with self.server.lock:
                self.server.requests.append(Request(self.command, unquote(self.route), token, len(body)))
            try:
                self._dispatch(body, fault)
            except _Refused as refused:
                told = {"X-Error-Message": refused.text, **refused.headers}
                self._answer(refused.status, {"error": refused.text}, told)
        except _Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_HEAD = _serve  # noqa: N815 - http.server's names

    def _body(self, fault: Fault | None) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.cut_after is not None:
            return self.rfile.read(min(length, fault.cut_after))
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(length)
        found = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        if self._lost:
            raise _Cut
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(data)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value.replace("\n", " "))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def _dispatch(self, body: bytes, fault: Fault | None) -> None:
        if fault is not None and (fault.silent_s or fault.cut_after is not None):
            time.sleep(fault.silent_s)
            raise _Cut
        if fault is not None and fault.status:
            raise _Refused(fault.status, fault.text, **fault.headers)
        for pattern, handle in _ROUTES.items():
            found = re.fullmatch(pattern, f"{self.command} {self.route}")
            if found:
                with self.server.lock:
                    handle(self, body, *(unquote(one) for one in found.groups()))
                return
        raise _Refused(404, f"no such address: {self.command} {self.route}")

    # Who asks

    def _user(self, *, writes: bool = False) -> str:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in {"", self.server.TOKEN, self.server.READ_TOKEN}:
            raise _Refused(401, "Invalid credentials in Authorization header")
        if writes and not token:
            raise _Refused(401, "Invalid username or password.")
        if writes and token != self.server.TOKEN:
            raise _Refused(403, "Forbidden: you must use a token with write permission")
        return "acme" if token else ""

    def _repo(self, name: str, *, writes: bool = False) -> Repo:
        user = self._user()
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not user):
            raise _Refused(404 if user else 401, "Repository not found", X_Error_Code="RepoNotFound")
        self._user(writes=writes)
        return repo

    def _commit_of(self, repo: Repo, revision: str) -> str:
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            raise _Refused(404, f"Invalid rev id: {revision}", X_Error_Code="RevisionNotFound")
        return commit

    # What is asked

    def whoami(self, _body: bytes) -> None:
        if not self._user():
            raise _Refused(401, "Invalid username or password.")
        self._answer(200, {"type": "user", "name": "acme", "orgs": [], "auth": {"type": "access_token"}})

    def create(self, body: bytes) -> None:
        self._user(writes=True)
        asked = json.loads(body)
        name = f"{asked['organization'] or 'acme'}/{asked['name']}"
        assert asked["type"] == "dataset"
        if not name.startswith("acme/"):
            raise _Refused(403, f"You don't have the rights to create a dataset under the namespace of {name}")
        url = f"{self.server.url}/datasets/{name}"
        if name in self.server.repos:
            self._answer(
                409, {"error": "You already created this dataset repo", "url": url}, {"X-Error-Message": "exists"}
            )
            return
        repo = self.server.repos[name] = Repo(private=asked.get("visibility") == "private")
        add_commit(repo, "main", {".gitattributes": regular(GITATTRIBUTES)}, "initial commit")
        self._answer(200, {"url": url, "name": name, "id": name})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        repo = self._repo(name, writes=True)
        if branch in repo.branches:
            raise _Refused(409, "Reference already exists")
        repo.branches[branch] = self._commit_of(repo, json.loads(body or b"{}").get("startingPoint", "main"))
        self._answer(200, {})

    def info(self, _body: bytes, name: str, revision: str = "main") -> None:
        repo = self._repo(name)
        commit = self._commit_of(repo, revision)
        siblings = [{"rfilename": path} for path in repo.commits[commit]]
        self._answer(
            200,
            {
                "_id": name, "id": name, "sha": commit, "private": repo.private, "gated": False, "disabled": False,
                "tags": [], "downloads": 0, "likes": 0, "siblings": siblings, "lastModified": "2026-01-02T03:04:05.000Z",
            },
        )  # fmt: skip

    def refs(self, _body: bytes, name: str) -> None:
        branches = [
            {"name": one, "ref": f"refs/heads/{one}", "targetCommit": commit}
            for one, commit in self._repo(name).branches.items()
        ]
        self._answer(200, {"branches": branches, "converts": [], "tags": []})

    def log(self, _body: bytes, name: str, revision: str) -> None:
        commit = self._commit_of(self._repo(name), revision)
        self._answer(
            200, [{"id": commit, "title": "t", "message": "", "authors": [], "date": "2026-01-02T03:04:05.000Z"}]
        )

    def tree(self, _body: bytes, name: str, revision: str, folder: str = "") -> None:
        repo = self._repo(name)
        commit = self._commit_of(repo, revision)
        tree = {
            path: blob for path, blob in repo.commits[commit].items() if not folder or path.startswith(f"{folder}/")
        }
        if folder and not tree:
            raise _Refused(404, f"{folder} does not exist on {revision}", X_Error_Code="EntryNotFound")
        entries = entries_of(tree, below=folder, recursive=self.query.get("recursive", [""])[0].lower() == "true")
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            rest = "&".join(f"{key}={quote(value[0])}" for key, value in self.query.items() if key != "cursor")
            headers["Link"] = f'<{self.server.url}{self.route}?{rest}&cursor={start + PAGE}>; rel="next"'
        self._answer(200, entries[start : start + PAGE], headers)

    def paths_info(self, body: bytes, name: str, revision: str) -> None:
        repo = self._repo(name)
        tree = repo.commits[self._commit_of(repo, revision)]
        asked = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode()).get("paths", [])
        folders = {entry["path"]: entry for entry in entries_of(tree, below="", recursive=True)}
        self._answer(200, [folders[path] for path in asked if path in folders])

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        repo = self._repo(name, writes=True)
        tree = repo.commits[self._commit_of(repo, revision)]
        told = []
        for file in json.loads(body)["files"]:
            is_lfs = bool(LFS_PATTERNS.search(file["path"])) or file["size"] >= LFS_FROM_BYTES
            there = tree.get(file["path"])
            oid = (there.sha256 or there.oid) if there else None
            told.append(
                {"path": file["path"], "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False, "oid": oid}
            )
        self._answer(200, {"files": told})

    def batch(self, body: bytes, name: str) -> None:
        repo = self._repo(name, writes=True)
        told = []
        for one in json.loads(body)["objects"]:
            place = f"{self.server.url}/lfs/{name}/{one['oid']}"
            stored = f"{self.server.storage_url}/lfs/{name}/{one['oid']}"
            actions = {"upload": {"href": f"{stored}?X-Amz-Signature=signed"}, "verify": {"href": f"{place}/verify"}}
            told.append(one if one["oid"] in repo.lfs else {**one, "actions": actions})
        self._answer(200, {"transfer": "basic", "objects": told})

    def put(self, body: bytes, name: str, oid: str) -> None:
        if "X-Amz-Signature" not in self.query or hashlib.sha256(body).hexdigest() != oid:
            raise _Refused(400, "BadDigest")
        self.server.repos[name].lfs[oid] = self.server.damage(body)
        self._answer(200, b"")

    def verify(self, body: bytes, name: str, oid: str) -> None:
        if len(self._repo(name, writes=True).lfs.get(oid, b"")) != json.loads(body)["size"]:
            raise _Refused(422, "size does not match")
        self._answer(200, {})

    def commit(self, body: bytes, name: str, branch: str) -> None:
        repo = self._repo(name, writes=True)
        head = self._commit_of(repo, branch)
        tree = dict(repo.commits[head])
        header, *operations = (json.loads(line) for line in body.splitlines())
        if header["value"].get("parentCommit", head) != head:
            raise _Refused(412, "A commit has happened since. Please refresh and try again.")
        for operation in operations:
            key, value = operation["key"], operation["value"]
            if key == "file":
                tree[value["path"]] = regular(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if value["oid"] not in repo.lfs:
                    raise _Refused(400, f"LFS object {value['oid']} was not uploaded")
                tree[value["path"]] = in_lfs(value["oid"], value["size"])
            elif value["path"] not in tree:
                raise _Refused(404, "A file with this name doesn't exist", X_Error_Code="EntryNotFound")
            else:
                assert key == "deletedFile"
                del tree[value["path"]]
        if "README.md" in tree and (wrong := validate_yaml(tree["README.md"].content or b"")["errors"]):
            raise _Refused(400, wrong[0]["message"])
        oid = add_commit(repo, branch, tree, header["value"]["summary"])
        self._answer(200, {"commitUrl": f"{self.server.url}/datasets/{name}/commit/{oid}", "commitOid": oid})

    def resolve(self, _body: bytes, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        commit = self._commit_of(repo, revision)
        blob = repo.commits[commit].get(path)
        if blob is None:
            raise _Refused(404, "Entry not found", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
        if blob.sha256:
            headers |= {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
            headers["Location"] = f"{self.server.storage_url}/cdn/{name}/{blob.sha256}"
            self._answer(302, b"", headers)
        else:
            self._ranged(blob.content or b"", headers)

    def cdn(self, _body: bytes, name: str, oid: str) -> None:
        self._ranged(self.server.repos[name].lfs[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def _ranged(self, content: bytes, headers: Mapping[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {**headers, "Content-Type": "application/octet-stream"}
        if not asked:
            self._answer(200, content, headers)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if start >= len(content):
            raise _Refused(416, "range", Content_Range=f"bytes */{len(content)}")
        self._answer(206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def yaml(self, body: bytes) -> None:
        asked = json.loads(body)
        found = validate_yaml(asked["content"].encode())
        self._answer(400 if found["errors"] else 200, found)


_ROUTES: dict[str, Callable[..., None]] = {
    r"GET /api/whoami-v2": _Handler.whoami,
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.yaml,
    rf"GET /api/datasets/{NAME}": _Handler.info,
    rf"GET /api/datasets/{NAME}/revision/([^/]+)": _Handler.info,
    rf"GET /api/datasets/{NAME}/refs": _Handler.refs,
    rf"GET /api/datasets/{NAME}/commits/([^/]+)": _Handler.log,
    rf"GET /api/datasets/{NAME}/tree/([^/]+)": _Handler.tree,
    rf"GET /api/datasets/{NAME}/tree/([^/]+)/(.+)": _Handler.tree,
    rf"POST /api/datasets/{NAME}/branch/([^/]+)": _Handler.branch,
    rf"POST /api/datasets/{NAME}/paths-info/([^/]+)": _Handler.paths_info,
    rf"POST /api/datasets/{NAME}/preupload/([^/]+)": _Handler.preupload,
    rf"POST /api/datasets/{NAME}/commit/([^/]+)": _Handler.commit,
    rf"POST /datasets/{NAME}\.git/info/lfs/objects/batch": _Handler.batch,
    rf"PUT /lfs/{NAME}/(\w+)": _Handler.put,
    rf"POST /lfs/{NAME}/(\w+)/verify": _Handler.verify,
    rf"(?:GET|HEAD) /datasets/{NAME}/resolve/([^/]+)/(.+)": _Handler.resolve,
    rf"(?:GET|HEAD) /cdn/{NAME}/(\w+)": _Handler.cdn,
}


def regular(content: bytes) -> Blob:
    return Blob(hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest(), len(content), content)


def in_lfs(sha256: str, size: int) -> Blob:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return Blob(regular(pointer).oid, size, None, sha256)


def add_commit(repo: Repo, branch: str, tree: dict[str, Blob], message: str) -> str:
    oid = hashlib.sha1(f"{id(repo)} {len(repo.commits)} {message} {sorted(tree.items())}".encode()).hexdigest()
    repo.commits[oid] = tree
    repo.branches[branch] = oid
    repo.messages.append(message)
    return oid


def entries_of(tree: Mapping[str, Blob], *, below: str, recursive: bool) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    start = f"{below}/" if below else ""
    for path, blob in sorted(tree.items()):
        parts = path.removeprefix(start).split("/")
        for depth in range(1, len(parts)):
            folder = start + "/".join(parts[:depth])
            if recursive or depth == 1:
                found[folder] = {
                    "type": "directory",
                    "oid": hashlib.sha1(folder.encode()).hexdigest(),
                    "size": 0,
                    "path": folder,
                }
        if recursive or len(parts) == 1:
            entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
            lfs = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134} if blob.sha256 else None
            found[path] = entry | ({"lfs": lfs} if lfs else {})
    return list(found.values())


def validate_yaml(content: bytes) -> dict[str, list[dict[str, str]]]:
    """What the hub says of a dataset card's metadata: errors refuse it, warnings do not."""
    found = re.match(rb"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", content, re.DOTALL)
    if not found:
        return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return {"errors": [{"message": f"Invalid YAML: {error}"}], "warnings": []}
    if not isinstance(data, dict):
        return {"errors": [{"message": "metadata is not an object"}], "warnings": []}
    return {"errors": [{"message": one} for one in _wrong(data)], "warnings": []}


def _wrong(data: Mapping[str, Any]) -> Iterator[str]:
    licences = data.get("license", [])
    for one in [licences] if isinstance(licences, str) else licences:
        if one not in LICENCES:
            yield f'"license" must be one of [{", ".join(sorted(LICENCES))}]'
    if "license_name" in data and not (
        isinstance(data["license_name"], str) and re.fullmatch(r"[a-z0-9-.]+", data["license_name"])
    ):
        yield '"license_name" must be lower case letters, digits, - and .'
    for name in ("language", "tags", "task_categories", "size_categories"):
        value = data.get(name, [])
        if not isinstance(value, list | str) or not all(isinstance(one, str) for one in value):
            yield f'"{name}" must be a string or an array of strings'
    for one in data.get("size_categories", []):
        if one not in SIZES:
            yield f'"size_categories" must be one of [{", ".join(sorted(SIZES))}]'
    if not isinstance(data.get("pretty_name", ""), str):
        yield '"pretty_name" must be a string'
    for config in data.get("configs", []):
        if not isinstance(config.get("config_name"), str):
            yield '"configs[0].config_name" is required'
        for files in config.get("data_files", []):
            if not (isinstance(files.get("path"), str | list) and re.fullmatch(r"\w+(\.\w+)*", files.get("split", ""))):
                yield '"configs[0].data_files" must have split and path'
    info = data.get("dataset_info", {})
    for one in info.get("splits", []):
        if not (
            isinstance(one.get("name"), str)
            and isinstance(one.get("num_bytes"), int)
            and isinstance(one.get("num_examples"), int)
        ):
            yield '"dataset_info.splits" must have name, num_bytes and num_examples'
    for one in info.get("features", []):
        yield from _wrong_feature(one)


def _wrong_feature(feature: Any) -> Iterator[str]:
    kinds = {"dtype", "list", "sequence", "struct"} & feature.keys() if isinstance(feature, dict) else set()
    if len(kinds) != 1:
        yield f'"dataset_info.features": {feature} has no kind'
        return
    kind = kinds.pop()
    value = feature[kind]
    if isinstance(value, list):
        for one in value:
            yield from _wrong_feature(one)
    elif isinstance(value, str) and not DTYPES.match(value):
        yield f'"dataset_info.features": {value} is no type'


@contextmanager
def serving() -> Iterator[HubServer]:
    """A hub for as long as it is used."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
