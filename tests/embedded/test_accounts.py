"""The server runs for root and for ordinary users, without opening anybody's directories."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstay import embedded
from mainstay.embedded import binaries, directory
from mainstay.embedded.account import NOBODY, Account
from tests.embedded.conftest import NAMELESS_UID, ORDINARY_UID, Child, Starter, ask, needs_root

Fork = Callable[..., Child]


def owner_of(pid: int) -> int:
    told = subprocess.run(["ps", "-o", "uid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout)


def reach_binaries(place: Path) -> None:
    """Children under another account find the programs, wherever the virtual environment is."""
    account = Account(ORDINARY_UID, ORDINARY_UID, is_dropped=True)
    site = binaries.reachable(binaries.locate(), account, place).site
    sys.path.insert(0, str(site))


@pytest.fixture
def ordinary(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of an ordinary user, who can run the programs."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    home = place / "home"
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        reach_binaries(place)
        os.chown(home, ORDINARY_UID, ORDINARY_UID)
    return home


@needs_root
def test_as_root_the_server_runs_as_nobody_and_only_its_data_is_given_away(start: Starter, data: Path) -> None:
    server = start(data)
    assert owner_of(server.pid) == NOBODY
    owners = {path.name: path.lstat().st_uid for path in [data, *data.iterdir()]}
    assert owners == {
        **{"data": 0, "pg": NOBODY, "run": NOBODY},
        **{"pg.lock": 0, "pg.log": 0, "pg.password": 0, "pg.port": 0},
    }
    groups = [line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith("Groups")]
    assert groups[0].split() == ["Groups:"]


@needs_root
@pytest.mark.parametrize("durable", [True, False])
def test_as_root_below_a_private_directory_the_data_goes_elsewhere_and_no_mode_changes(
    start: Starter, place: Path, durable: bool
) -> None:
    private = place / "private"
    private.mkdir(mode=0o700)
    first = start(private / "data", durable=durable)
    ask(first.dsn, "create table kept (n int)", "insert into kept values (7)")
    link = Path(os.readlink(private / "data" / "pg"))
    assert link.parent.parent == (directory.SYSTEM_STATE if durable else Path(tempfile.gettempdir()))
    assert str(link.parent) in first.notices[-1]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE(link.stat().st_mode) == 0o700
    first.stop()
    second = start(private / "data", durable=durable)
    assert ask(second.dsn, "select n from kept") == 7
    second.stop()
    link.parent.rename(link.parent.with_name("mainstay-lost"))
    try:
        with pytest.raises(embedded.EmbeddedError, match="which is gone"):
            start(private / "data", durable=durable)
    finally:
        link.parent.with_name("mainstay-lost").rename(link.parent)


@needs_root
def test_as_root_with_programs_in_a_private_directory_they_are_copied_beside_the_data(
    start: Starter, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = place / "private"
    private.mkdir(mode=0o700)
    found = binaries.locate()
    for name in (f"{binaries.PACKAGE}/{binaries.INSTALLATION}", binaries.LIBRARIES):
        (private / name).parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", found.site / name, private / name], check=True)
    subprocess.run(["chmod", "-R", "go-rwx", private], check=True)
    monkeypatch.setattr(sys, "path", [str(private), *sys.path])
    (private / binaries.PACKAGE / "__init__.py").write_text("raise AssertionError('the wheel must not be imported')")
    assert binaries.locate().site == private
    server = start(place / "data")
    assert ask(server.dsn, "select 1") == 1
    copy = place / "data" / f"postgresql-{server.version}"
    assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(copy)
    assert not (copy / binaries.PACKAGE / binaries.INSTALLATION / "include").exists()
    before = copy.stat().st_ino
    server.stop()
    assert ask(start(place / "data").dsn, "select 1") == 1
    assert copy.stat().st_ino == before


def test_an_ordinary_user_owns_everything(fork: Fork, ordinary: Path) -> None:
    def act() -> tuple[int, int, str]:
        server = embedded.start(ordinary / "data", durable=False)
        return os.geteuid(), server.pid, server.dsn

    uid, pid, dsn = fork(act, ORDINARY_UID).answer()
    assert owner_of(pid) == uid != 0
    assert ask(dsn, "select 1") == 1
    assert {path.lstat().st_uid for path in (ordinary / "data").rglob("*")} == {uid}
    assert stat.S_IMODE((ordinary / "data").stat().st_mode) == 0o700


@needs_root
def test_root_on_the_data_of_an_ordinary_user_runs_as_that_user_and_hands_it_back(
    fork: Fork, start: Starter, ordinary: Path
) -> None:
    def act() -> str:
        return embedded.start(ordinary / "data", durable=False).dsn

    first = fork(act, ORDINARY_UID)
    dsn = first.answer()
    first.kill()
    server = start(ordinary / "data")
    assert (owner_of(server.pid), server.dsn) == (ORDINARY_UID, dsn)
    server.stop()
    assert {path.lstat().st_uid for path in (ordinary / "data").rglob("*")} == {ORDINARY_UID}
    assert fork(act, ORDINARY_UID).answer() == dsn


@needs_root
def test_root_follows_no_link_that_a_user_laid(start: Starter, ordinary: Path, place: Path) -> None:
    victim = place / "victim"
    victim.write_text("precious")
    (ordinary / "data").mkdir()
    (ordinary / "data" / "pg.log").symlink_to(victim)
    os.chown(ordinary / "data", ORDINARY_UID, ORDINARY_UID)
    with pytest.raises(embedded.EmbeddedError, match="in the way"):
        start(ordinary / "data")
    assert (victim.read_text(), victim.stat().st_uid) == ("precious", 0)
    (ordinary / "data" / "pg.log").unlink()
    (ordinary / "data" / "pg").symlink_to(place / "elsewhere")
    os.chown(ordinary / "data" / "pg", ORDINARY_UID, ORDINARY_UID, follow_symlinks=False)
    with pytest.raises(embedded.NotWritable, match="made by another user"):
        start(ordinary / "data")


def refusal_of(child: Child) -> Any:
    answer = child.answer()
    assert isinstance(answer, tuple), answer
    return answer


def test_a_directory_without_write_permission_is_refused(fork: Fork, ordinary: Path) -> None:
    (ordinary / "data").mkdir()
    (ordinary / "data").chmod(0o555)
    name, message = refusal_of(fork(lambda: embedded.start(ordinary / "data"), ORDINARY_UID))
    assert name == "NotWritable"
    assert str(ordinary / "data") in message
    assert "choose another data directory" in message


@needs_root
def test_a_user_without_a_name_is_told(fork: Fork, ordinary: Path) -> None:
    os.chown(ordinary, NAMELESS_UID, NAMELESS_UID)
    name, message = refusal_of(fork(lambda: embedded.start(ordinary / "data"), NAMELESS_UID))
    assert (name, "no entry in /etc/passwd" in message) == ("EmbeddedError", True)


@needs_root
def test_root_in_a_directory_of_a_user_without_a_name_runs_as_nobody(start: Starter, place: Path) -> None:
    os.chown(place, NAMELESS_UID, NAMELESS_UID)
    server = start(place)
    assert owner_of(server.pid) == NOBODY
    assert ask(server.dsn, "select 1") == 1


@needs_root
def test_data_of_another_account_is_refused(fork: Fork, start: Starter, ordinary: Path, data: Path) -> None:
    name, message = refusal_of(fork(lambda: embedded.start(data), ORDINARY_UID))
    assert (name, str(data) in message) == ("NotWritable", True)
    for path in (data, data / "pg.lock", data / "pg.password", data / "pg.log"):
        os.chown(path, ORDINARY_UID, ORDINARY_UID)
    name, message = refusal_of(fork(lambda: embedded.start(data), ORDINARY_UID))
    assert name == "NotWritable"


def test_data_that_others_may_read_is_closed_again(start: Starter, data: Path) -> None:
    (data / "pg").chmod(0o755)
    assert ask(start(data).dsn, "select 1") == 1
    assert stat.S_IMODE((data / "pg").stat().st_mode) == 0o700
