"""Instances of `mainstay up` that do not outlive their test."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.embedded.postmaster import free_port
from tests.embedded.conftest import make_place
from tests.up.instances import Up

Starter = Callable[..., Up]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every account can enter."""
    path = make_place()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts `mainstay up` on a free port and ends it with the test."""
    running: list[Up] = []

    def make(data: Path, *options: str, **settings: str) -> Up:
        port = [] if "--port" in options else ["--port", str(free_port())]
        running.append(Up(data, *port, *options, **settings))
        return running[-1]

    yield make
    for up in running:
        up.clean_up()


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One instance for tests that leave it as they find it."""
    path = make_place()
    running = Up(path / "data", "--port", str(free_port()))
    try:
        yield running.started()
    finally:
        running.clean_up()
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory that an instance has used, to copy."""
    path = make_place()
    running = Up(path / "data", "--port", str(free_port()))
    try:
        running.started()
        assert running.end() == 0
        yield path / "data"
    finally:
        running.clean_up()
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def data(place: Path, used: Path) -> Path:
    """A data directory of the test's own that was used before."""
    subprocess.run(["cp", "-a", str(used), str(place / "data")], check=True)
    (place / "data" / "pg.port").unlink()
    return place / "data"
