"""Find out how to build and test a repository, without running any of its code; a user's file has the last word."""

import importlib
from pathlib import Path
from typing import Protocol, cast

from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from extractors.profile_file import ProfileFile, read_profile_file, resolve_paths
from extractors.python_project.requirements import read_requirement
from extractors.syntax import language_of
from extractors.tree import Tree
from schemas.errors import InvalidInput, ProfileFailed
from schemas.repo import Language, RepoProfile

DETECTORS = {Language.PYTHON: "extractors.python_project.profile:detect"}
"""Language to the function that detects its profile, imported when it is needed."""


def code_files(tree: Path, language: Language) -> list[str]:
    """All files of a language, tests included, sorted."""
    return [path for path in Tree(tree).files if language_of(path) is language]


class Detector(Protocol):
    def __call__(self, tree: Path, /) -> RepoProfile:
        """The profile as the files tell it; `source_files` and `test_files` are empty where there are none."""
        ...


def profile_repository(tree: Path, *, config: Path | None = None) -> RepoProfile:
    """The profile of a checkout: detected, then overridden by `config` or the repository's own `gymforge.toml`.

    Raises:
        ProfileFailed: nothing there can be built and tested, or a file of the repository cannot be parsed.
        InvalidInput: the overriding file is wrong.
    """
    values = read_profile_file(tree, config)
    stated = values.profile.get("language")
    if stated is not None and stated not in DETECTORS:
        msg = f"{values.where}: language {stated.value!r} has no profile detector; use one of {', '.join(DETECTORS)}"
        raise InvalidInput(msg)
    languages = [stated] if stated else list(DETECTORS)
    failures: list[str] = []
    for language in languages:
        profile = _overridden(_detector(language)(tree), values, tree)
        missing = _missing(profile)
        if not missing:
            return profile
        failures.append(f"{language.value}: {missing}")
    hint = "say where things lie in a gymforge.toml (docs/profile.md)"
    msg = f"nothing to build tasks from ({'; '.join(failures)}); {hint}"
    raise ProfileFailed(msg)


def _detector(language: Language) -> Detector:
    module, _, name = DETECTORS[language].partition(":")
    return cast("Detector", getattr(importlib.import_module(module), name))


def _overridden(profile: RepoProfile, values: ProfileFile, tree: Path) -> RepoProfile:
    if not values.profile and not values.install:
        return profile
    stated = resolve_paths(tree, values)
    _check_install(values)
    install = profile.install.model_copy(update=dict(values.install))
    provenance = dict(profile.provenance)
    provenance |= dict.fromkeys(stated, values.where)
    provenance |= {f"install.{key}": values.where for key in values.install}
    if "source_files" in stated:
        stated.setdefault("excluded", {})
    return profile.model_copy(update={**stated, "install": install, "provenance": dict(sorted(provenance.items()))})


def _check_install(values: ProfileFile) -> None:
    """Requirements and versions are checked where they are read, so that the message can name the key."""
    for key in ("requirements", "build_requires"):
        for text in values.install.get(key, ()):
            try:
                read_requirement(text)
            except InvalidRequirement as error:
                what = f"{text!r}, which is not a requirement ({str(error).splitlines()[0]})"
                msg = f"{values.where}: install.{key} holds {what}; write it such as pytest>=8"
                raise InvalidInput(msg) from None
    try:
        SpecifierSet(values.install.get("requires_python", ""))
    except InvalidSpecifier as error:
        msg = f"{values.where}: install.requires_python is not a version specifier, such as >=3.10 ({error})"
        raise InvalidInput(msg) from None


def _missing(profile: RepoProfile) -> str:
    """What a profile lacks to be of use, and where it was looked for; empty where nothing."""
    if not profile.source_files:
        excluded = f", {len(profile.excluded)} files left out" if profile.excluded else ""
        return f"no source files: looked for declared packages, src/, packages and modules in the root{excluded}"
    if not profile.test_files:
        return (
            "no tests: looked in pytest's testpaths, folders such as tests/, and for files such as test_*.py; "
            f"source files are {profile.provenance['source_files']}"
        )
    return ""
