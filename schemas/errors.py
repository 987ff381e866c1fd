"""The error tree. A message says what failed, where, and what to do next.

::

    GymforgeError                    exit code
    ├── InvalidInput (ValueError)            2   an option, a config file, a dataset folder
    │   └── DatasetError                     2   a dataset folder that is missing, foreign, older, or in use
    │       └── DatasetDamaged              12   a file of a dataset folder is not what was written
    ├── CloneFailed (ConnectionError)        3   the source cannot be reached or does not hold the ref
    ├── ProfileFailed (LookupError)          4   the repository has nothing that can be built and tested
    ├── EnvironmentFailed (RuntimeError)     5   dependencies cannot be had, or the build fails
    ├── BaselineFailed (RuntimeError)        6   the suite does not run or does not pass on the clean tree
    ├── SandboxUnavailable (RuntimeError)    7   nothing here can isolate untrusted code
    ├── SandboxFailed (RuntimeError)         8   a sandbox died or broke its protocol
    ├── VerificationFailed (AssertionError)  9   finished tasks do not hold up when run again
    ├── MissingExtra (ImportError)          10   an optional dependency is not installed
    ├── StorageFailed (OSError)             11   a disk is full or may not be written to
    ├── PublishFailed (ConnectionError)     13   the hub is not reached, refuses, or does not hold what was sent
    ├── PublishBlocked (ValueError)         14   what was to be published holds secrets or personal data
    ├── Unfinished (RuntimeError)           15   time was up, or some of several repositories failed
    └── TrainingFailed (ArithmeticError)    16   a model's loss is no number or grows, whatever was tried
"""

from typing import ClassVar

from schemas.printable import printable


class GymforgeError(Exception):
    """Root of all errors that gymforge raises on purpose.

    Messages hold what servers and repositories said, and reach terminals and logs by many ways: made printable here.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(printable(message))
        self.transient = transient
        """Whether the same call may succeed a little later (a dropped connection, say); flows retry these alone."""


class InvalidInput(GymforgeError, ValueError):
    """An option, a configuration file or an argument is wrong."""

    exit_code = 2


class DatasetError(InvalidInput):
    """A dataset folder is missing, foreign, older than this schema, or in use by another process."""


class DatasetDamaged(DatasetError):
    """A manifest, a shard or a ledger is not what was written; only another copy or another run can mend it."""

    exit_code = 12


class CloneFailed(GymforgeError, ConnectionError):
    """The source cannot be reached, needs credentials, or does not hold the ref."""

    exit_code = 3


class ProfileFailed(GymforgeError, LookupError):
    """The repository holds nothing that gymforge can build and test."""

    exit_code = 4


class EnvironmentFailed(GymforgeError, RuntimeError):
    """Dependencies cannot be resolved or fetched, or the repository does not build."""

    exit_code = 5


class BaselineFailed(GymforgeError, RuntimeError):
    """The suite does not run, or nothing in it passes reliably, before any bug."""

    exit_code = 6


class SandboxUnavailable(GymforgeError, RuntimeError):
    """No sandbox of the kind asked for can isolate code on this machine."""

    exit_code = 7


class SandboxFailed(GymforgeError, RuntimeError):
    """A running sandbox died or broke its protocol; says nothing about the code in it."""

    exit_code = 8


class VerificationFailed(GymforgeError, AssertionError):
    """Finished tasks gave another result when they were run again."""

    exit_code = 9


class MissingExtra(GymforgeError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 10


class StorageFailed(GymforgeError, OSError):
    """The file system refused: a disk is full, read-only, or closed to this user. What is finished is kept."""

    exit_code = 11


class PublishFailed(GymforgeError, ConnectionError):
    """The hub cannot be reached, refuses, or does not hold what was sent.

    Transient are dropped connections, time-outs, rate limits (429), faults of the server (5xx) and commits of others
    that came between (412).
    """

    exit_code = 13

    def __init__(self, message: str, *, transient: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(message, transient=transient)
        self.retry_after_s = retry_after_s
        """How long the hub asks to wait; 0 where it does not."""


class PublishBlocked(GymforgeError, ValueError):
    """What was to be published holds secrets or personal data; nothing was sent."""

    exit_code = 14


class Unfinished(GymforgeError, RuntimeError):
    """Work is left over: time was up, or some of several repositories failed. The same command goes on from there."""

    exit_code = 15


class TrainingFailed(GymforgeError, ArithmeticError):
    """A model's loss became no number, or grew, again and again; the last good checkpoint is kept."""

    exit_code = 16
