"""Fixtures of the extractors' tests."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """`(index, tasks)` of the bundled sample package."""
    spec = importlib.util.spec_from_file_location("sample_tasks", Path(__file__).with_name("sample_tasks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(tmp_path_factory.mktemp("sample"))
