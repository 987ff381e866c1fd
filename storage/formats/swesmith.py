"""SWE-smith's rows, and what its harness (swesmith 0.0.9) needs of each repository: a profile and an image.

A profile there is a class in its code, so a script beside the rows makes one for each repository and registers it.
An image holds every task of a repository's commit as a branch, with two commits, as its harness expects: the bug, and
the removal of the test files that fail.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

from storage.formats.format import Playable, Recipe, Written, write_line
from storage.formats.image import GIT_APPLY, GIT_INIT, bash_word, build_stage, commit, machine_variables, write_context
from storage.formats.seen import Lists, Seen

_ORGANIZATION = "gymforge"
_LIMIT_S = 1800
_REPORTING = "--disable-warnings --color=no --tb=no --verbosity=1"
"""Its own profiles' options; it says `--verbose`, which a `-q` of the repository's own would undo."""

_REGISTER = '''\
"""Make swesmith 0.0.9 know the repositories beside this file. Import it, or run a module of swesmith's with it:

    python register.py swesmith.harness.eval --dataset_path tasks.jsonl --run_id try

Images are built with `swesmith.profiles.registry.get(NAME).build_image()`.
"""

import json
import runpy
import subprocess
import sys
from dataclasses import field, make_dataclass
from pathlib import Path

from swesmith.profiles import registry
from swesmith.profiles.python import PythonProfile

HERE = Path(__file__).resolve().parent


class Exported(PythonProfile):
    def _is_repo_private(self):
        return False

    def build_image(self):
        folder = HERE / "environments" / self.repo_name
        subprocess.run(["docker", "build", "--tag", self.image_name, str(folder)], check=True)


with (HERE / "profiles.jsonl").open(encoding="utf-8") as lines:
    for line in lines:
        fields = [(name, type(value), field(default=value)) for name, value in json.loads(line).items()]
        registry.register_profile(make_dataclass("ExportedProfile", fields, bases=(Exported,)))

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
'''

_BRANCHES = f"""\
COPY bugs /tmp/bugs
RUN rm -rf .git && {GIT_INIT} && {commit("Clean tree", 0)} \\
    && for bug in /tmp/bugs/*.patch; do \\
      git checkout --quiet -b "$(basename "$bug" .patch)" main \\
      && {GIT_APPLY} "$bug" && {commit("Bug Patch", 1)} \\
      && xargs -d '\\n' -a "${{bug%.patch}}.tests" rm -f -- && {commit("Remove F2P Tests", 2)} || exit 1; \\
    done && git checkout --quiet main && rm -rf /tmp/bugs
"""


class Swesmith:
    """`tasks.jsonl` with SWE-smith's columns, `profiles.jsonl`, `register.py`, and a folder for each image."""

    builds_images = True
    needs_image = False

    def write(self, tasks: Iterable[Playable], folder: Path) -> Written:
        seen, count = Seen(), 0
        recipes: dict[str, Recipe] = {}
        with (
            (folder / "tasks.jsonl").open("w", encoding="utf-8") as rows,
            (folder / "profiles.jsonl").open("w", encoding="utf-8") as profiles,
        ):
            for playable in tasks:
                lists = seen.lists(playable)
                if lists is None:
                    continue
                task, recipe = playable
                image = folder / "environments" / recipe.name
                if recipe.name not in recipes:
                    recipes[recipe.name] = recipe
                    write_line(profiles, _profile(playable))
                    if recipe.can_be_built:
                        _write_image(recipe, image)
                write_line(rows, _row(playable, lists))
                if recipe.can_be_built:
                    files = sorted({test.partition("::")[0] for test in lists.fail_to_pass})
                    (image / "bugs" / f"{task.instance_id}.patch").write_bytes(task.bug_patch.encode())
                    (image / "bugs" / f"{task.instance_id}.tests").write_text("\n".join(files), encoding="utf-8")
                count += 1
        (folder / "register.py").write_text(_REGISTER, encoding="utf-8")
        no_image = tuple(sorted(name for name, recipe in recipes.items() if not recipe.can_be_built))
        return Written(tasks=count, unseen_tests=seen.unseen, left_out=tuple(seen.left_out), no_image=no_image)


def _row(playable: Playable, lists: Lists) -> dict[str, object]:
    task = playable.task
    owner, repo = _owner_and_name(playable.recipe)
    image = f"{_ORGANIZATION}/swesmith.x86_64.{owner}_1776_{repo}.{task.base_commit[:8]}".lower()
    return {
        "instance_id": task.instance_id,
        "repo": f"{_ORGANIZATION}/{playable.recipe.name}",
        "patch": task.bug_patch,
        "FAIL_TO_PASS": lists.fail_to_pass,
        "PASS_TO_PASS": lists.pass_to_pass,
        "created_at": task.created_at.isoformat(),
        "image_name": image,
        "base_commit": task.base_commit,
        "problem_statement": task.problem_statement,
    }


def _profile(playable: Playable) -> dict[str, object]:
    task, recipe = playable
    owner, repo = _owner_and_name(recipe)
    exports = [f"export {name}={bash_word(value)}" for name, value in sorted(recipe.variables.items())]
    return {
        "owner": owner,
        "repo": repo,
        "commit": task.base_commit,
        "org_dh": _ORGANIZATION,
        "org_gh": _ORGANIZATION,
        "python_version": recipe.ingestion.environment.python_version,
        "test_cmd": "; ".join([*exports, f"{shlex.join(task.test_command)} {_REPORTING}"]),
        "timeout": _LIMIT_S,
        "timeout_ref": _LIMIT_S,
    }


def _owner_and_name(recipe: Recipe) -> tuple[str, str]:
    """As ids have them: its harness takes ids apart, and looks for the profile of what they begin with."""
    owner, _, repo = recipe.name.rpartition(".")[0].partition("__")
    return owner, repo


def _write_image(recipe: Recipe, folder: Path) -> None:
    (folder / "bugs").mkdir(parents=True)
    write_context(recipe, folder)
    dockerfile = build_stage(recipe) + _BRANCHES + machine_variables(recipe.variables) + "\n"
    (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
