"""The most memory that this process has had since it was told to forget the peak."""

import resource
from contextlib import suppress
from pathlib import Path

_PEAK = "VmHWM:"


def forget_peak() -> None:
    """Begin anew, where the system can; elsewhere the peak is that of the process's whole life."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """Resident memory at its peak."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(_PEAK):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
