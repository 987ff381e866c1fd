"""`docker/compose.yaml`: database, server and worker start from one base image and have the schedules."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.compose]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sources that git has, as after a clone, with the CA bundle that this machine uses."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / "project" / name)
    bundle = os.environ.get("SSL_CERT_FILE")
    if bundle:
        shutil.copyfile(bundle, tmp_path / "project" / "docker" / "ca.pem")
    return tmp_path / "project"


@pytest.fixture
def server(project: Path, tmp_path: Path) -> Iterator[str]:
    work = tmp_path / "work"
    work.mkdir()
    shutil.copyfile(project / "prefect.yaml", work / "prefect.yaml")
    (work / "repositories.toml").write_text('[[repository]]\nsource = "tinystats.bundle"\n')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    command = [*compose, "--project-name", f"gymforge{port}", "--file", str(project / "docker" / "compose.yaml")]
    environment = os.environ | {
        "GYMFORGE_WORK": str(work),
        "PREFECT_PORT": str(port),
        "BASE_IMAGE": os.environ.get("GYMFORGE_BASE_IMAGE", "debian:bookworm-slim"),
        "DOCKER_BUILDKIT": "0",
    }
    try:
        subprocess.run([*command, "up", "--build", "--detach"], env=environment, check=True, capture_output=True)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        logs = subprocess.run([*command, "logs", "--tail=20"], env=environment, capture_output=True, check=False)
        print(logs.stdout.decode(errors="replace"))
        down = [*command, "down", "--volumes", "--rmi", "local"]
        subprocess.run(down, env=environment, check=False, capture_output=True)
        subprocess.run(["docker", "image", "rm", "gymforge/prefect"], check=False, capture_output=True)


def test_the_schedules_are_on_the_server_and_a_worker_is_there_for_them(server: str) -> None:
    end = time.monotonic() + 240

    def ask(path: str) -> list[dict[str, str]]:
        try:
            return list(httpx.post(f"{server}/{path}", json={}, trust_env=False).raise_for_status().json())
        except httpx.HTTPError:
            return []

    while not (workers := ask("work_pools/gymforge/workers/filter")):
        assert time.monotonic() < end, "no worker"
        time.sleep(1)
    assert {one["name"] for one in ask("deployments/filter")} == {"nightly", "weekly", "daily"}
    assert workers[0]["status"] == "ONLINE"
    # The database is of UTF-8: in another encoding, what has other letters is refused.
    name = "dépôts, 数"
    made = httpx.post(f"{server}/variables/", json={"name": "letters", "value": name}, trust_env=False)
    assert (made.status_code, made.json()["value"]) == (201, name)
    needed = (
        "datasketch, detect_secrets, huggingface_hub, license_expression, matplotlib, phonenumbers, stdnum, tldextract"
    )
    has = subprocess.run(
        [
            "docker",
            "run",
            "--rm",
            "--network",
            "none",
            "gymforge/prefect",
            "python",
            "-c",
            f"import {needed}, jinja2, unidiff",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert has.returncode == 0, has.stderr
