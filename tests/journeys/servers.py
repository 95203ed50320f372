"""Servers from the system's packages, started for one test and ended by id."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mainstay.embedded.postmaster import free_port

REQUIRED = os.environ.get("MAINSTAY_REQUIRE_PEERS") == "1"
NOBODY = 65534


def missing(what: str) -> None:
    """Skips the test, or fails it where every peer is required."""
    if REQUIRED:
        pytest.fail(f"{what} is required here and not installed")
    pytest.skip(f"{what} is not installed")


def _account() -> dict[str, object]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1_200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server ended at once"
        time.sleep(0.05)
    raise AssertionError("the server did not open its port")


def _await_postgresql(binaries: Path, port: int) -> None:
    command = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    for _ in range(1_200):
        if subprocess.run(command, check=False, timeout=60).returncode == 0:
            return
        time.sleep(0.05)
    raise AssertionError("the server did not become ready")


@contextmanager
def _place() -> Iterator[Path]:
    with TemporaryDirectory(prefix="mainstay-peer-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        place = Path(name)
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield place


@contextmanager
def system_postgresql() -> Iterator[str]:
    """The address of a PostgreSQL of the system's packages, with a password and no extension."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        missing("PostgreSQL from the system's packages")
    binaries = found[0].parent
    with _place() as place:
        secret = place / "password"
        secret.write_text("secret")
        secret.chmod(0o644)
        subprocess.run(
            [binaries / "initdb", "-D", place / "data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", secret,
             "-E", "UTF8", "--locale", "C.UTF-8"],
            check=True, capture_output=True, cwd=place, timeout=60, **_account(),  # type: ignore[call-overload]
        )  # fmt: skip
        port = free_port()
        process = subprocess.Popen(
            [binaries / "postgres", "-D", place / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1",
             "-c", f"unix_socket_directories={place}", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place, **_account(),  # type: ignore[call-overload]
        )  # fmt: skip
        try:
            _await_port(port, process)
            _await_postgresql(binaries, port)
            yield f"postgresql://postgres:secret@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(2)
            process.wait(60)


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """The address of a PgBouncer in transaction mode before that database."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing("pgbouncer")
    assert program is not None
    credentials, _, rest = url.removeprefix("postgresql://").partition("@")
    user, _, password = credentials.partition(":")
    where, _, database = rest.partition("/")
    host, _, port = where.partition(":")
    with _place() as place:
        listen = free_port()
        (place / "users.txt").write_text(f'"{user}" "{password}"\n')
        (place / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={host} port={port} dbname={database} user={user} password={password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen}\nunix_socket_dir =\nauth_type = scram-sha-256\n"  # noqa: E501
            f"auth_file = {place}/users.txt\npool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 5\n"
        )
        for name in ("users.txt", "pgbouncer.ini"):
            (place / name).chmod(0o644)
        process = subprocess.Popen(
            [program, place / "pgbouncer.ini"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place, **_account(),  # type: ignore[call-overload]
        )  # fmt: skip
        try:
            _await_port(listen, process)
            yield f"postgresql://{credentials}@127.0.0.1:{listen}/{database}"
        finally:
            process.terminate()
            process.wait(60)
