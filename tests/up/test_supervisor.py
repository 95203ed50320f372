"""A watched process starts again when it ends or hangs, and ends with the one that watches it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mainstay.cli import supervisor
from mainstay.cli.places import Place, UpRefused
from mainstay.cli.supervisor import Child, Leash
from tests.up.instances import wait_until

WAIT = "import time; time.sleep(60)"


class Stage:
    """Makes children that say what happens to them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.said: list[str] = []
        self.is_well = True
        self.leash = Leash()
        self.children: list[Child] = []

    def child(self, program: str) -> Child:
        async def is_well() -> bool:
            return self.is_well

        child = Child(
            "thing",
            self.place,
            dict(os.environ),
            leash=self.leash,
            is_well=is_well,
            say=self.said.append,
            command=[sys.executable, "-c", program],
        )
        self.children.append(child)
        child.start()
        return child


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "CHECK_SECONDS", 0.05)
    made = Stage(Place(tmp_path))
    yield made
    for child in made.children:
        child.kill()
        await child.stop(30)
    made.leash.close()


async def until(holds: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


async def test_one_that_ends_starts_again_with_a_longer_pause_each_time(stage: Stage) -> None:
    child = stage.child("print('last words', flush=True); raise SystemExit(3)")
    keeping = asyncio.create_task(child.keep())
    await until(lambda: len(stage.said) >= 3)
    keeping.cancel()
    pauses = [line.partition("again in ")[2].partition(" s.")[0] for line in stage.said[:3]]
    assert [line.startswith("the thing ended with code 3") for line in stage.said[:3]] == [True] * 3
    assert pauses == ["0.1", "0.1", "0.2"]
    assert "  thing | last words" in stage.said[0]
    assert str(child.log_path) in stage.said[0]


async def test_one_that_hangs_is_killed_and_starts_again(stage: Stage) -> None:
    child = stage.child(WAIT)
    first = child.pid
    keeping = asyncio.create_task(child.keep())
    stage.is_well = False
    await until(lambda: any("is killed" in line for line in stage.said))
    stage.is_well = True
    await until(lambda: child.pid != first and child.is_alive())
    keeping.cancel()


async def test_one_that_fails_at_its_start_is_told_with_its_last_lines(stage: Stage) -> None:
    stage.is_well = False
    child = stage.child("import sys; sys.exit('the port is taken')")
    with pytest.raises(UpRefused, match=r"(?s)the thing ended with code 1 while starting.*thing \| the port is taken"):
        await child.until_well(60)
    with pytest.raises(UpRefused, match="not ready within 0 s"):
        await stage.child(WAIT).until_well(0.1)


async def test_a_stop_asks_first_and_kills_past_the_time(stage: Stage) -> None:
    polite = stage.child(
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print(1, flush=True);" + WAIT
    )
    await until(polite.log_path.read_text)
    await polite.stop(30)
    assert stage.said == []
    deaf = stage.child("import signal; signal.signal(15, signal.SIG_IGN); print(2, flush=True);" + WAIT)
    await until(lambda: "2" in deaf.log_path.read_text())
    await deaf.stop(0.3)
    assert not deaf.is_alive()
    assert "is killed" in stage.said[0]


async def test_a_stopped_one_stays_down(stage: Stage) -> None:
    child = stage.child(WAIT)
    keeping = asyncio.create_task(child.keep())
    await asyncio.sleep(0.1)
    await child.stop(30)
    await asyncio.wait_for(keeping, 30)
    assert (child.is_alive(), stage.said) == (False, [])


async def test_a_log_is_bounded_while_its_writer_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES_AT_MOST", 2_000)
    child = stage.child("import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.005)")
    keeping = asyncio.create_task(child.keep())
    await until(lambda: child.log_path.with_suffix(".log.1").exists())
    await until(lambda: 0 < child.log_path.stat().st_size < 2_000)
    keeping.cancel()
    assert child.is_alive()
    assert child.log_path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own way is Linux's")
def test_the_kernel_ends_it_with_us(tmp_path: Path) -> None:
    pid = _grandchild(tmp_path, "[sys.executable, '-c', 'import time; time.sleep(60)']")
    wait_until(lambda: not psutil.pid_exists(pid))


def test_the_pipe_ends_it_with_us_where_the_kernel_does_not(tmp_path: Path) -> None:
    """The grandchild takes back its death signal first."""
    program = (
        "import ctypes, sys, time; from mainstay.cli.child import end_with;"
        "sys.platform.startswith('linux') and ctypes.CDLL(None).prctl(1, 0, 0, 0, 0);"
        "end_with(int(sys.argv[1])); print('watching', flush=True); time.sleep(60)"
    )
    pid = _grandchild(tmp_path, f"[sys.executable, '-c', {program!r}, str(leash.reader)]", wait_for="watching")
    wait_until(lambda: not psutil.pid_exists(pid))


def _grandchild(tmp_path: Path, command: str, wait_for: str = "") -> int:
    """The process id of a child whose supervisor was killed."""
    program = f"""
import os, pathlib, sys, time
from mainstay.cli.places import Place
from mainstay.cli.supervisor import Child, Leash
leash = Leash()
child = Child("thing", Place(pathlib.Path({str(tmp_path)!r})), dict(os.environ), leash=leash, is_well=None, say=print,
              command={command})
child.start()
while {wait_for!r} not in child.log_path.read_text():
    time.sleep(0.02)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
    return pid
