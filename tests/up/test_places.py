"""Where data goes: a directory that can be written in, private files, one holder."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.cli import places
from mainstay.cli.places import Place, UpRefused
from tests.embedded.conftest import ORDINARY_UID, Child, fork, needs_root

__all__ = ["fork"]
Forker = Callable[..., Child]


def as_ordinary(place: Path, here: Path, **environment: str) -> Callable[[], tuple[str, str | None]]:
    """What an ordinary user who stands in a directory gets; the refusal's text where there is none."""

    def act() -> tuple[str, str | None]:
        os.chdir(here)
        os.environ.update({"HOME": str(place / "nobody"), "TMPDIR": str(place / "tmp")} | environment)
        tempfile.tempdir = None
        try:
            chosen = places.choose(None)
        except UpRefused as refusal:
            return "refused", str(refusal)
        return str(chosen.directory), chosen.note

    return act


def test_the_usual_place_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert places.choose(None) == Place(tmp_path / ".mainstay")
    assert stat.S_IMODE((tmp_path / ".mainstay").stat().st_mode) & 0o077 == 0


@needs_root
def test_a_directory_that_cannot_be_written_in_leads_to_the_users_own(place: Path, fork: Forker) -> None:
    (place / "state").mkdir()
    os.chown(place / "state", ORDINARY_UID, -1)
    directory, note = fork(as_ordinary(place, place, XDG_STATE_HOME=str(place / "state")), ORDINARY_UID).answer()
    assert directory == str(place / "state" / "mainstay")
    assert f"{place / '.mainstay'}: Permission denied" in note
    assert directory in note


@needs_root
def test_without_a_home_it_leads_to_a_temporary_one_and_says_so(place: Path, fork: Forker) -> None:
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    directory, note = fork(as_ordinary(place, place, XDG_STATE_HOME=""), ORDINARY_UID).answer()
    assert directory == str(place / "tmp" / f"mainstay-up-{ORDINARY_UID}")
    assert "may empty at its next start" in note


@needs_root
def test_a_directory_of_somebody_else_under_the_temporary_name_is_not_trusted(place: Path, fork: Forker) -> None:
    (place / "tmp" / f"mainstay-up-{ORDINARY_UID}").mkdir(parents=True)
    (place / "tmp" / f"mainstay-up-{ORDINARY_UID}").chmod(0o777)
    (place / "tmp").chmod(0o1777)
    outcome, told = fork(as_ordinary(place, place, XDG_STATE_HOME=""), ORDINARY_UID).answer()
    assert outcome == "refused"
    assert "belongs to another user" in told
    assert "--data" in told


@needs_root
def test_a_named_directory_that_is_read_only_is_refused(place: Path, fork: Forker) -> None:
    def act() -> str:
        try:
            places.choose(place / "mine")
        except UpRefused as refusal:
            return str(refusal)
        return "taken"

    told = fork(act, ORDINARY_UID).answer()
    assert "no permission for" in told
    assert "choose another directory with --data" in told


def test_files_are_private_and_replaced_as_a_whole(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write("one.json", {"a": 1})
    place.write("one.json", {"a": 2})
    assert place.read("one.json") == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
    assert stat.S_IMODE((tmp_path / "one.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{", "[1]", "\0"])
def test_a_torn_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.json").write_text(content)
    assert Place(tmp_path).read("one.json") is None


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(places.RUNNING, {"pid": 4711, "url": "http://127.0.0.1:8080"})
    lock = places.Lock(place)
    with pytest.raises(UpRefused, match=r"process 4711 already runs .*127\.0\.0\.1:8080"):
        places.Lock(place)
    lock.release()
    places.Lock(place).release()


def test_a_lock_that_was_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / places.LOCK).write_text("99999999\n")
    places.Lock(Place(tmp_path)).release()


def test_secrets_are_made_once_and_those_of_the_environment_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in places.OWN_SECRETS:
        monkeypatch.delenv(name, raising=False)
    made = places.secrets_of(Place(tmp_path))
    assert len(set(made.values())) == 4
    assert all(len(secret) >= 43 for secret in made.values())
    assert places.secrets_of(Place(tmp_path)) == made
    monkeypatch.setenv("MAINSTAY_SECRET", "given" * 8)
    assert places.secrets_of(Place(tmp_path)) == made | {"MAINSTAY_SECRET": "given" * 8}
    assert places.Place(tmp_path).read(places.SECRETS) == made
    older = {name: made[name] for name in made if name != "JWT_REFRESH_SECRET"}
    places.Place(tmp_path).write(places.SECRETS, older)
    grown = places.Place(tmp_path), places.secrets_of(Place(tmp_path))["JWT_REFRESH_SECRET"]
    assert grown[0].read(places.SECRETS) == older | {"JWT_REFRESH_SECRET": grown[1]}


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EROFS, "read-only file system"),
        (errno.EACCES, "no permission"),
        (errno.ENOTDIR, "in the way"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_trouble_with_files_is_said_with_the_file(number: int, told: str) -> None:
    with pytest.raises(UpRefused, match=told) as refusal, places.explained(Path("data")):
        raise OSError(number, os.strerror(number), "data/file")
    assert "data/file" in str(refusal.value)


@needs_root
def test_what_root_writes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, ORDINARY_UID, ORDINARY_UID)
    Place(tmp_path).write("one.json", {})
    assert (tmp_path / "one.json").stat().st_uid == ORDINARY_UID


def test_a_running_one_is_known_by_its_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert places.environment_of_running(place) is None
    place.write(places.RUNNING, {"pid": os.getpid(), "environment": {"PORT": "8080"}})
    assert places.environment_of_running(place) == {"PORT": "8080"}
    place.write(places.RUNNING, {"pid": 2**22 + 1, "environment": {"PORT": "8080"}})
    assert places.environment_of_running(place) is None
