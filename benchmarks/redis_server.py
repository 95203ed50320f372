"""A Redis of its own for the peers that need one, set as BullMQ's guide for production asks."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks import machine
from benchmarks.peers import Missing

IN_MEMORY = ["--appendonly", "no"]
DURABLE = ["--appendonly", "yes", "--appendfsync", "everysec"]


@dataclass(frozen=True, slots=True)
class Redis:
    """A running server: where it listens, its process, and its version with what it keeps."""

    url: str
    process: psutil.Process
    title: str


@contextmanager
def redis(*, durable: bool) -> Iterator[Redis]:
    """A server on a free loopback port that evicts nothing; durable means an append-only file synced every second."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("redis-server is not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    number = version.partition("v=")[2].split()[0]
    with TemporaryDirectory(prefix="mainstay-redis-", dir="/var/tmp") as place:
        port = machine.free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", place, "--save", ""]
        command += ["--maxmemory-policy", "noeviction", *(DURABLE if durable else IN_MEMORY)]
        with (Path(place) / "log").open("wb") as log:
            started = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(port)
            kept = "append-only file synced every second" if durable else "nothing kept on disk"
            yield Redis(f"redis://127.0.0.1:{port}/0", psutil.Process(started.pid), f"Redis {number}, {kept}")
        finally:
            started.terminate()
            started.wait(20)


def _wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("redis-server did not start")
