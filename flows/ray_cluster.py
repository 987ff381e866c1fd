"""Validations on a Ray cluster: the same task runs as on this machine, given to its nodes by prefect-ray."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import signal
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from flows.progress import listener
from schemas.errors import InvalidInput, MissingExtra, SandboxFailed, Unfinished
from storage.manifest import gymforge_version
from validation.sandbox.protocol import MIB
from validation.validate import Proof

if TYPE_CHECKING:
    from flows.bench import Brief
    from flows.judging import Wave
    from flows.pipeline import Pipeline
    from flows.ray_node import Collected, Handed, Share, Worker

ADDRESS = re.compile(r"(?P<client>ray://)?(?P<host>[^\s/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_KNOCK_S = 10.0
_POLL_S = 0.2
_PIECE_BYTES = 64 * MIB
_MOST_DEATHS = 3
"""Workers that may die at one candidate: nodes do, and candidates should not be the reason."""
_RETURN_S = 300.0
"""How long a cluster may have no core to work on."""
_PASSED_ON = ("GYMFORGE_BASE_IMAGE",)
"""Variables that nodes take from the driver."""


def require_cluster(address: str) -> None:
    """See that something listens at `address`, before anything is begun.

    Raises:
        InvalidInput: the address has no known form, or nothing answers.
        MissingExtra: Ray or prefect-ray is not installed.
    """
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise InvalidInput(
            f"{address!r} is no address of a Ray cluster. Write HOST:PORT of its head, as `ray start --head` tells it, "
            "on a machine that has joined the cluster, or ray://HOST:10001 from elsewhere."
        )
    if any(importlib.util.find_spec(name) is None for name in ("ray", "prefect_ray")):
        raise MissingExtra("A Ray cluster needs Ray and prefect-ray: `pip install 'gymforge[ray]'`")
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=_KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"No Ray cluster answers at {address} ({error}). Start one (`ray start --head --port {found['port']}`), or "
            "correct --ray."
        ) from error
    _require_grpc(address, f"{found['host']}:{found['port']}")


def _require_grpc(address: str, target: str) -> None:
    """Look for what Ray speaks: of anything else it would learn after five minutes."""
    import grpc

    if os.environ.get("RAY_USE_TLS", "0") != "0":  # Ray itself knows its certificates
        return
    with grpc.insecure_channel(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_KNOCK_S)
        except grpc.FutureTimeoutError as error:
            raise InvalidInput(
                f"What answers at {address} is no Ray cluster: it does not speak gRPC. Correct --ray: `ray start "
                "--head` tells the address."
            ) from error


class _Hired(NamedTuple):
    worker: Worker
    future: Any


class Cluster:
    """Judges waves on a cluster, a worker for each core that it offers."""

    def __init__(self, pipeline: Pipeline, task: Any, runner: Any) -> None:
        self._pipeline = pipeline
        self._task = task
        self._runner = runner
        self._handed: tuple[Brief, Handed] | None = None
        self._desk: Any = None
        self._hired: list[_Hired] = []
        self.shares: list[Share] = []
        """What workers did that have come to their end."""
        self._cores = 0
        self._in_vain = 0
        """Workers that were lost since the last verdict."""

    @property
    def size(self) -> int:
        """Workers that the cluster has room for now.

        Raises:
            Unfinished: it has had none for a while.
        """
        import ray

        deadline = monotonic() + _RETURN_S
        while not (cores := int(ray.cluster_resources().get("CPU", 0))):
            if self._pipeline.stopping.wait(1.0):
                return 0
            if monotonic() > deadline:
                raise Unfinished(
                    f"The Ray cluster at {self._pipeline.settings.ray} has no node with a CPU left. Start one "
                    "(`ray start --address ...`) and run the same command again: what is finished is kept."
                )
        if cores != self._cores:
            nodes = sum(node["Alive"] for node in ray.nodes())
            listener().fact(f"The Ray cluster has {cores} cores on {nodes} nodes")
            self._cores = cores
        return cores

    def judge(self, wave: Wave) -> None:
        """Judge all of a wave; until then, every verdict is kept soon after it is reached.

        Raises:
            GymforgeError: a node cannot judge; what is finished is kept.
        """
        pipeline = self._pipeline
        desk, handed = self._set_up(pipeline.brief)
        self._give(wave, desk)
        while (state := self._collect(desk)).open or self._give(wave, desk):
            if pipeline.stopping.is_set() or wave.closed:
                self.close()
                return
            for _ in range(min(state.waiting, self.size - len(self._hired)) if state.waiting else 0):
                self._hire(handed, desk)
            pipeline.count(for_s=_POLL_S)
            self._dismiss(desk)
            self._give(wave, desk)

    def close(self) -> None:
        """Give nothing more to the workers, wait for them to end, and keep what they still find."""
        import ray

        if self._desk is None:
            return
        begun = ray.get(self._desk.close.remote())
        for hired in list(self._hired):
            if hired.worker.name not in begun:  # it may wait long for a core, and would find nothing to do
                ray.cancel(hired.future.wrapped_future)
                self._hired.remove(hired)
        while self._hired:
            self._dismiss(self._desk)
            self._collect(self._desk)
        ray.kill(self._desk)
        self._desk = None

    def _set_up(self, brief: Brief) -> tuple[Any, Handed]:
        """The desk and what workers need; new ones where candidates are judged by another brief than before."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from flows.ray_node import Desk

        if self._handed is not None and self._handed[0] is not brief:
            self.close()
        handed = self._hand_out(brief)
        if self._desk is None:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            self._desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()
        return self._desk, handed

    def _give(self, wave: Wave, desk: Any) -> bool:
        """Lay all on the desk that the wave gives now; whether there was anything."""
        import ray

        jobs = []
        while (position := wave.take()) is not None:
            jobs.append(self._pipeline.job(position))
        if jobs:
            ray.get(desk.add.remote(jobs))
        return bool(jobs)

    def _collect(self, desk: Any) -> Collected:
        """Keep what was found; returns how things stand."""
        import ray

        state: Collected = ray.get(desk.collect.remote())
        for position, packed in state.found:
            self._pipeline.keep(position, Proof.model_validate_json(zlib.decompress(packed)))
        self._in_vain = 0 if state.found else self._in_vain
        return state

    def _hire(self, handed: Handed, desk: Any) -> None:
        from prefect_ray.context import remote_options

        from flows.ray_node import Worker

        worker = Worker(uuid4().hex, handed, desk)
        # No retries of Ray's own: what a lost worker was at is known here alone.
        with remote_options(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD"), _server_not_needed():
            self._hired.append(_Hired(worker, self._runner.submit(self._task, {"work": worker})))

    def _dismiss(self, desk: Any) -> None:
        """Wait a moment; then see who has ended, and have the jobs of the dead done by others."""
        import ray

        references = {hired.future.wrapped_future: hired for hired in self._hired}
        if not references:
            return
        ended, _ = ray.wait(list(references), num_returns=1, timeout=_POLL_S, fetch_local=False)
        for reference in ended:
            hired = references[reference]
            self._hired.remove(hired)
            death = self._end(hired.future)
            if not death:
                continue
            listener().fact(f"A worker of the Ray cluster was lost ({death}); others do its work")
            self._in_vain += 1
            deaths = ray.get(desk.lost.remote(hired.worker.name))
            if deaths >= _MOST_DEATHS or self._in_vain > _MOST_DEATHS * self._cores:
                raise SandboxFailed(
                    f"Workers of the Ray cluster die again and again and judge nothing; the last: {death}. See that "
                    "its nodes have memory enough, and run the same command again: what is finished is kept."
                )

    def _end(self, future: Any) -> str:
        """How the process of an ended worker died; empty where it came to its end.

        Raises:
            GymforgeError: what the worker raised, or that it could not begin.
            RayError: the cluster itself is in trouble.
        """
        from prefect.exceptions import CrashedRun
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RaySystemError, RayTaskError, WorkerCrashedError

        try:
            self.shares.append(future.result())
        except (NodeDiedError, OutOfMemoryError, WorkerCrashedError, CrashedRun) as error:
            return _first_line(error)
        except (RaySystemError, RayTaskError) as error:
            raise InvalidInput(
                f"A node of the Ray cluster cannot run gymforge: {str(error).strip().splitlines()[-1]}. Install the "
                "same versions of gymforge, Prefect and Ray on every node."
            ) from error
        return ""

    def _hand_out(self, brief: Brief) -> Handed:
        """Put what workers need where nodes can fetch it; the environment once, the brief when it changes."""
        import ray

        from flows.ray_node import Handed

        if self._handed is not None and self._handed[0] is brief:
            return self._handed[1]
        pieces = self._handed[1].environment if self._handed is not None else self._pieces(brief)
        handed = Handed(ray.put(brief), pieces, gymforge_version())
        self._handed = (brief, handed)
        return handed

    def _pieces(self, brief: Brief) -> tuple[Any, ...]:
        import ray

        references, waiting = [], bytearray()

        def take(piece: bytes) -> None:
            waiting.extend(piece)
            if len(waiting) >= _PIECE_BYTES:
                references.append(ray.put(bytes(waiting)))
                waiting.clear()

        self._pipeline.backend.send(brief.environment.image_name, take)
        return (*references, ray.put(bytes(waiting)))


@contextmanager
def open_cluster(pipeline: Pipeline, task: Any) -> Iterator[Cluster]:
    """Join the cluster that the settings name, as the driver of a job; the job ends with the block.

    `task` is the Prefect task that runs on nodes; its parameter `work` is what a node has to call.

    Raises:
        InvalidInput: there is no cluster, or it is of another version.
        MissingExtra: Ray or prefect-ray is not installed.
        Unfinished: the cluster was lost; what is finished is kept.
    """
    address = pipeline.settings.ray
    assert address is not None
    require_cluster(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from prefect_ray import RayTaskRunner

    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        with _signals_left_alone():
            ray.init(
                address,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace=f"gymforge-{uuid4().hex}",
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise InvalidInput(
            f"What answers at {address} is no Ray cluster that this machine can join: {_first_line(error)}"
        ) from error
    try:
        with RayTaskRunner() as runner:
            cluster = Cluster(pipeline, task, runner)
            yield cluster
            cluster.close()
    except ray.exceptions.RayError as error:
        raise Unfinished(
            f"The Ray cluster at {address} was lost ({_first_line(error)}). When it is back, run the same command "
            "again: what is finished is kept."
        ) from error
    finally:
        ray.shutdown()


@contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Ray gives SIGTERM a handler of its own, which knows nothing of validations under way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _server_not_needed() -> Iterator[None]:
    """Inside, what is submitted does not look for Prefect's server first: a node may have no way to it."""
    from prefect.settings import PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED, temporary_settings

    with temporary_settings(updates={PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}):
        yield


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
