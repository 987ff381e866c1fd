"""The name of an environment: a hash of what decides how it behaves; pure."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime

from schemas.repo import RepoProfile, RepoRef, SandboxKind
from validation.dependencies import Target, canonical_json

BUILDER_VERSION = 1
"""Raised when the same inputs would give another environment."""


def environment_key(
    ref: RepoRef,
    profile: RepoProfile,
    *,
    target: Target,
    sandbox: SandboxKind,
    dependencies: Sequence[str],
) -> str:
    """SHA-256 over what decides how an environment behaves; pure, and the same on any machine."""
    inputs = {
        "builder": BUILDER_VERSION,
        "repository": ref.name,
        "commit": ref.commit,
        "version": ref.version,
        "install": profile.install.model_dump(mode="json"),
        "environment": dict(profile.environment),
        "python": target.python_version,
        "machine": target.machine,
        "sandbox": sandbox.value,
        "dependencies": sorted(dependencies),
    }
    return hashlib.sha256(canonical_json(inputs)).hexdigest()


def image_name(repository: str, key: str) -> str:
    """`gymforge/owner__repo:KEY12`, a valid Docker reference whatever the repository is called."""
    parts = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") or "x" for part in repository.split("/"))
    return f"gymforge/{'__'.join(parts)[:200].rstrip('-_')}:{key[:12]}"


def request_key(ref: RepoRef, profile: RepoProfile, *, target: Target, cutoff: datetime | None) -> str:
    """SHA-256 over what a resolution depends on, apart from the day; both kinds of sandbox share it."""
    inputs = {
        "builder": BUILDER_VERSION,
        "repository": ref.name,
        "commit": ref.commit,
        "install": profile.install.model_dump(mode="json"),
        "environment": dict(profile.environment),
        "target": target.model_dump(mode="json"),
        "cutoff": None if cutoff is None else cutoff.isoformat(),
    }
    return hashlib.sha256(canonical_json(inputs)).hexdigest()
