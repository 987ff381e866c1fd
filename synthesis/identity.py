"""Names and seeds that depend on content alone."""

import hashlib
import json
import re

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")


def instance_id(repo_name: str, commit: str, strategy: str, bug_patch: str) -> str:
    """`owner__repo.<commit, 8>.<strategy>__<hash, 10>`: two dots, and none inside of a part.

    The hash is over repository, commit and bug patch. `repo_name` is `owner/repo`; characters that file systems or
    SWE-smith's ids cannot hold become a hyphen in the id, and still count in the hash.
    """
    owner, _, name = repo_name.rpartition("/")
    digest = stable_hash(repo_name, commit, bug_patch)
    repository = f"{_plain(owner or 'local')}__{_plain(name)}"
    return f"{repository}.{commit[:8]}.{_plain(strategy)}__{digest[:10]}"


def stable_hash(*parts: str | int) -> str:
    """SHA-256 in hex over a list of values; different lists never look alike."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def derive_seed(seed: int, *parts: str | int) -> int:
    """A seed for one purpose, between 0 and 2**63; unrelated to the seeds of other purposes."""
    return int(stable_hash(seed, *parts)[:16], 16) >> 1


def _plain(text: str) -> str:
    return _NOT_PLAIN.sub("-", text)
