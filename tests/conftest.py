"""Skips that say why, and that are failures where the environment promises the part (`GYMFORGE_REQUIRE=docker,sandbox`)."""

import os
from pathlib import Path

import pytest


def _missing() -> dict[str, str]:
    from schemas.errors import GymforgeError
    from validation.sandbox.select import open_backend

    missing = {}
    for marker, kind in (("docker", "docker"), ("sandbox", "local")):
        try:
            open_backend(kind, cache_dir=Path(os.environ.get("TMPDIR", "/tmp")) / "gymforge-probe")
        except GymforgeError as error:
            missing[marker] = str(error)
    return missing


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not any(item.get_closest_marker(name) for item in items for name in ("docker", "sandbox")):
        return
    missing = _missing()
    required = set(filter(None, os.environ.get("GYMFORGE_REQUIRE", "").split(",")))
    if required & set(missing):
        reasons = "; ".join(f"{name}: {missing[name]}" for name in sorted(required & set(missing)))
        raise pytest.UsageError(f"GYMFORGE_REQUIRE asks for what this machine lacks: {reasons}")
    for item in items:
        for name, reason in missing.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{name} is not available here: {reason}"))


@pytest.fixture(autouse=True)
def _no_stray_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in os.environ
        if name.startswith("GYMFORGE_") and name not in {"GYMFORGE_REQUIRE", "GYMFORGE_BASE_IMAGE"}
    ]:
        monkeypatch.delenv(name)
