"""Run SWE-smith's `harness.valid` as shipped, in a process of its own, and tell of each candidate on a descriptor.

Not for people: `swesmith.py` starts it with a request on its standard input. It needs nothing of ours, and its current
directory is where the harness keeps its logs. What is not SWE-smith's own: a profile, made here, which names an image
that is there instead of one to be pulled, and which asks nobody whether a repository is private; and containers get no
network. Its functions are wrapped to take the time, and are otherwise called as they are.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

_SET_DEATH_SIGNAL = 1
_REASONS = {"1+_f2p": "", "0_f2p": "no_test_failed", "timeout": "timed_out", "fail": "no_log"}
LOGS = Path("logs/run_validation")
"""Where the harness keeps its logs, in the current directory."""
NOT_RUN = "not_run"
"""The suite was never started, or its log never written: the engine's or the machine's trouble, and no verdict."""


def main() -> None:
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)  # never outlive who started this
    request = json.load(sys.stdin)
    os.environ |= {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    os.environ.pop("GITHUB_TOKEN", None)
    from swesmith.harness import valid
    from swesmith.profiles import registry

    profile = make_profile(request)
    registry.data[request["repo_name"]] = profile
    if profile().repo_name != request["repo_name"]:
        sys.exit(f"SWE-smith calls the repository {profile().repo_name}, and the ids say {request['repo_name']}")
    shut_in()
    with os.fdopen(request["events"], "w", encoding="utf-8") as events:
        take_times(events, request)
        valid.main(request["patches"], workers=request["workers"], redo_existing=False)


def make_profile(request: dict[str, Any]) -> type:
    """A profile for one repository, offline."""
    from swesmith.profiles.python import PythonProfile

    fixed = {
        "owner": request["owner"],
        "repo": request["repo"],
        "commit": request["commit"],
        "test_cmd": request["test_command"],
        "timeout": request["limit_s"],
        "timeout_ref": request["reference_limit_s"],
    }
    replaced = {
        "image_name": property(lambda _: request["image"]),
        "pull_image": lambda _: None,
        "clone": lambda *_: (_ for _ in ()).throw(RuntimeError("there is nothing to clone offline")),
        "_is_repo_private": lambda _: False,
        "_mirror_exists": lambda _: True,
    }
    fields = [(name, type(value), field(default=value)) for name, value in fixed.items()]
    return make_dataclass("Offline", fields, bases=(PythonProfile,), namespace=replaced)


def shut_in() -> None:
    """Give containers no network: bugged code runs in them as root. It also starts them quicker."""
    from docker.models.containers import ContainerCollection

    create = ContainerCollection.create
    ContainerCollection.create = lambda self, *args, **options: create(self, *args, **options, network_mode="none")


def take_times(events: Any, request: dict[str, Any]) -> None:
    """Wrap the functions whose times are wanted, and send an event for the reference and for each candidate."""
    from swesmith.harness import utils, valid

    marks = threading.local()
    lock = threading.Lock()
    began: list[float] = []

    def marking(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            started = time.monotonic()
            try:
                return function(*args, **options)
            finally:
                marks.seen[name] = (started, time.monotonic())

        return wrapped

    def send(event: dict[str, Any]) -> None:
        with lock:
            events.write(json.dumps(event) + "\n")
            events.flush()

    run_in_container, run_validation = valid.run_patch_in_container, valid.run_validation

    def reference_or_bug(instance: dict[str, Any], *args: Any, **options: Any) -> Any:
        if "patch" in instance:
            return run_in_container(instance, *args, **options)
        marks.seen = {}
        started = time.monotonic()
        found = run_in_container(instance, *args, **options)
        send({"event": "reference", "seconds": time.monotonic() - started})
        return found

    def candidate(instance: dict[str, Any]) -> Any:
        started = time.monotonic()
        with lock:
            began.append(started)
        marks.seen = {}
        reason = "harness_failed"
        try:
            result = run_validation(instance)
            reason = _REASONS[result["status"]] if "tests" in marks.seen else NOT_RUN
        except OSError:  # a disk that is full, logs that somebody took away
            reason = NOT_RUN
            raise
        finally:
            ended = time.monotonic()
            send(
                {
                    "event": "candidate",
                    "id": instance["instance_id"],
                    "started_s": started - began[0],
                    "ended_s": ended - began[0],
                    "phases_s": phases(marks.seen, started),
                    "reason": reason,
                    **report(instance["instance_id"], request["repo_name"]),
                }
            )
        return result

    utils.PatchSet = marking("patch", utils.PatchSet)  # read when the container has started
    utils.exec_run_with_timeout = marking("tests", utils.exec_run_with_timeout)
    utils.cleanup_container = marking("clean_up", utils.cleanup_container)
    valid.run_patch_in_container = reference_or_bug
    valid.run_validation = candidate


def phases(seen: dict[str, tuple[float, float]], started: float) -> dict[str, float]:
    """Seconds by phase; none where the harness gave up on the way."""
    if not {"patch", "tests", "clean_up"} <= seen.keys():
        return {}
    found = {
        "start": seen["patch"][0] - started,
        "apply": seen["tests"][0] - seen["patch"][0],
        "tests": seen["tests"][1] - seen["tests"][0],
        "clean_up": seen["clean_up"][1] - seen["clean_up"][0],
    }
    return {phase: round(seconds, 4) for phase, seconds in found.items()}


def report(instance_id: str, repo_name: str) -> dict[str, Any]:
    """What the harness wrote about a candidate."""
    place = LOGS / repo_name / instance_id / "report.json"
    found = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    return {"failing": sorted(found.get("FAIL_TO_PASS", ())), "passing": len(found.get("PASS_TO_PASS", ()))}


if __name__ == "__main__":
    main()
