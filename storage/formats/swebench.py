"""SWE-bench's rows, and the specifications by which its harness (swebench 4.1) builds, runs and grades them.

Its harness knows a repository's versions from tables in its code, so a script beside the rows adds ours to them. A
version there is a task here, for the bug gets in while the image is built: nothing else in SWE-bench changes a tree
before somebody works on it.
"""

import base64
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from schemas.tasks import TaskInstance
from storage.formats.format import Playable, Recipe, Written, write_line
from storage.formats.image import GIT_APPLY, INSTALL, TIDY, assignments, bash_word, build_variables
from storage.formats.seen import Lists, Seen

_GITHUB = "https://github.com/"
_REPORTING = "-rA --tb=no --color=no"
"""A line for each test, and nothing of what tests print."""

_REGISTER = '''\
"""Make swebench 4.1 know the tasks beside this file. Import it, or run a module of swebench's with it:

    python register.py swebench.harness.run_evaluation --dataset_name test.jsonl --namespace none \\
        --predictions_path gold --run_id try
"""

import json
import runpy
import sys
from pathlib import Path

from swebench.harness.constants import MAP_REPO_TO_EXT, MAP_REPO_VERSION_TO_SPECS
from swebench.harness.log_parsers import MAP_REPO_TO_PARSER
from swebench.harness.log_parsers.python import parse_log_pytest

with Path(__file__).with_name("specs.jsonl").open(encoding="utf-8") as lines:
    for line in lines:
        one = json.loads(line)
        MAP_REPO_VERSION_TO_SPECS.setdefault(one["repo"], {})[one["version"]] = one["spec"]
        MAP_REPO_TO_EXT[one["repo"]] = "py"
        MAP_REPO_TO_PARSER[one["repo"]] = parse_log_pytest

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
'''


class Swebench:
    """`test.jsonl` with SWE-bench's columns, `specs.jsonl` for its harness, and `register.py`."""

    builds_images = False
    needs_image = False

    def write(self, tasks: Iterable[Playable], folder: Path) -> Written:
        seen, count, elsewhere = Seen(), 0, set()
        with (
            (folder / "test.jsonl").open("w", encoding="utf-8") as rows,
            (folder / "specs.jsonl").open("w", encoding="utf-8") as specs,
        ):
            for playable in tasks:
                task, recipe = playable
                lists = seen.lists(playable)
                if lists is None:
                    continue
                write_line(rows, _row(task, lists))
                write_line(specs, {"repo": task.repo, "version": task.instance_id, "spec": _spec(task, recipe)})
                count += 1
                if recipe.ingestion.url.removesuffix(".git") != _GITHUB + task.repo:
                    elsewhere.add(recipe.name)
        (folder / "register.py").write_text(_REGISTER, encoding="utf-8")
        return Written(
            tasks=count,
            unseen_tests=seen.unseen,
            left_out=tuple(seen.left_out),
            no_image=tuple(sorted(elsewhere)),
        )


def _row(task: TaskInstance, lists: Lists) -> dict[str, object]:
    return {
        "repo": task.repo,
        "instance_id": task.instance_id,
        "base_commit": task.base_commit,
        "patch": task.patch,
        "test_patch": task.test_patch,
        "problem_statement": task.problem_statement,
        "hints_text": task.hints_text,
        "created_at": task.created_at.isoformat(),
        "version": task.instance_id,
        "FAIL_TO_PASS": json.dumps(lists.fail_to_pass),
        "PASS_TO_PASS": json.dumps(lists.pass_to_pass),
        "environment_setup_commit": task.environment_setup_commit,
    }


def _spec(task: TaskInstance, recipe: Recipe) -> dict[str, Any]:
    """How the harness makes the task's image and runs its tests; keys are those of its own specifications."""
    profile = recipe.ingestion.profile
    install = []
    if profile.install.project:
        install = [f"{assignments(build_variables(recipe))} {INSTALL}"]
    # The harness strips carriage returns from its script, and patches may hold some.
    bug = base64.b64encode(task.bug_patch.encode()).decode()
    return {
        "python": recipe.ingestion.environment.python_version,
        "pip_packages": ["--no-deps", *recipe.ingestion.environment.dependencies],
        "pre_install": [
            *install,
            TIDY,
            f"echo {bug} | base64 --decode | {GIT_APPLY} -",
            # A history would show the fix. The harness commits what is added here as the first commit, and its look
            # for a test patch's files at the base commit, which would take the bug back, then finds nothing.
            "rm -rf .git && git init --quiet . && git add --all --force",
        ],
        "eval_commands": [
            *([f"export {assignments(recipe.variables)}"] if recipe.variables else []),
            *_restored(profile.test_files),
        ],
        "test_cmd": f"{shlex.join(task.test_command)} {_REPORTING}",
    }


def _restored(test_files: Iterable[str]) -> list[str]:
    """Tests are run as they were, whatever a prediction made of them."""
    listed = " ".join(map(bash_word, test_files))
    command = "git --literal-pathspecs checkout HEAD --pathspec-from-file=- --pathspec-file-nul"
    return [f"printf '%s\\0' {listed} | {command}"] if listed else []
