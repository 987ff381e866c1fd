"""Where packages come from: the user's own index settings (pip's or uv's), and what an index lists for a project."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from schemas.errors import EnvironmentFailed
from schemas.model import Model
from validation.downloads import Downloader

DEFAULT_INDEX = "https://pypi.org/simple"
PIP_CONFIG_TIMEOUT_S = 60
_UV_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class IndexSettings(Model):
    """The package sources that this machine uses, and how to reach them."""

    index_url: str = DEFAULT_INDEX
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    """Folders or pages that hold distributions beside the indexes."""
    no_index: bool = False
    cert: str = ""
    """Path of a CA bundle; empty for the system's."""
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 60.0

    @property
    def indexes(self) -> tuple[str, ...]:
        """All simple indexes, the main one first."""
        return () if self.no_index else (self.index_url, *self.extra_index_urls)

    def uv_arguments(self) -> list[str]:
        """The same settings as options of uv; all indexes count alike, as they do for pip."""
        arguments = ["--no-index"] if self.no_index else ["--default-index", self.index_url]
        if not self.no_index:
            for url in self.extra_index_urls:
                arguments += ["--index", url]
        for place in self.find_links:
            arguments += ["--find-links", place]
        for host in self.trusted_hosts:
            arguments += ["--allow-insecure-host", host]
        return [*arguments, "--index-strategy", "unsafe-best-match"]


class Listed(NamedTuple):
    """One file that an index lists for a project."""

    filename: str
    url: str
    sha256: str
    """Empty where the index does not say."""
    requires_python: str
    uploaded_at: datetime | None
    yanked: bool


def index_settings(environment: Mapping[str, str] | None = None) -> IndexSettings:
    """Settings of this machine: uv's variables where any is set, else pip's configuration (files and variables).

    Raises:
        EnvironmentFailed: pip cannot tell its configuration.
    """
    environment = os.environ if environment is None else environment
    if any(environment.get(name) for name in _UV_INDEX_VARIABLES):
        return _from_uv(environment)
    return _from_pip(_pip_configuration(environment))


def redact(text: str) -> str:
    """The text without credentials in its URLs."""
    return re.sub(r"(\w+://)[^/@\s'\"]+@", r"\1***@", text)


def list_files(project: str, settings: IndexSettings, downloader: Downloader) -> tuple[Listed, ...]:
    """Every file that the indexes list for a project, in the order of the indexes.

    Raises:
        EnvironmentFailed: an index answers with something other than a listing or "not found".
    """
    listed: list[Listed] = []
    for index in settings.indexes:
        page_url = f"{index.rstrip('/')}/{canonicalize_name(project)}/"
        if page_url.startswith("file:"):
            folder = local_path(page_url)
            page = folder / "index.html"
            if page.is_file():
                listed += _parse_html(page.read_text(encoding="utf-8"), page_url)
            continue
        answer = downloader.get_page(page_url, accept=_ACCEPT)
        if answer is None:
            continue
        if "json" in answer.content_type:
            listed += _parse_json(answer.text, answer.url)
        else:
            listed += _parse_html(answer.text, answer.url)
    for place in settings.find_links:
        folder = local_path(place) if place.startswith("file:") else Path(place)
        if "://" in place and not place.startswith("file:"):
            answer = downloader.get_page(place, accept="text/html")
            listed += () if answer is None else _parse_html(answer.text, answer.url)
        elif folder.is_dir():
            listed += (
                Listed(file.name, file.absolute().as_uri(), "", "", None, False) for file in sorted(folder.iterdir())
            )
    return tuple(listed)


def local_path(url: str) -> Path:
    """The path that a `file:` URL means."""
    return Path(url2pathname(urlsplit(url).path))


