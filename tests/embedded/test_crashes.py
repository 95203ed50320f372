"""Whatever is killed, no server outlives its owner, the next start needs nobody, and acknowledged rows are there."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mainstay import embedded
from mainstay.embedded import binaries, cluster, processes
from tests.embedded.conftest import Child, Starter, ask, is_alive, wait_until

SERVER_ACCOUNT: Any = {"user": 65_534, "group": 65_534, "extra_groups": []} if os.geteuid() == 0 else {}
Fork = Callable[..., Child]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the death signal exists on Linux only")


def start_and_tell(data_dir: Path) -> tuple[int, str]:
    server = embedded.start(data_dir)
    return server.pid, server.dsn


@on_linux
def test_kill_9_of_the_owner_leaves_no_server_and_the_next_start_finds_the_rows(
    fork: Fork, start: Starter, data: Path
) -> None:
    child = fork(lambda: start_and_tell(data))
    pid, dsn = child.answer()
    ask(dsn, "create table kept (n int)", "insert into kept values (7)")
    child.kill()
    server = start(data, durable=True)
    assert not is_alive(pid, data / "pg")
    assert (server.dsn, ask(server.dsn, "select n from kept")) == (dsn, 7)


@on_linux
def test_the_server_ends_cleanly_by_itself_when_its_owner_is_killed(fork: Fork, data: Path) -> None:
    child = fork(lambda: start_and_tell(data))
    pid, _ = child.answer()
    child.kill()
    wait_until(lambda: not is_alive(pid, data / "pg"))
    assert "database system is shut down" in (data / "pg.log").read_text()


@on_linux
def test_a_start_waits_for_the_earlier_server_that_is_still_ending(fork: Fork, start: Starter, data: Path) -> None:
    child = fork(lambda: start_and_tell(data))
    pid, _ = child.answer()
    os.kill(pid, signal.SIGSTOP)
    child.kill()
    waker = threading.Timer(0.5, os.kill, (pid, signal.SIGCONT))
    begin = time.monotonic()
    waker.start()
    server = start(data)
    assert time.monotonic() - begin > 0.4
    assert ask(server.dsn, "select 1") == 1
    waker.join()


def test_a_server_that_ends_while_it_is_looked_at_leaves_nothing_to_mark(tmp_path: Path) -> None:
    cluster.mark_stale(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_orphan_of_ours_is_stopped_by_the_next_start(
    fork: Fork, start: Starter, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "IS_LINUX", False)
    child = fork(lambda: start_and_tell(data))
    pid, _ = child.answer()
    child.kill()
    monkeypatch.undo()
    time.sleep(0.3)
    assert is_alive(pid, data / "pg")
    server = start(data)
    assert not is_alive(pid, data / "pg")
    assert ask(server.dsn, "select 1") == 1


async def insert_until_broken(dsn: str, pid: int) -> int:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table acknowledged (n int)")
    count = 0
    try:
        while True:
            if count == 50:
                asyncio.get_running_loop().call_later(0.05, os.kill, pid, signal.SIGKILL)
            await connection.execute("insert into acknowledged values ($1)", count)
            count += 1
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        return count
    finally:
        connection.terminate()


def test_kill_9_of_the_server_loses_no_acknowledged_row(start: Starter, data: Path) -> None:
    first = start(data, durable=True)
    count = asyncio.run(insert_until_broken(first.dsn, first.pid))
    assert count >= 50
    wait_until(lambda: not first.is_running())
    first.stop()
    second = start(data, durable=True)
    assert ask(second.dsn, "select count(*) from acknowledged") in (count, count + 1)
    assert "not properly shut down" in second.log_path.read_text()


_BUSY = "do $$ begin while (pg_stat_file('enough', true)).size is null loop end loop; end $$"


def test_kill_9_of_the_server_with_a_busy_backend_is_recovered(start: Starter, data: Path) -> None:
    """A backend that computes does not see that its server is gone before it has computed."""
    first = start(data, durable=True)
    psql = subprocess.Popen(
        [binaries.locate().program("psql"), "-X", first.dsn, "-c", _BUSY],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: ask(first.dsn, "select count(*) from pg_stat_activity where query like 'do $$ begin%'") > 0)
        os.kill(first.pid, signal.SIGKILL)
        first.stop()
        threading.Timer(0.5, (first.data_dir / "pg" / "enough").touch).start()
        assert ask(start(data, durable=True).dsn, "select 1") == 1
    finally:
        psql.kill()
        psql.wait()


def leave_stale_pid(data: Path, start: Starter, pid: int) -> Path:
    """Data whose server was killed, with `pid` in its place."""
    first = start(data)
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    file = first.data_dir / "pg" / "postmaster.pid"
    lines = file.read_text().splitlines(keepends=True)
    assert lines[0] == f"{first.pid}\n"
    file.write_text("".join([f"{pid}\n", *lines[1:]]))
    for lock in (first.data_dir / "run").glob("*.lock"):
        lock.write_text("".join([f"{pid}\n", *lock.read_text().splitlines(keepends=True)[1:]]))
    return file


def test_a_stale_pid_of_nobody_is_no_obstacle(start: Starter, data: Path) -> None:
    leave_stale_pid(data, start, cluster.NO_PROCESS)
    assert ask(start(data).dsn, "select 1") == 1


def test_a_stale_pid_that_another_process_of_the_same_account_has_now_is_no_obstacle(
    start: Starter, data: Path
) -> None:
    sleeper = subprocess.Popen(["sleep", "60"], cwd="/", **SERVER_ACCOUNT)
    try:
        leave_stale_pid(data, start, sleeper.pid)
        assert ask(start(data).dsn, "select 1") == 1
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_stale_pid_that_another_server_has_now_is_no_obstacle(start: Starter, data: Path, place: Path) -> None:
    other = start(place / "other")
    leave_stale_pid(data, start, other.pid)
    assert ask(start(data).dsn, "select 1") == 1
    assert ask(other.dsn, "select 1") == 1


def test_a_zombie_in_the_pid_file_is_no_obstacle(start: Starter, data: Path) -> None:
    zombie = subprocess.Popen(["true"], cwd="/", **SERVER_ACCOUNT)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    leave_stale_pid(data, start, zombie.pid)
    assert ask(start(data).dsn, "select 1") == 1
    zombie.wait()


@pytest.mark.parametrize("content", ["", "rubbish\n", "12\n"])
def test_a_torn_pid_file_is_no_obstacle(start: Starter, data: Path, content: str) -> None:
    leave_stale_pid(data, start, cluster.NO_PROCESS).write_text(content)
    assert ask(start(data).dsn, "select 1") == 1


@pytest.mark.parametrize("after_seconds", [0.02, 0.1, 0.2, 0.3, 0.4])
def test_a_first_start_killed_half_way_leaves_nothing_half_made(
    fork: Fork, start: Starter, place: Path, after_seconds: float
) -> None:
    child = fork(lambda: start_and_tell(place / "data"))
    time.sleep(after_seconds)
    child.kill()
    server = start(place / "data")
    assert ask(server.dsn, "select 1") == 1
    wait_until(lambda: not list(server.data_dir.glob("*new-*")))
    assert list((server.data_dir / "run").glob("pwfile*")) == []


def interrupt_once(written: Path) -> None:
    """The main thread gets Ctrl-C once the file is there: any other would leave it waiting for its child."""
    wait_until(written.exists)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_an_interrupted_first_start_cleans_up(fork: Fork, start: Starter, place: Path) -> None:
    def interrupted() -> tuple[str, list[str]]:
        for data in (place / f"data{n}" for n in range(10)):
            interrupting = threading.Thread(target=interrupt_once, args=(data / "pg.log",))
            interrupting.start()
            try:
                embedded.start(data).stop()  # a busy machine may deliver the signal only when all is done
                interrupting.join()
                time.sleep(1)
            except KeyboardInterrupt:
                found = sorted(path.name for path in data.iterdir())
                if "pg" not in found:
                    return data.name, found
        raise AssertionError("never interrupted before it had ended")

    name, left = fork(interrupted).answer()
    assert left == ["pg.lock", "pg.log", "pg.password", "run"]
    assert ask(start(place / name).dsn, "select 1") == 1


@on_linux
def test_ctrl_c_at_the_terminal_is_left_to_the_owner(start: Starter, data: Path) -> None:
    assert os.getpgid(start(data).pid) != os.getpgid(0)


def test_a_forked_child_of_the_owner_cannot_stop_the_server(fork: Fork, start: Starter, data: Path) -> None:
    server = start(data)
    assert fork(lambda: server.stop() or "tried").answer() == "tried"
    assert server.is_running()
    assert ask(server.dsn, "select 1") == 1
