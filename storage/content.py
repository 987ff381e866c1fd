"""What a row says, as one hash; needs no pyarrow."""

import hashlib
import json
from datetime import UTC

from schemas.tasks import TaskInstance

_ADDED = ("attribution", "source_hash")
"""Fields of later versions: a row that does not have them has the hash that it had."""


def source_hash(source: bytes) -> str:
    """SHA-256 of a file's words, so that line ends and indentation make no difference between copies."""
    return hashlib.sha256(b" ".join(source.split())).hexdigest()


def content_hash(task: TaskInstance) -> str:
    """SHA-256 over the row's other fields in canonical JSON (keys sorted, no spaces, UTF-8, times in UTC).

    Fields that the row's version did not have are left out.

    Raises:
        ValueError: a text is not UTF-8 (it holds a lone surrogate), or a number is not finite.
    """
    unknown = {name for name in _ADDED if getattr(task, name) is None}
    fields = task.model_dump(mode="json", exclude={"content_hash", *unknown})
    fields["created_at"] = task.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(task: TaskInstance) -> TaskInstance:
    """The same task with its `content_hash` filled in."""
    return task.model_copy(update={"content_hash": content_hash(task)})