def _from_uv(environment: Mapping[str, str]) -> IndexSettings:
    def urls(name: str, separator: str | None = None) -> list[str]:
        # `UV_INDEX` may name its indexes: `internal=https://...`.
        words = environment.get(name, "").split(separator)
        return [re.sub(r"^[\w.-]+=(?=\w+://)", "", word.strip()) for word in words if word.strip()]

    main = urls("UV_DEFAULT_INDEX") or urls("UV_INDEX_URL") or [DEFAULT_INDEX]
    return IndexSettings(
        index_url=main[0],
        extra_index_urls=tuple(urls("UV_INDEX") + urls("UV_EXTRA_INDEX_URL")),
        find_links=tuple(urls("UV_FIND_LINKS", ",")),
        no_index=environment.get("UV_NO_INDEX", "").lower() in {"1", "true"},
        cert=environment.get("SSL_CERT_FILE", ""),
        trusted_hosts=tuple(urls("UV_INSECURE_HOST")),
        timeout_s=float(environment.get("UV_HTTP_TIMEOUT") or 60),
    )


def _pip_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """The options of pip by name, as `pip download` would see them."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PIP_CONFIG_TIMEOUT_S,
        cwd="/",
    )
    if answer.returncode != 0:
        message = f"`pip config list` failed: {redact(answer.stderr.strip()[-500:])}"
        raise EnvironmentFailed(f"{message}. Correct pip's configuration")
    options: dict[str, str] = {}
    # pip's own order: the global section, then the command's, then the environment.
    for wanted in ("global", "install", "download", ":env:"):
        for line in answer.stdout.splitlines():
            key, _, value = line.partition("=")
            section, _, name = key.rpartition(".")
            if section == wanted:
                options[name.replace("_", "-")] = str(ast.literal_eval(value))
    return options


def _from_pip(options: Mapping[str, str]) -> IndexSettings:
    def words(name: str) -> tuple[str, ...]:
        return tuple(options.get(name, "").split())

    def place(word: str) -> str:
        # uv runs in another folder, so relative paths become absolute here.
        return word if "://" in word else str(Path(word).expanduser().absolute())

    return IndexSettings(
        index_url=options.get("index-url", "").strip() or DEFAULT_INDEX,
        extra_index_urls=words("extra-index-url"),
        find_links=tuple(place(word) for word in words("find-links")),
        no_index=options.get("no-index", "").lower() in {"1", "true", "yes", "on"},
        cert=options.get("cert", ""),
        trusted_hosts=words("trusted-host"),
        timeout_s=max(60.0, float(options.get("timeout") or options.get("default-timeout") or 60)),
    )


def _parse_json(text: str, page_url: str) -> Iterator[Listed]:
    """A listing in PEP 691's form."""
    try:
        files = json.loads(text)["files"]
        for file in files:
            uploaded = file.get("upload-time")
            yield Listed(
                filename=str(file["filename"]),
                url=urljoin(page_url, str(file["url"])),
                sha256=str(file.get("hashes", {}).get("sha256", "")),
                requires_python=str(file.get("requires-python") or ""),
                uploaded_at=None if uploaded is None else datetime.fromisoformat(str(uploaded)),
                yanked=bool(file.get("yanked", False)),
            )
    except (ValueError, KeyError, TypeError) as error:
        message = f"{redact(page_url)} is not a package listing: {error!r}"
        raise EnvironmentFailed(f"{message}. Check the index settings of pip") from error


def _parse_html(text: str, page_url: str) -> Iterator[Listed]:
    """A listing in PEP 503's form."""
    parser = _Anchors()
    parser.feed(text)
    for attributes in parser.anchors:
        url, fragment = urldefrag(urljoin(page_url, attributes["href"]))
        algorithm, _, digest = fragment.partition("=")
        uploaded = attributes.get("data-upload-time")
        yield Listed(
            filename=unquote(urlsplit(url).path.rpartition("/")[2]),
            url=url,
            sha256=digest if algorithm == "sha256" else "",
            requires_python=attributes.get("data-requires-python", ""),
            uploaded_at=None if not uploaded else datetime.fromisoformat(uploaded),
            yanked="data-yanked" in attributes,
        )


class _Anchors(HTMLParser):
    """Collects the attributes of every link of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in attributes:
            self.anchors.append(attributes)
