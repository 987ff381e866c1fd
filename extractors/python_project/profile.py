"""Detect the profile of a Python repository: every value with the place where it was found."""

from pathlib import Path

from extractors.python_project.metadata import Metadata, read_metadata
from extractors.python_project.packages import find_packages
from extractors.python_project.pytest_config import read_pytest_config
from extractors.python_project.setup_files import read_setup_files
from extractors.python_project.sources import sort_files
from extractors.python_project.suite_requirements import SuiteRequirements, suite_requirements
from extractors.python_project.tox import read_tox
from extractors.tree import Tree
from schemas.repo import InstallSpec, Language, RepoProfile


def detect(tree: Path) -> RepoProfile:
    """The profile as the files of `tree` tell it; source and test files may be empty, for the caller to judge.

    Raises:
        ProfileFailed: a file that matters cannot be parsed.
    """
    files = Tree(tree)
    setup = read_setup_files(files)
    metadata = read_metadata(files, setup)
    config = read_pytest_config(files)
    tox = read_tox(files, own_name=metadata.name)
    packages = find_packages(files, name=metadata.name, setup=setup)
    sources = sort_files(files, packages, config)
    suite = suite_requirements(files, metadata, setup, tox, config, sources.test_files)
    requirements = sorted(
        {*metadata.runtime.requirements, *suite.found.requirements}, key=lambda line: (line.lower(), line)
    )
    install = InstallSpec(
        project=metadata.installable,
        build_requires=metadata.build_requires,
        requirements=tuple(requirements),
        extras=tuple(sorted(suite.found.extras)) if metadata.installable else (),
        dynamic_dependencies=metadata.installable and metadata.dynamic,
        requires_python=metadata.requires_python,
    )
    provenance = {
        "language": "default",
        "source_files": f"{packages.layout} layout: {', '.join(packages.roots)} ({packages.where})",
        "test_files": sources.test_where,
        "test_command": f"default, paths from {sources.test_where}",
        "environment": tox.where if tox.variables else "default",
        "excluded": "names and contents of the packages' files",
        **_install_provenance(files, metadata, suite),
    }
    return RepoProfile(
        language=Language.PYTHON,
        source_files=sources.source_files,
        test_files=sources.test_files,
        install=install,
        test_command=("python", "-m", "pytest", *sources.test_paths),
        environment=dict(sorted(tox.variables.items())),
        excluded=dict(sorted(sources.excluded.items())),
        provenance=dict(sorted(provenance.items())),
    )


def _install_provenance(files: Tree, metadata: Metadata, suite: SuiteRequirements) -> dict[str, str]:
    described = [path for path in ("pyproject.toml", "setup.cfg", "setup.py") if files.has(path)]
    left_out = (metadata.runtime + suite.found).left_out
    places = [metadata.runtime_where] if metadata.runtime.requirements or metadata.dynamic else []
    return {
        "install.project": ", ".join(described) if metadata.installable else "default",
        "install.build_requires": metadata.build_where if metadata.installable else "default",
        "install.requirements": "; ".join([*places, suite.where]) + _note(left_out),
        "install.extras": suite.where if suite.found.extras else "default",
        "install.dynamic_dependencies": metadata.runtime_where if metadata.installable else "default",
        "install.requires_python": metadata.python_where,
    }


def _note(left_out: tuple[str, ...]) -> str:
    return f" (left out: {', '.join(left_out[:20])})" if left_out else ""
