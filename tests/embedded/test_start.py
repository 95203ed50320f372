"""A start gives a usable, protected PostgreSQL; the next one finds everything again."""

import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import asyncpg
import pytest

from mainstay.embedded import Server, binaries, processes
from mainstay.embedded.directory import LOG_ROTATED_BYTES, SOCKET_PATH_BYTES
from tests.embedded.conftest import Starter, ask


@pytest.fixture
def server(start: Starter, data: Path) -> Server:
    return start(data)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_first_start_makes_the_database_and_a_second_finds_rows_port_and_password_again(
    start: Starter, place: Path
) -> None:
    first = start(place / "data", durable=True)
    assert first.is_running()
    assert ask(first.dsn, "create table kept (n int)", "insert into kept values (7)", "select current_database()") == (
        "mainstay"
    )
    first.stop()
    assert not first.is_running()
    first.stop()
    second = start(place / "data", durable=True)
    assert (second.dsn, second.port, second.notices) == (first.dsn, first.port, ())
    assert second.pid != first.pid
    assert ask(second.dsn, "select n from kept") == 7
    assert "not properly shut down" not in second.log_path.read_text()


def test_another_database_is_added_to_existing_data(start: Starter, data: Path) -> None:
    start(data).stop()
    assert ask(start(data, database="second").dsn, "select current_database()") == "second"


def test_data_is_utf8_with_builtin_collation_and_checksums_whatever_the_environment(
    start: Starter, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LC_ALL": "xx_YY.UTF-8", "PGPORT": "1", "PGDATA": "/nowhere", "PGOPTIONS": "-c bad=1"}.items():
        monkeypatch.setenv(name, value)
    server = start(place / "data")
    monkeypatch.undo()
    described = ask(
        server.dsn,
        "select (datlocprovider, datlocale, pg_encoding_to_char(encoding), current_setting('data_checksums'),"
        " current_setting('timezone'))::text from pg_database where datname = current_database()",
    )
    assert described == "(b,C.UTF-8,UTF8,on,UTC)"


def test_version_is_that_of_the_running_server(server: Server) -> None:
    assert ask(server.dsn, "show server_version") == server.version


@pytest.mark.parametrize("by_socket", [False, True])
def test_a_wrong_password_is_refused(server: Server, by_socket: bool) -> None:
    host = {"host": str(server.socket_dir), "port": server.port} if by_socket else {}
    assert ask(server.dsn, "select 1", **host) == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(server.dsn, "select 1", password="wrong", **host)


def test_the_password_is_private_and_never_shown(server: Server) -> None:
    password = (server.data_dir / "pg.password").read_text().strip()
    assert f":{password}@" in server.dsn
    assert len(password) >= 32
    assert password not in repr(server)
    assert password not in server.log_path.read_text()
    assert mode_of(server.data_dir / "pg.password") == mode_of(server.log_path) == 0o600
    assert mode_of(server.data_dir / "pg") == mode_of(server.data_dir / "run") == 0o700
    assert sorted(path.name for path in server.data_dir.iterdir()) == [
        *("pg", "pg.lock", "pg.log", "pg.password", "pg.port", "run"),
    ]
    assert list((server.data_dir / "run").glob("pwfile*")) == []


def test_it_listens_on_loopback_only(server: Server) -> None:
    assert ask(server.dsn, "show listen_addresses") == "127.0.0.1"


def test_a_lost_password_is_replaced(start: Starter, data: Path) -> None:
    first = start(data)
    ask(first.dsn, "create table kept (n int)", "select 1")
    first.stop()
    (first.data_dir / "pg.password").unlink()
    second = start(data)
    assert second.dsn != first.dsn
    assert ask(second.dsn, "select count(*) from kept") == 0


def test_settings_override_the_defaults(start: Starter, data: Path) -> None:
    server = start(data, settings={"max_connections": "33", "Work_Mem": "5MB", "myapp.word": "a 'b' c"})
    assert ask(server.dsn, "show max_connections") == "33"
    assert ask(server.dsn, "show work_mem") == "5MB"
    assert ask(server.dsn, "show myapp.word") == "a 'b' c"
    assert ask(server.dsn, "show shared_buffers") == "256MB"


@pytest.mark.parametrize(("durable", "expected"), [(True, "on,on,on"), (False, "off,off,off")])
def test_only_throwaway_servers_skip_syncing(start: Starter, data: Path, durable: bool, expected: str) -> None:
    settings = ("fsync", "synchronous_commit", "full_page_writes")
    server = start(data, durable=durable)
    assert ",".join(ask(server.dsn, f"show {name}") for name in settings) == expected


def test_a_chosen_port_is_used_and_remembered(start: Starter, data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    first = start(data, port=port)
    first.stop()
    assert first.port == start(data).port == port


def test_a_busy_remembered_port_is_replaced_and_told(start: Starter, data: Path) -> None:
    first = start(data)
    first.stop()
    with socket.create_server(("127.0.0.1", first.port)):
        second = start(data)
        assert second.port != first.port
        assert str(first.port) in second.notices[0]
        assert str(second.port) in second.notices[0]
        assert ask(second.dsn, "select 1") == 1
    second.stop()
    assert start(data).port == second.port


@pytest.mark.parametrize(("excess", "has_socket"), [(0, True), (1, False)])
def test_the_socket_is_left_out_where_its_path_is_too_long(
    start: Starter, place: Path, excess: int, has_socket: bool
) -> None:
    rest = len(os.fsencode(place / "run" / ".s.PGSQL.12345")) + 1
    data_dir = place / ("x" * (SOCKET_PATH_BYTES - rest + excess))
    server = start(data_dir)
    assert len(str(server.port)) == 5
    assert (server.socket_dir is not None) == has_socket
    assert any("socket" in notice for notice in server.notices) != has_socket
    assert ask(server.dsn, "select 1") == 1
    if has_socket:
        assert ask(server.dsn, "select 1", host=str(server.socket_dir), port=server.port) == 1


def test_paths_with_odd_letters_work(start: Starter, place: Path) -> None:
    server = start(place / "a b,c'd\"é")
    assert ask(server.dsn, "select 1", host=str(server.socket_dir), port=server.port) == 1


def test_a_long_log_is_rotated_at_start(start: Starter, data: Path) -> None:
    first = start(data)
    first.stop()
    os.truncate(first.log_path, LOG_ROTATED_BYTES)
    start(data).stop()
    assert first.log_path.stat().st_size > LOG_ROTATED_BYTES
    start(data)
    assert (first.data_dir / "pg.log.1").stat().st_size > LOG_ROTATED_BYTES
    assert first.log_path.stat().st_size < 100_000


def test_stop_does_not_wait_for_clients(server: Server) -> None:
    psql = subprocess.Popen(
        [binaries.locate().program("psql"), "-X", server.dsn, "-c", "select pg_sleep(60)"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server.stop(timeout_seconds=5)
        assert not server.is_running()
        assert "database system is shut down" in server.log_path.read_text()
    finally:
        psql.wait(5)


def test_a_server_that_hangs_is_stopped_hard_and_recovers(
    start: Starter, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HARD_STOP_SECONDS", 0.2)
    first = start(data, durable=True)
    ask(first.dsn, "create table kept (n int)", "insert into kept values (1)")
    os.kill(first.pid, signal.SIGSTOP)
    first.stop(timeout_seconds=0.2)
    assert not first.is_running()
    assert ask(start(data, durable=True).dsn, "select n from kept") == 1
