"""The packages, their layers and the wheel name the same roots."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages() -> set[str]:
    return {path.parent.name for path in ROOT.glob("*/__init__.py")}


def test_every_package_is_in_the_layers() -> None:
    contracts = CONFIG["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert {name.strip() for layer in layers for name in layer.split("|")} == packages()


def test_every_package_is_checked_and_shipped_with_its_types() -> None:
    assert set(CONFIG["tool"]["importlinter"]["root_packages"]) == packages()
    # hrm's types need torch, which not everybody has: `make types` looks at it apart, where torch is.
    assert set(CONFIG["tool"]["mypy"]["packages"]) == packages() - {"hrm"}
    assert "$(BIN)/mypy -p hrm" in (ROOT / "Makefile").read_text()
    assert set(CONFIG["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == packages()
    assert all((ROOT / name / "py.typed").is_file() for name in packages())


def test_the_docker_folder_does_not_shadow_the_docker_sdk() -> None:
    assert not list((ROOT / "docker").rglob("*.py"))
