"""Anchor "swesmith": the library's own `harness.valid` as shipped, offline, on the same image, candidates and command.

It runs in a process of its own (`swesmith_child.py`), for it changes the environment and the current directory's files.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import APIError

from benchmarks.anchors import protocol
from benchmarks.anchors.figures import Figures, figures
from benchmarks.anchors.image import build_image, engine, told, variables
from benchmarks.anchors.results import Measured, Measurement, Reference, Store, load, machine
from benchmarks.anchors.subject import Chosen, Subject
from benchmarks.anchors.swesmith_child import LOGS, NOT_RUN
from schemas.errors import SandboxFailed

ANCHOR = "swesmith"
_CHILD = Path(__file__).with_name("swesmith_child.py")
_REFERENCE_LIMIT_S = 900


def measure(
    subject: Subject, *, size: int = 20, seed: int = 0, workers: int = 1, tell: Callable[[str], None] = lambda _: None
) -> Figures:
    """Run what is missing of the sample, and sum up.

    Raises:
        GymforgeError: no engine answers, the image does not build, the harness gives up.
    """
    measurement = Measurement(subject, ANCHOR, size, seed, workers)
    with Store.open(measurement.path) as store:
        todo = measurement.left(store)
        if todo:
            folder = measurement.path.with_suffix("")
            with told(), engine() as api:
                image = build_image(subject, api)
                store.begin(machine=machine(api.version()["Version"]))
                remove_leftovers(api, repo_name(subject))
            ready(folder, repo_name(subject), todo)
            for line in events(request(subject, image, folder, todo, workers=workers), todo, folder):
                kept = line.model_copy(update={"session": store.session})
                if isinstance(kept, Measured):
                    if kept.reason == NOT_RUN:
                        raise SandboxFailed(f"SWE-smith's harness could not run {kept.id}: {why(folder, kept.id)}")
                    kept = kept.model_copy(update={"facts": facts(folder, kept), "load": load()})
                    tell(f"{kept.id}: {kept.reason or 'accepted'}, {kept.seconds:.1f} s")
                store.append(kept)
        left = measurement.left(store)
        if left:
            raise SandboxFailed(f"SWE-smith's harness said nothing of {left[0].id} and {len(left) - 1} more")
        return figures(measurement, store)


def facts(folder: Path, line: Measured) -> Mapping[str, tuple[str, ...]]:
    """Which tests the log of a candidate does not tell of (`unread`), where it has one."""
    name = line.id.rpartition(".")[0]
    logs = [folder / LOGS / name / which / "test_output.txt" for which in (f"{name}.ref", line.id)]
    if line.reason in {"no_log", "timed_out"} or not all(log.exists() for log in logs):
        return {}
    found = protocol.unread(*(protocol.read_log(log.read_text(encoding="utf-8", errors="replace")) for log in logs))
    return {"unread": found} if found else {}


def why(folder: Path, instance_id: str) -> str:
    """The end of what the harness wrote about a candidate."""
    log = folder / LOGS / instance_id.rpartition(".")[0] / instance_id / "run_instance.log"
    return log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else f"{log} is missing"


def repo_name(subject: Subject) -> str:
    """`owner__repo.commit8`: what SWE-smith calls the repository, and what every candidate's id begins with."""
    return subject.ids[0].rpartition(".")[0]


def request(
    subject: Subject, image: str, folder: Path, todo: Sequence[Chosen], *, workers: int
) -> Mapping[str, object]:
    """What the child is told; writes the patches as the harness reads them."""
    name = repo_name(subject)
    patches = [{"instance_id": one.id, "repo": name, "patch": one.candidate.bug_patch} for one in todo]
    (folder / "patches.json").write_text(json.dumps(patches), encoding="utf-8")
    owner, _, repo = name.rpartition(".")[0].partition("__")
    return {
        "repo_name": name,
        "owner": owner,
        "repo": repo,
        "commit": subject.ref.commit,
        "image": image,
        "test_command": protocol.shell_command(subject.test_command, variables(subject)),
        "limit_s": protocol.limit_s(subject.suite_s),
        "reference_limit_s": _REFERENCE_LIMIT_S,
        "patches": str(folder / "patches.json"),
        "workers": workers,
    }


def ready(folder: Path, name: str, todo: Sequence[Chosen]) -> None:
    """Take away what a run that was killed left half done: the harness would build on it."""
    logs = folder / LOGS / name
    logs.mkdir(parents=True, exist_ok=True)
    for one in todo:
        shutil.rmtree(logs / one.id, ignore_errors=True)
    reference = logs / f"{name}.ref"
    log = reference / "test_output.txt"
    if not (log.exists() and protocol.read_log(log.read_text(encoding="utf-8", errors="replace"))):
        shutil.rmtree(reference, ignore_errors=True)


def remove_leftovers(api: Any, name: str) -> None:
    """Remove containers of a run that was killed; the harness would stumble over their names."""
    for container in api.containers(all=True, filters={"name": f"swesmith.val.{name}."}):
        with suppress(APIError):
            api.remove_container(container["Id"], force=True, v=True)


def events(asked: Mapping[str, object], todo: Sequence[Chosen], folder: Path) -> Iterator[Reference | Measured]:
    """Run the child and give a line for each thing that it tells of.

    Raises:
        SandboxFailed: it ended with an error.
    """
    positions = {one.id: one.position for one in todo}
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as said, os.fdopen(reading, encoding="utf-8") as lines:
        child = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
        )
        os.close(writing)
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps({**asked, "events": writing}).encode())
            child.stdin.close()
            for line in lines:
                yield _line(json.loads(line), positions)
            status = child.wait()
        finally:
            child.kill()
            child.wait()
        if status != 0:
            said.seek(0)
            raise SandboxFailed(
                f"SWE-smith's harness ended with {status}: {said.read()[-3000:].decode(errors='replace')}"
            )


def _line(event: dict[str, Any], positions: Mapping[str, int]) -> Reference | Measured:
    if event.pop("event") == "reference":
        return Reference(session=0, seconds=event["seconds"], passed=0)
    return Measured(session=0, position=positions[event["id"]], accepted=not event["reason"], **event)
