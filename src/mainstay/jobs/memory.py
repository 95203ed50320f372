"""How full the memory is that this worker may use."""

import contextlib
from pathlib import Path
from typing import Final

HIGH: Final = 0.9
"""From this share on memory counts as exhausted in findings."""
_MACHINE = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def share() -> float | None:
    """The share of memory in use, of the machine or of the worker's own limit, whichever is fuller; None if unknown."""
    found = [part for part in (_of_machine(), _of_group()) if part is not None]
    return max(found, default=None)


def share_of_machine(meminfo: str) -> float | None:
    """The share that is in use by what the kernel tells."""
    figures = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in meminfo.splitlines())}
    total, free = figures.get("MemTotal"), figures.get("MemAvailable")
    return 1 - free / total if total and free is not None else None


def _of_machine() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return share_of_machine(_MACHINE.read_text())
    return None


def _of_group() -> float | None:
    """Of a container with a limit; its page cache, which gives way, is not counted."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        most = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        kept = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return (used - int(kept["inactive_file"])) / most
    return None
