"""Harbor's tasks: a folder for each, with instruction, environment, tests and solution.

The image holds the tree with the bug and a Git history of one commit, and neither the patch nor the clean tree. Tests
run as they were, as an unprivileged user, and tell of themselves through a file, so that printing something is no way
to a reward.
"""

import json
import shlex
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from storage.formats.format import Playable, Recipe, Written
from storage.formats.image import GIT_APPLY, GIT_INIT, build_stage, commit, machine_variables, write_context

AGENT_UID = 1000
"""Who works on a task, and who its tests run as: not root, who alone may change the environment."""
_AGENT_LIMIT_S = 3600
_TESTS_LIMIT_S = 1800
_GRADER = ("grade.py", "gymforge_report.py")

_TEST = """\
#!/bin/bash
# Anybody may write there until now; the code under test must not, and a link may lead anywhere.
for folder in /logs /logs/verifier; do
  if [ -L "$folder" ] || [ ! -d "$folder" ]; then rm -f "$folder" && mkdir "$folder"; fi
  if [ "$(id -u)" = 0 ]; then chown 0:0 "$folder" && chmod 755 "$folder"; fi
done
rm -rf /logs/verifier/reward.* /logs/verifier/report.json
echo 0 > /logs/verifier/reward.txt
exec /env/bin/python -I "$(dirname "$0")/grade.py"
"""
_SOLVE = f"""\
#!/bin/bash
set -e
cd /testbed
{GIT_APPLY} "$(dirname "$(realpath "$0")")/fix.patch"
"""
_BUG = f"""\
COPY bug.patch test_files.txt /tmp/
RUN {GIT_APPLY} /tmp/bug.patch && rm -rf .git \\
    && mkdir -p /gymforge && {{ cat /tmp/test_files.txt; find . -name conftest.py -printf '%P\\0'; }} | sort -zu \\
    | tar --create --file /gymforge/tests.tar --null --verbatim-files-from --files-from - \\
    && {GIT_INIT} && {commit("The code to work on", 0)}
FROM ${{BASE_IMAGE}}
USER 0:0
RUN if ! getent passwd {AGENT_UID} >/dev/null; then \\
      echo 'agent:x:{AGENT_UID}:{AGENT_UID}::/home/agent:/bin/bash' >> /etc/passwd \\
      && echo 'agent:x:{AGENT_UID}:' >> /etc/group \\
      && mkdir -p /home/agent && chown {AGENT_UID}:{AGENT_UID} /home/agent; \\
    fi \\
    && git config --system --add safe.directory /testbed
COPY --from=build /env /env
COPY --from=build /gymforge /gymforge
COPY --from=build --chown={AGENT_UID}:{AGENT_UID} /testbed /testbed
WORKDIR /testbed
"""


class Harbor:
    """A folder for each task, by its id."""

    builds_images = True
    needs_image = True

    def write(self, tasks: Iterable[Playable], folder: Path) -> Written:
        count = 0
        for playable in tasks:
            _write_task(playable, folder / playable.task.instance_id)
            count += 1
        return Written(tasks=count, unseen_tests={}, left_out=(), no_image=())


def _write_task(playable: Playable, folder: Path) -> None:
    task, recipe = playable
    for name in ("environment", "solution", "tests"):
        (folder / name).mkdir(parents=True)
    command = shlex.join(task.test_command)
    texts = {
        "task.toml": _toml(playable),
        "instruction.md": f"{task.problem_statement}\n\nThe code is in `/testbed`. Its tests run with `{command}`.\n",
        "environment/Dockerfile": _dockerfile(recipe),
        "environment/bug.patch": task.bug_patch,
        "environment/test_files.txt": "".join(f"{path}\0" for path in recipe.ingestion.profile.test_files),
        "solution/solve.sh": _SOLVE,
        "solution/fix.patch": task.patch,
        "tests/test.sh": _TEST,
        "tests/tests.json": json.dumps(_tests(playable), indent=1) + "\n",
    }
    own = resources.files("storage.formats") / "harbor_files"
    texts |= {f"tests/{name}": (own / name).read_text(encoding="utf-8") for name in _GRADER}
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    for script in ("solution/solve.sh", "tests/test.sh"):
        (folder / script).chmod(0o755)
    write_context(recipe, folder / "environment")


def _dockerfile(recipe: Recipe) -> str:
    return build_stage(recipe) + _BUG + machine_variables(recipe.variables) + "\n"


def _tests(playable: Playable) -> dict[str, object]:
    """What the grader is told."""
    task, recipe = playable
    return {
        "command": task.test_command,
        "variables": dict(sorted(recipe.variables.items())),
        "user": AGENT_UID,
        "limit_s": _TESTS_LIMIT_S - 60,
        "FAIL_TO_PASS": task.FAIL_TO_PASS,
        "PASS_TO_PASS": task.PASS_TO_PASS,
    }


def _toml(playable: Playable) -> str:
    """TOML's strings are JSON's, but for one character."""
    task = playable.task

    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    keywords = [task.language, task.strategy, *sorted(label.label for label in task.domain)]
    return f"""\
schema_version = "1.1"

[task]
name = {text(f"gymforge/{task.instance_id}")}
description = {text(f"A bug in {task.repo}")}
keywords = [{", ".join(map(text, keywords))}]

[metadata]
repo = {text(task.repo)}
base_commit = {text(task.base_commit)}
license = {text(task.license_spdx)}
language = {text(task.language)}
strategy = {text(task.strategy)}
complexity = {task.complexity.score}
source = {text(playable.recipe.ingestion.url)}

[agent]
timeout_sec = {_AGENT_LIMIT_S}.0
user = {AGENT_UID}

[verifier]
timeout_sec = {_TESTS_LIMIT_S}.0
user = "root"

[environment]
build_timeout_sec = 1800.0
cpus = 1
memory_mb = 4096
storage_mb = 10240
"""
