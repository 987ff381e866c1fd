"""Resolve requirements to pinned wheels with uv, on the host and without running any package's code."""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from uv import find_uv_bin

from schemas.errors import EnvironmentFailed
from schemas.model import Model
from validation.indexes import IndexSettings, redact
from validation.sandbox.protocol import PlatformInfo
from validation.wheelhouse import Wheel

RESOLVE_TIMEOUT_S = 300
_NEWEST_GLIBC_OF_UV = 40
_PASSED_ON = re.compile(
    r"^(PATH|HOME|TMPDIR|XDG_\w+|SSL_CERT_(FILE|DIR)|NETRC|(HTTPS?|ALL|NO)_PROXY"
    r"|UV_(INDEX_\w+|KEYRING_PROVIDER|HTTP_TIMEOUT|NATIVE_TLS|SYSTEM_CERTS|CONFIG_FILE|OFFLINE|CONCURRENT_DOWNLOADS))$",
    re.IGNORECASE,
)
"""Variables that say how to reach an index; those that change what is chosen are kept from uv."""


# What uv says when an index did not serve a page or a file; an answer of 4xx, but for 429, is final.
_NOT_FETCHED = re.compile(
    r"Request failed after|Failed to (?:fetch|download)|error sending request|HTTP status server error"
)
_REFUSED = re.compile(r"HTTP status client error \((?!429|408)")


class Target(Model):
    """The interpreter and machine that wheels are chosen for."""

    python_version: str
    """`3.11.7`."""
    machine: str
    libc: str
    """`glibc 2.36` or `musl 1.2`."""

    @property
    def uv_platform(self) -> str:
        """The name that uv has for it; a newer glibc takes the newest that uv knows."""
        family, minor = self._libc
        if family == "musl":
            return f"{self.machine}-unknown-linux-musl"
        # uv knows 2.17, 2.28 and 2.31 upwards.
        known = [17, 28, *range(31, _NEWEST_GLIBC_OF_UV + 1)]
        fitting = [candidate for candidate in known if candidate <= minor]
        if not fitting:
            raise EnvironmentFailed(
                f"{self.libc} is older than any wheel supports. Use a newer base image (glibc 2.17)"
            )
        return f"{self.machine}-manylinux_2_{fitting[-1]}"

    @cached_property
    def tags(self) -> Mapping[Tag, int]:
        """Wheel tags that fit, with their rank; 0 is the best."""
        family, minor = self._libc
        oldest = 1 if family == "musl" else 5
        series = "musllinux_1" if family == "musl" else "manylinux_2"
        platforms = [f"{series}_{candidate}_{self.machine}" for candidate in range(minor, oldest - 1, -1)]
        if family != "musl":
            aliases = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}
            platforms += [f"{alias}_{self.machine}" for alias, since in aliases.items() if since <= minor]
        platforms.append(f"linux_{self.machine}")
        major, minor_version = (int(part) for part in self.python_version.split(".")[:2])
        python = (major, minor_version)
        # Versions before 3.8 mark their ABI with an m; 3.8 and later have no mark.
        abi = f"cp{major}{minor_version}" + ("m" if python < (3, 8) else "")
        ordered = (
            *cpython_tags(python, [abi], platforms),
            *compatible_tags(python, f"cp{major}{minor_version}", platforms),
        )
        return {tag: rank for rank, tag in reversed(list(enumerate(ordered)))}

    @property
    def _libc(self) -> tuple[str, int]:
        family, _, version = self.libc.partition(" ")
        return family, int(version.split(".")[1])


class SourceOnly(NamedTuple):
    """A project for which the index has no wheel that fits, and what the resolution asks of it."""

    name: str
    specifiers: tuple[str, ...]
    """PEP 440 specifiers found in the explanation."""


class NoWheel(EnvironmentFailed):
    """The requirements cannot be met from wheels alone; building the named projects from source may help."""

    def __init__(self, message: str, projects: tuple[SourceOnly, ...]) -> None:
        super().__init__(message)
        self.projects = projects


def target_of(platform: PlatformInfo, python_version: str) -> Target:
    """What to choose wheels for, in a sandbox."""
    return Target(python_version=python_version, machine=platform.machine, libc=platform.libc)


def checked_requirements(requirements: Iterable[str]) -> tuple[str, ...]:
    """Requirements in one spelling, sorted, without repetitions.

    They come from repositories, and go into a file that the resolver reads on the host: a line that is not a
    requirement could name an option, and a direct reference could name any file or server.

    Raises:
        EnvironmentFailed: a line is not a PEP 508 requirement, or refers to a URL or path.
    """
    checked: set[str] = set()
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            message = f"{text[:200]!r} is not a PEP 508 requirement"
            raise EnvironmentFailed(
                f"{message}. Replace it in gymforge.toml: [install] requirements = [...]"
            ) from error
        if requirement.url is not None:
            message = f"{requirement.name} is required from {redact(requirement.url)[:200]}, and only an index is used"
            raise EnvironmentFailed(f"{message}. Name a release in gymforge.toml: [install] requirements = [...]")
        requirement.name = canonicalize_name(requirement.name)
        checked.add(str(requirement))
    return tuple(sorted(checked))


