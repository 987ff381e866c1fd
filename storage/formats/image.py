"""Dockerfiles of a repository's environment: the recorded releases, the tree, and the project built from it.

They follow how environments are built for sandboxes (`docs/environments.md`), with pip in place of wheels that are
fetched beforehand. What an image must not show stays in the first stage, `build`.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from storage.formats.format import Recipe

INSTALL = "python -m pip install --quiet --no-deps --editable ."
TIDY = (
    "for left in build .eggs; do git ls-files --error-unmatch $left >/dev/null 2>&1 || rm -rf $left; done"
    " && find . -name __pycache__ -prune -exec rm -rf {} +"
)
"""Builds leave copies of the sources behind, as they are and compiled."""
GIT_INIT = "git -c init.defaultBranch=main init --quiet . && echo '* -text -filter -ident' > .git/info/attributes"
"""No conversion of line ends, for patches are exact."""
GIT_APPLY = "git -c core.autocrlf=false apply --whitespace=nowarn"

_TREE = "tree-{}.tar"
_REQUIREMENTS = "requirements.txt"
_VARIABLES = "variables.sh"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GIT_COMMIT = "git -c user.name=gymforge -c user.email=gymforge@localhost commit --quiet --no-verify --allow-empty"


def write_context(recipe: Recipe, folder: Path) -> None:
    """What `build_stage` copies from the Dockerfile's folder; a carried tree is one file under many names."""
    pins = "".join(f"{pin}\n" for pin in recipe.ingestion.environment.dependencies)
    (folder / _REQUIREMENTS).write_text(pins, encoding="utf-8")
    # In a file, for a line of a Dockerfile cannot hold all that a variable can.
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted(build_variables(recipe).items())
    )
    (folder / _VARIABLES).write_bytes(exports.encode())
    for number, archive in enumerate(recipe.tree):
        os.link(archive, folder / _TREE.format(number))


def build_stage(recipe: Recipe) -> str:
    """The stage `build`: `/env`, and the clean tree in `/testbed`, built, with a Git history of one commit."""
    ingestion = recipe.ingestion
    install = "true"
    if ingestion.profile.install.project:
        install = f". /tmp/{_VARIABLES} && {INSTALL}"
    return "\n".join(
        [
            f"ARG BASE_IMAGE=python:{ingestion.environment.python_version}",
            "FROM ${BASE_IMAGE} AS build",
            "USER 0:0",
            "ENV PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/env/bin:$PATH",
            f"COPY {_REQUIREMENTS} {_VARIABLES} /tmp/",
            f"RUN python3 -m venv /env && python -m pip install --quiet --no-deps -r /tmp/{_REQUIREMENTS}",
            "WORKDIR /testbed",
            _carried(len(recipe.tree)) if recipe.tree else _clone(ingestion.url, ingestion.commit),
            f"RUN {GIT_INIT} && {commit('snapshot', 0)} && git tag -- {shlex.quote(recipe.tag)} \\",
            f"    && {install} && {TIDY}",
            "",
        ]
    )


def commit(message: str, seconds: int) -> str:
    """Commands that commit all that there is, at a time, so that the commit has the same name everywhere."""
    dates = f"GIT_AUTHOR_DATE='@{seconds} +0000' GIT_COMMITTER_DATE='@{seconds} +0000'"
    return f"git add --all --force && {dates} {_GIT_COMMIT} -m {shlex.quote(message)}"


def machine_variables(variables: Mapping[str, str]) -> str:
    """The line of a Dockerfile that sets what tests see of the environment, but for values of several lines."""
    path = {"PATH": "/env/bin:$PATH", "VIRTUAL_ENV": "/env"}
    quoted = {name: _quoted(value) for name, value in sorted(variables.items()) if not {"\n", "\r"} & {*value}}
    return f"ENV {' '.join(f'{name}={value}' for name, value in (path | quoted).items())}"


def build_variables(recipe: Recipe) -> dict[str, str]:
    """What a build is told: of version and date, and the repository's own."""
    return {**recipe.build_variables, **recipe.ingestion.profile.environment}


def assignments(variables: Mapping[str, str]) -> str:
    """Variables as bash takes them before a command, or after `export`."""
    return " ".join(f"{name}={bash_word(value)}" for name, value in sorted(variables.items()))


def bash_word(text: str) -> str:
    """Any text as one word in one line: tools split and strip what they are given."""
    if not _CONTROL.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    return "$'" + _CONTROL.sub(lambda one: f"\\x{ord(one[0]):02x}", escaped) + "'"


def _carried(archives: int) -> str:
    return f"ADD {' '.join(_TREE.format(number) for number in range(archives))} /testbed/"


def _clone(url: str, commit_hash: str) -> str:
    """One commit and its submodules, without any history."""
    return "\n".join(
        [
            f"RUN {GIT_INIT} && git remote add origin {shlex.quote(url)} \\",
            f"    && (git fetch --quiet --depth 1 origin {commit_hash} || git fetch --quiet --tags origin) \\",
            f"    && git checkout --quiet --detach {commit_hash} && git submodule --quiet update --init --recursive \\",
            "    && find . -name .git -prune -exec rm -rf {} +",
        ]
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
