"""What cannot work is refused with a message a person can act on, and leaves nothing behind."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstay import embedded
from mainstay.embedded import binaries, cluster, postmaster
from mainstay.embedded.processes import kind_of
from tests.embedded.conftest import Child, Starter, ask, needs_root

Fork = Callable[..., Child]


def test_a_second_start_is_told_who_runs_the_first(fork: Fork, start: Starter, data: Path) -> None:
    holder = fork(lambda: embedded.start(data, durable=False).dsn)
    dsn = holder.answer()
    with pytest.raises(embedded.AlreadyRunning, match=rf"process {holder.pid} is already running .* on {data}"):
        start(data)
    assert ask(dsn, "select 1") == 1


def test_a_second_start_in_the_same_process_is_refused(start: Starter, data: Path) -> None:
    server = start(data)
    with pytest.raises(embedded.AlreadyRunning, match="this process"):
        start(data)
    assert ask(server.dsn, "select 1") == 1


def test_of_two_simultaneous_first_starts_one_wins(fork: Fork, place: Path) -> None:
    children = [fork(lambda: embedded.start(place / "data", durable=False).dsn) for _ in range(3)]
    answers = [child.answer() for child in children]
    winners = [answer for answer in answers if isinstance(answer, str)]
    assert len(winners) == 1
    assert [answer[0] for answer in answers if not isinstance(answer, str)] == ["AlreadyRunning"] * 2
    assert ask(winners[0], "select 1") == 1


def test_a_server_that_somebody_else_started_is_left_alone(
    start: Starter, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "EARLIER_SERVER_TIMEOUT_SECONDS", 0.3)
    account: Any = {"user": 65_534, "group": 65_534, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [binaries.locate().program("postgres"), "-D", str(data / "pg"), "-p", str(postmaster.free_port())]
    options = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
    foreign = subprocess.Popen([*command, *options], cwd="/", stderr=subprocess.DEVNULL, **account)
    try:
        while cluster.postmaster_pid(data / "pg") != (foreign.pid, "ready"):
            assert foreign.poll() is None
        with pytest.raises(embedded.AlreadyRunning, match=f"PostgreSQL process {foreign.pid} is running"):
            start(data)
        assert kind_of(foreign.pid, data / "pg") == "server"
    finally:
        foreign.terminate()
        foreign.wait()
    assert ask(start(data).dsn, "select 1") == 1


def test_data_of_another_major_version_is_refused_and_kept(start: Starter, data: Path) -> None:
    (data / "pg" / "PG_VERSION").write_text("16\n")
    with pytest.raises(embedded.VersionMismatch, match=r"made by PostgreSQL 16, this is 18\.\d+: dump it"):
        start(data)
    (data / "pg" / "PG_VERSION").write_text("18\n")
    assert ask(start(data).dsn, "select 1") == 1


def test_a_directory_with_other_things_in_it_is_refused_and_kept(start: Starter, data: Path) -> None:
    (data / "pg" / "PG_VERSION").rename(data / "pg" / "precious")
    with pytest.raises(embedded.EmbeddedError, match="no data directory of PostgreSQL"):
        start(data)
    assert (data / "pg" / "precious").exists()


def test_a_file_in_place_of_the_directory_is_refused(start: Starter, place: Path) -> None:
    (place / "file").write_text("precious")
    for path in (place / "file", place / "file" / "below"):
        with pytest.raises(embedded.NotWritable, match="must be a directory"):
            start(path)


def test_too_little_space_is_refused_before_anything_is_made(
    start: Starter, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "FREE_BYTES_FOR_INITDB", 1 << 60)
    with pytest.raises(embedded.DiskFull, match=r"\d+ MB free, a new database needs \d+ MB"):
        start(place / "data")
    assert not list((place / "data").glob("pg*/*"))
    monkeypatch.undo()
    assert ask(start(place / "data").dsn, "select 1") == 1


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@needs_root
def test_a_small_disk_is_refused_and_one_that_fills_up_is_told(
    small_disk: Path, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(embedded.DiskFull, match=r"6\d MB free, a new database needs 200 MB"):
        start(small_disk / "data")
    monkeypatch.setattr(cluster, "FREE_BYTES_FOR_INITDB", 0)
    server = start(small_disk / "data", settings={"min_wal_size": "32MB"})
    server.stop()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(1 << 12))
    with pytest.raises(embedded.DiskFull, match="no space left"):
        start(small_disk / "data", settings={"min_wal_size": "32MB"})
    (small_disk / "ballast").unlink()
    assert ask(start(small_disk / "data", settings={"min_wal_size": "32MB"}).dsn, "select 1") == 1


@needs_root
def test_initdb_that_runs_out_of_space_is_told_and_leaves_nothing(
    small_disk: Path, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "FREE_BYTES_FOR_INITDB", 0)
    (small_disk / "ballast").write_bytes(bytes(50 << 20))
    with pytest.raises(embedded.DiskFull, match="no space left"):
        start(small_disk / "data")
    assert [path.name for path in (small_disk / "data").glob("pg*") if path.is_dir()] == []


@needs_root
def test_a_read_only_file_system_is_told(small_disk: Path, start: Starter) -> None:
    (small_disk / "data").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for path in (small_disk / "data", small_disk / "new"):
        with pytest.raises(embedded.NotWritable, match="on a read-only file system: choose another"):
            start(path)


def test_a_chosen_port_that_is_busy_is_refused(start: Starter, data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(embedded.PortBusy, match=f"port {port} "):
            start(data, port=port)
    assert start(data, port=port).port == port


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_what_is_no_port_is_refused(start: Starter, place: Path, port: int) -> None:
    with pytest.raises(embedded.EmbeddedError, match="from 1 to 65535"):
        start(place / "data", port=port)
    assert not (place / "data").exists()


@pytest.mark.parametrize("name", ["", "Upper", "a b", "a'b", "1a", "a" * 64, "ä"])
def test_what_is_no_database_name_is_refused(start: Starter, place: Path, name: str) -> None:
    with pytest.raises(embedded.EmbeddedError, match="no name for a database"):
        start(place / "data", database=name)
    assert not (place / "data").exists()


def test_the_longest_database_name_works(start: Starter, data: Path) -> None:
    assert ask(start(data, database="a" * 63).dsn, "select current_database()") == "a" * 63


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"no_such_setting": "1"}, 'unrecognized configuration parameter "no_such_setting"'),
        ({"shared_buffers": "much"}, 'invalid value for parameter "shared_buffers"'),
        ({"Port": "1"}, "the setting Port is chosen by the embedded server"),
        ({"bad name": "1"}, "no setting of PostgreSQL"),
        ({"work_mem": "1\0"}, "no setting of PostgreSQL"),
    ],
)
def test_a_wrong_setting_is_told_in_the_words_of_the_server(
    start: Starter, data: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(embedded.EmbeddedError, match=message):
        start(data, settings=settings)
    assert ask(start(data).dsn, "select 1") == 1


def test_a_foreign_password_file_is_told(start: Starter, data: Path) -> None:
    (data / "pg.password").write_text("wrong\n")
    with pytest.raises(embedded.StartFailed, match=r"remove that file and start again"):
        start(data)
    (data / "pg.password").unlink()
    assert ask(start(data).dsn, "select 1") == 1


def test_a_start_outside_the_main_thread_is_refused(place: Path) -> None:
    refusals: list[embedded.EmbeddedError] = []

    def act() -> None:
        try:
            embedded.start(place / "data")
        except embedded.EmbeddedError as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert "main thread" in str(refusals[0])


def test_a_machine_without_programs_is_told_to_set_the_database_url(
    start: Starter, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "PACKAGE", "no_such_package")
    with pytest.raises(embedded.UnsupportedPlatform, match="set DATABASE_URL"):
        start(place / "data")
    assert not (place / "data").exists()


def test_a_failed_start_frees_the_directory_and_ends_its_server(start: Starter, data: Path) -> None:
    with pytest.raises(embedded.StartFailed, match="Its last words"):
        start(data, settings={"no_such_setting": "1"})
    assert ask(start(data).dsn, "select 1") == 1
