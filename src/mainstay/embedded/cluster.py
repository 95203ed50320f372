"""The data of one server: made by initdb, checked before a start, its password set anew when lost."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from mainstay.embedded.account import Account, has_name
from mainstay.embedded.binaries import Binaries
from mainstay.embedded.directory import Directory, make_password
from mainstay.embedded.errors import (
    DiskFull,
    EmbeddedError,
    NotWritable,
    StartFailed,
    VersionMismatch,
    explained,
    of_log,
)
from mainstay.embedded.processes import ENVIRONMENT, launch

FREE_BYTES_FOR_INITDB = 200 * 1024 * 1024
NO_PROCESS = 2_147_483_647


def ensure(directory: Directory, binaries: Binaries, account: Account, *, durable: bool) -> str:
    """`pg/` holds a cluster that these programs can run; its password, which is in `pg.password` too."""
    password = directory.read("pg.password")
    if is_empty(directory.pg):
        password = password or make_password()
        directory.write("pg.password", password)
        _initialise(directory, binaries, account, password, durable=durable)
        return password
    _check(directory, binaries, account)
    return password or ""


def is_empty(pg: Path) -> bool:
    """Whether there is no data yet."""
    with explained(pg):
        return not pg.exists() or (pg.is_dir() and not any(pg.iterdir()))


def mark_stale(pg: Path) -> None:
    """`postmaster.pid` names a process that cannot exist; a server that ends just now may have removed it already.

    The rest of the file stays: from it PostgreSQL finds out whether processes of the earlier server are still attached.
    """
    with explained(pg), suppress(FileNotFoundError):
        handle = os.open(pg / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
        with os.fdopen(handle, "r+") as file:
            lines = file.read().splitlines(keepends=True)
            file.seek(0)
            file.writelines([f"{NO_PROCESS}\n", *lines[1:]])
            file.truncate()


def postmaster_pid(pg: Path) -> tuple[int, str]:
    """The process id and the state (`ready`, `starting`, ...) in `postmaster.pid`; 0 and nothing without one."""
    try:
        lines = (pg / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return 0, ""
    number = lines[0].strip() if lines else ""
    return (int(number) if number.isdigit() else 0), (lines[7].strip() if len(lines) > 7 else "")


def reset_password(directory: Directory, binaries: Binaries, account: Account) -> str:
    """A new password is set in the cluster, which must not be running, and then in `pg.password`."""
    password = make_password()
    told = subprocess.run(  # noqa: S603 - program of the wheel
        [binaries.program("postgres"), "--single", "-D", str(directory.pg), "postgres"],
        cwd="/",
        env=ENVIRONMENT,
        input=f"alter role postgres password '{password}'\n".encode(),
        capture_output=True,
        check=False,
        **account.options,
    )
    if told.returncode != 0 or b"ERROR" in told.stderr:
        raise of_log(told.stderr.decode(errors="replace").strip(), directory.root)
    directory.write("pg.password", password)
    return password


def create_database(binaries: Binaries, port: int, password: str, name: str) -> None:
    """The running server has a database of that name."""
    address = ["--host=127.0.0.1", f"--port={port}", "--username=postgres", "--dbname=postgres"]
    told = subprocess.run(  # noqa: S603 - program of the wheel
        [binaries.program("psql"), "-XqAt", f"--set=name={name}", "--set=ON_ERROR_STOP=1", *address],
        cwd="/",
        env={**ENVIRONMENT, "PGPASSWORD": password, "PGCONNECT_TIMEOUT": "20"},
        input="select format('create database %I', :'name')"
        " where not exists (select from pg_database where datname = :'name') \\gexec\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode == 0:
        return
    if "password authentication failed" in told.stderr:
        raise StartFailed(
            "the server refuses the password in pg.password: remove that file and start again for a new one"
        )
    raise of_log(told.stderr.strip(), Path(f"port {port}"))


def _check(directory: Directory, binaries: Binaries, account: Account) -> None:
    pg = directory.pg
    with explained(pg):
        owner, mode = pg.stat().st_uid, pg.stat().st_mode & 0o777
        if owner != account.uid:
            raise NotWritable(
                f"{pg} belongs to uid {owner}, the server runs as uid {account.uid}:"
                f" chown -R {account.uid} {pg}, or choose another data directory"
            )
        version = pg / "PG_VERSION"
        if not version.is_file():
            raise EmbeddedError(f"{pg} is no data directory of PostgreSQL (no PG_VERSION): move it away")
        made_by = version.read_text().strip()
        if made_by != binaries.major:
            raise VersionMismatch(
                f"{pg} was made by PostgreSQL {made_by}, this is {binaries.version}: dump it with PostgreSQL {made_by}"
                " and load it into a new data directory, or choose another one"
            )
        if mode & 0o077 not in (0, 0o050):
            pg.chmod(0o700)


def _initialise(directory: Directory, binaries: Binaries, account: Account, password: str, *, durable: bool) -> None:
    ground = directory.ground
    if not has_name(account.uid):
        raise EmbeddedError(
            f"uid {account.uid} has no entry in /etc/passwd, which PostgreSQL needs to make a database:"
            " add one, or run as a user who has one"
        )
    with explained(ground):
        _sweep(ground)
        if (free := shutil.disk_usage(ground).free) < FREE_BYTES_FOR_INITDB:
            raise DiskFull(
                f"{ground} has {free >> 20} MB free, a new database needs {FREE_BYTES_FOR_INITDB >> 20} MB:"
                " free some, or choose a data directory on another disk"
            )
        unfinished = Path(tempfile.mkdtemp(prefix="pg.new-", dir=ground))
        account.own(unfinished)
        handle, password_file = tempfile.mkstemp(prefix="pwfile-", dir=ground / "run")
        with os.fdopen(handle, "w") as file:
            file.write(password + "\n")
        account.own(Path(password_file))
    try:
        _run_initdb(directory, binaries, account, unfinished, password_file, durable=durable)
        with explained(ground):
            unfinished.rename(directory.pg)
            _sync(ground)
    finally:
        _sweep(ground)


def _sweep(ground: Path) -> None:
    # The initdb of a killed start may be removing the same files at this moment, so a missing one is no error.
    for leftover in ground.glob("pg.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in (ground / "run").glob("pwfile-*"):
        leftover.unlink(missing_ok=True)


def _run_initdb(
    directory: Directory, binaries: Binaries, account: Account, data: Path, password_file: str, *, durable: bool
) -> None:
    command = [
        binaries.program("initdb"),
        f"--pgdata={data}",
        "--username=postgres",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]
    with os.fdopen(directory.open_log(), "ab") as log:
        begin = os.fstat(log.fileno()).st_size
        process = launch(command, account, log, signal.SIGTERM)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code != 0:
        raise of_log(log_tail(directory.log, begin), directory.root)


def log_tail(log: Path, begin: int, lines: int = 12) -> str:
    """The last lines that the log got since it was `begin` bytes long."""
    try:
        with log.open("rb") as file:
            file.seek(max(begin, log.stat().st_size - 16_384))
            return "\n".join(file.read().decode(errors="replace").strip().splitlines()[-lines:])
    except OSError:
        return ""


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
