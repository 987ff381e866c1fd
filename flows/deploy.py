"""Register what `prefect.yaml` describes on a Prefect server: work pools, deployments, and who ends dead runs."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.run import require_server
from schemas.errors import GymforgeError, InvalidInput
from schemas.model import Model

REAPER = "gymforge: runs whose process is gone"
FLOWS = ("refresh", "ingest-repository", "release", "check-health")
"""Flows of ours; runs of others on the same server are none of our business."""
SILENCE_S = 1800
"""A run that has said that it lives, and then says nothing for so long, is dead. Runs of `prefect.yaml` speak every
30 s, others every 3 minutes; a server that is started again, or a machine that sleeps, silences them for a while."""


class Deployed(Model):
    """What is on the server now."""

    server: str
    deployments: tuple[str, ...]
    """`flow/deployment`, sorted."""
    work_pools: tuple[str, ...]
    """Those that were made; others were there."""


def deploy(prefect_file: Path) -> Deployed:
    """Register everything in `prefect_file` on the server that `PREFECT_API_URL` names; again changes what differs.

    Raises:
        InvalidInput: the file cannot be read, Prefect does not understand it, or no server is named or answers.
    """
    server = os.environ.get("PREFECT_API_URL", "")
    if not server:
        raise InvalidInput(
            "No Prefect server is named. Start one (`prefect server start`, or docker/compose.yaml) and name it in "
            "PREFECT_API_URL, as in http://127.0.0.1:4200/api."
        )
    described = _read(prefect_file)
    require_server(server)
    made = _make_work_pools(sorted({one["work_pool"]["name"] for one in described if one.get("work_pool")}))
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", prefect_file.name],
        cwd=prefect_file.resolve().parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InvalidInput(f"Prefect does not accept {prefect_file}: {' '.join(told[-3:])}")
    _end_dead_runs()
    return Deployed(server=server, deployments=_deployments(described), work_pools=made)


def _read(prefect_file: Path) -> list[Mapping[str, Any]]:
    import yaml

    try:
        content = yaml.safe_load(prefect_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(
            f"cannot read {prefect_file}: {error}. Copy prefect.yaml from the project and change it."
        ) from None
    described = content.get("deployments") if isinstance(content, dict) else None
    if (
        not described
        or not isinstance(described, list)
        or not all(isinstance(one, dict) and {"name", "entrypoint"} <= one.keys() for one in described)
    ):
        raise InvalidInput(f"{prefect_file} describes no deployment with a name and an entrypoint.")
    for one in described:
        pool = one.get("work_pool")
        if pool and not (isinstance(pool, dict) and isinstance(pool.get("name"), str)):
            raise InvalidInput(
                f"{prefect_file}, deployment {one['name']}: work_pool is {pool!r}, and has to be a table with a name, "
                "as in `work_pool: {name: gymforge}`."
            )
    return list(described)


def _make_work_pools(names: list[str]) -> tuple[str, ...]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    made = []
    with get_client(sync_client=True) as client:
        for name in names:
            try:
                client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            except ObjectAlreadyExists:
                continue
            made.append(name)
    return tuple(made)


def _end_dead_runs() -> None:
    """Have the server mark a run as crashed that stopped saying that it lives: a killed machine cannot do so itself.

    This is Prefect's own way (an automation over heartbeats). Any event of a run counts as a sign of life, the one by
    which it ends as well.
    """
    from prefect.automations import Automation
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    wanted = Automation(
        name=REAPER,
        description="Runs that said that they live and then said nothing are marked as crashed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(FLOWS)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"Its process was not heard of for {SILENCE_S // 60} min. The next run goes on from there.",
            )
        ],
    )
    with get_client(sync_client=True) as client:
        present = client.read_automations_by_name(REAPER)
    if not present:
        wanted.create()
        return
    # An earlier gymforge, or other parameters, may have made it; whether it is at work is the user's affair.
    wanted.id, wanted.enabled = present[0].id, present[0].enabled
    wanted.update()


def _deployments(described: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """As the server has them: each must be there, or something was left out silently.

    A deployment's name is only its own together with that of its flow, which its entrypoint decides.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    wanted = {(str(one["name"]), str(one["entrypoint"])) for one in described}
    chosen = DeploymentFilter(name=DeploymentFilterName(any_=sorted({name for name, _ in wanted})))
    with get_client(sync_client=True) as client:
        present = client.read_deployments(deployment_filter=chosen)
        found = {(one.name, one.entrypoint): one for one in present}
        missing = sorted(name for name, entrypoint in wanted if (name, entrypoint) not in found)
        if missing:
            raise GymforgeError(f"Prefect said nothing, and did not register {', '.join(missing)}. Look at the file.")
        return tuple(sorted(f"{client.read_flow(found[one].flow_id).name}/{one[0]}" for one in wanted))
