"""Ports of this machine: which are free, and who has one that is not."""

import errno
import os
import socket
from pathlib import Path

from mainstay.cli.places import UpRefused

TRIES = 100
_LISTENING = "0A"


def choose_port(wanted: int | None, host: str, *, usual: int) -> tuple[int, str | None]:
    """The port to listen on, and what to say about it; UpRefused where a wanted port cannot be had."""
    if wanted is not None:
        if (reason := why_not(wanted, host)) is not None:
            raise UpRefused(f"{reason}: choose another with --port, or leave --port away to get a free one")
        return wanted, None
    reason = why_not(usual, host)
    if reason is None:
        return usual, None
    for port in range(usual + 1, usual + TRIES):
        if why_not(port, host) is None:
            return port, f"{reason}: using port {port}"
    raise UpRefused(f"{reason}, as are the {TRIES - 1} after it: name a port with --port")


def why_not(port: int, host: str) -> str | None:
    """Why nobody of ours can listen on the port, as a person would say it; None where it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                holder = find_listener(port)
                return f"port {port} is busy" + (f" ({holder} listens on it)" if holder else "")
            if error.errno in (errno.EACCES, errno.EPERM):
                return f"port {port} is only for root"
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                raise UpRefused(f"{host} is no address of this machine") from error
            raise UpRefused(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return None


def free_port(preferred: int | None = None) -> int:
    """A loopback port that nobody listens on now; the preferred one where that is so."""
    for wanted in (preferred or 0, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
                probe.listen(1)
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UpRefused("no free port on 127.0.0.1")


def find_listener(port: int) -> str | None:
    """The process that listens on the port, such as `nginx, process 412`; None where the system does not tell us."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    return _holder_of(inodes) if inodes else None


def _holder_of(inodes: set[str]) -> str | None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(handle) in inodes for handle in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()}, process {process.name}"
        except OSError:
            continue
    return None
