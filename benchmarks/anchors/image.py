"""The container image that both anchors use: the product's environment, laid out as SWE-smith's protocol expects."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from docker.api import APIClient
from docker.errors import DockerException
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from benchmarks.anchors.subject import Subject
from schemas.errors import InvalidInput, SandboxFailed, SandboxUnavailable
from schemas.repo import SandboxKind
from validation.sandbox.client import COMMAND_ENVIRONMENT

DOCKERFILE = """\
ARG ENVIRONMENT
FROM ${ENVIRONMENT}
USER 0:0
RUN cp -a /gymforge/testbed/. /testbed \\
    && chown -R 0:0 /testbed \\
    && cd /testbed \\
    && rm -rf .git \\
    && git init --quiet \\
    && echo '* -text -filter -ident' > .git/info/attributes \\
    && git add --all --force \\
    && git -c user.name=gymforge -c user.email=gymforge@example.invalid commit --quiet --no-gpg-sign -m 'Clean tree'
WORKDIR /testbed
"""
"""The stored tree becomes a Git repository of one commit in a writable `/testbed`, owned by root, who runs everything.

No conda: the environment is `/env`, as in the product, and the test command finds it by `PATH`. Git is told to leave
line ends alone, so that no candidate fails to apply.
"""

LABEL = "gymforge.anchor"
"""Of every container of the anchor that is ours: the file that its measurement is kept in."""

_LEFT_OUT = frozenset({"PYTHONDONTWRITEBYTECODE"})
"""The product keeps trees clean; SWE-smith's images do not, and a suite that starts interpreters is quicker for it."""


@contextmanager
def engine() -> Iterator[Any]:
    """A connection of the Docker SDK, for one thread.

    Raises:
        SandboxUnavailable: no engine answers.
    """
    try:
        api = APIClient(**kwargs_from_env(), version="auto", timeout=600)
    except DockerException as error:
        raise SandboxUnavailable(f"The anchors need a Docker Engine, and none answers: {error}") from error
    with closing(api):
        yield api


@contextmanager
def told() -> Iterator[None]:
    """What the engine refuses becomes an error with a message.

    Raises:
        SandboxUnavailable: it refused, or went away.
    """
    try:
        yield
    except (DockerException, RequestException, HTTPError) as error:
        raise SandboxUnavailable(
            f"The Docker Engine refused, or went away: {error}. Run the same command again: what is finished is kept."
        ) from error


def variables(subject: Subject) -> dict[str, str]:
    """What the test command sees of the environment: as in the product."""
    kept = {name: value for name, value in COMMAND_ENVIRONMENT.items() if name not in _LEFT_OUT}
    return kept | dict(subject.profile.environment)


def build_image(subject: Subject, api: Any) -> str:
    """Build the anchors' image of a subject, or find it; returns its name.

    Raises:
        InvalidInput: the subject was not prepared for Docker.
        SandboxFailed: it does not build.
    """
    if subject.backend.kind is not SandboxKind.DOCKER:
        raise InvalidInput("The anchors run in containers: prepare the repository with --sandbox docker")
    environment = subject.environment.image_name
    digest = hashlib.sha256(json.dumps([DOCKERFILE, environment]).encode()).hexdigest()
    name = f"gymforge-anchor/{environment.partition('/')[2].partition(':')[0]}:{digest[:12]}"
    if api.images(name=name):
        return name
    log = ""
    options = {
        "network_mode": "none",
        "rm": True,
        "forcerm": True,
        "decode": True,
        "buildargs": {"ENVIRONMENT": environment},
    }
    for line in api.build(fileobj=io.BytesIO(DOCKERFILE.encode()), tag=name, **options):
        log += str(line.get("stream", ""))
        if "error" in line:
            raise SandboxFailed(
                f"The anchors' image of {subject.ref.name} does not build: {line['error']}\n{log[-2000:]}"
            )
    return name