def resolve(
    requirements: Sequence[str],
    *,
    target: Target,
    settings: IndexSettings,
    cache_dir: Path,
    cutoff: datetime | None = None,
    find_links: Sequence[Path] = (),
    exact: bool = False,
) -> tuple[Wheel, ...]:
    """The newest wheels that meet the requirements together, sorted by name.

    `cutoff` hides later releases; `find_links` are folders of wheels that were built here; `exact` takes the
    requirements as the whole list, whatever they depend on.

    Raises:
        NoWheel: a project has no wheel that fits.
        EnvironmentFailed: there is no solution, or the index cannot be reached (`transient`).
    """
    if not requirements:
        return ()
    command = [find_uv_bin(), "pip", "compile", "requirements.in", "--output-file", "pylock.toml", "--quiet"]
    command += ["--format", "pylock.toml", "--no-header", "--only-binary", ":all:", "--no-python-downloads"]
    # Any interpreter will do to run uv; what is resolved for is said beside it.
    command += ["--python", sys.executable, "--python-version", target.python_version]
    command += ["--python-platform", target.uv_platform]
    command += ["--cache-dir", str(cache_dir / "uv"), "--color", "never", *settings.uv_arguments()]
    for folder in find_links:
        command += ["--find-links", str(folder)]
    if cutoff is not None:
        command += ["--exclude-newer", cutoff.strftime("%Y-%m-%dT%H:%M:%SZ")]
    if exact:
        command.append("--no-deps")
    # A folder of its own: uv looks for a project's settings in its working folder and above.
    with tempfile.TemporaryDirectory(prefix="gymforge-resolve-") as folder_name:
        folder = Path(folder_name)
        (folder / "requirements.in").write_text("\n".join(checked_requirements(requirements)) + "\n", encoding="utf-8")
        try:
            answer = subprocess.run(
                command,
                cwd=folder,
                env=_environment(settings),
                capture_output=True,
                text=True,
                timeout=RESOLVE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = f"resolving {len(requirements)} requirements took more than {RESOLVE_TIMEOUT_S} s"
            raise EnvironmentFailed(f"{message}. Pin some of them in gymforge.toml: [install] requirements") from error
        if answer.returncode != 0:
            raise _failure(redact(answer.stderr))
        return _read_lock((folder / "pylock.toml").read_text(encoding="utf-8"), target)


def _environment(settings: IndexSettings) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
    if settings.cert:
        environment["SSL_CERT_FILE"] = settings.cert
    environment.setdefault("UV_HTTP_TIMEOUT", str(int(settings.timeout_s)))
    return environment


def _failure(explanation: str) -> EnvironmentFailed:
    """The error for uv's explanation; pure, and tolerant of its line breaks."""
    text = explanation.strip()[-4000:]
    if _NOT_FETCHED.search(explanation) and not _REFUSED.search(explanation):
        # Says nothing about the requirements: older ones are no answer to it.
        message = f"an index cannot be reached:\n{text}\nCheck the network and the index settings of pip"
        return EnvironmentFailed(message, transient=True)
    advice = "Give other requirements in gymforge.toml: [install] requirements = [...]"
    message = f"dependencies cannot be resolved:\n{text}\n{advice}"
    names = re.findall(r"[Ww]heels are required for `([^`\s]+)`", explanation)
    if not names:
        return EnvironmentFailed(message)
    flat = " ".join(explanation.split())
    projects = tuple(
        SourceOnly(name=canonicalize_name(name), specifiers=_specifiers(name, flat)) for name in sorted(set(names))
    )
    return NoWheel(message, projects)


def _specifiers(name: str, explanation: str) -> tuple[str, ...]:
    """What "you require NAME..." and "... depend(s) on NAME..." ask of a project."""
    pattern = rf"(?:you require|depends? on) {re.escape(name)}(?:\[[^\]]*\])?((?:[<>=!~]=?=?[\w.*+!-]+,?)+)"
    return tuple(sorted({match.rstrip(",") for match in re.findall(pattern, explanation)}))


def _read_lock(text: str, target: Target) -> tuple[Wheel, ...]:
    """The wheels of a `pylock.toml` (PEP 751), the best-fitting one of each package."""
    wheels: list[Wheel] = []
    for package in tomllib.loads(text).get("packages", ()):
        fitting = []
        for entry in package.get("wheels", ()):
            url = entry["url"] if "url" in entry else Path(entry["path"]).absolute().as_uri()
            filename = entry.get("name") or unquote(urlsplit(url).path.rpartition("/")[2])
            ranks = [target.tags[tag] for tag in parse_wheel_filename(filename)[3] if tag in target.tags]
            if ranks:
                fitting.append((min(ranks), filename, url, entry.get("hashes", {}).get("sha256", "")))
        if not fitting:
            message = f"no wheel of {package['name']} {package['version']} fits {target.uv_platform}"
            raise NoWheel(message, (SourceOnly(package["name"], (f"=={package['version']}",)),))
        _, filename, url, sha256 = min(fitting)
        wheels.append(
            Wheel(name=package["name"], version=package["version"], filename=filename, url=url, sha256=sha256)
        )
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def canonical_json(value: object) -> bytes:
    """One spelling of a JSON value: what hashes are made over."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
