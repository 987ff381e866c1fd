"""What a row says, as one hash; needs no pyarrow."""

import hashlib
import json
from datetime import UTC

from schemas.tasks import TaskInstance


def content_hash(task: TaskInstance) -> str:
    """SHA-256 over the row's other fields in canonical JSON (keys sorted, no spaces, UTF-8, times in UTC).

    Raises:
        ValueError: a text is not UTF-8 (it holds a lone surrogate), or a number is not finite.
    """
    fields = task.model_dump(mode="json", exclude={"content_hash"})
    fields["created_at"] = task.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(task: TaskInstance) -> TaskInstance:
    """The same task with its `content_hash` filled in."""
    return task.model_copy(update={"content_hash": content_hash(task)})
