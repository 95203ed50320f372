"""What keeps `mainstay up` from running is said in one message that tells what to do."""

import asyncio
import os
import socket
import uuid
from pathlib import Path

import asyncpg
import pytest

from mainstay.cli.ports import free_port
from tests.conftest import database_url
from tests.up.conftest import Starter
from tests.up.instances import call, run

NOWHERE = "postgresql://somebody:hidden-word@127.0.0.1:1/nothing"


def test_a_chosen_port_that_is_busy_is_refused_with_its_holder(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        refused = run("up", "--data", str(place / "data"), "--port", str(port))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"mainstay up: port {port} is busy (")
    assert f"process {os.getpid()} listens on it)" in refused.stderr
    assert "choose another with --port" in refused.stderr
    assert not (place / "data" / "pg").exists()


def test_a_file_in_the_way_is_named(place: Path) -> None:
    (place / "file").write_text("mine")
    refused = run("up", "--data", str(place / "file"))
    assert refused.returncode == 1
    assert "must be a directory that only Mainstay uses" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_database_that_does_not_answer_is_said_without_its_password(place: Path) -> None:
    refused = run("up", "--data", str(place), "--port", str(free_port()), DATABASE_URL=NOWHERE)
    assert refused.returncode == 1
    assert "mainstay up: the database of DATABASE_URL cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "hidden-word" not in refused.stderr + refused.stdout


def test_settings_that_are_wrong_are_named(place: Path) -> None:
    refused = run("up", "--data", str(place), DATABASE_URL=NOWHERE, BRAND="no spaces please")
    assert (refused.returncode, "BRAND must be" in refused.stderr) == (1, True)


def test_fresh_leaves_a_database_of_somebody_else_alone(place: Path) -> None:
    refused = run("up", "--fresh", "--data", str(place), DATABASE_URL=NOWHERE)
    assert (refused.returncode, "--fresh does not empty the database" in refused.stderr) == (1, True)


def test_a_given_database_is_used_and_gets_no_demonstration(place: Path, server_url: str, start: Starter) -> None:
    name = f"given_{uuid.uuid4().hex[:8]}"

    async def make() -> None:
        admin = await asyncpg.connect(server_url)
        await admin.execute(f"create database {name}")
        await admin.close()

    asyncio.run(make())
    url = database_url(server_url, name)
    up = start(place / "data", DATABASE_URL=url).started()
    assert "the database of DATABASE_URL" in up.output
    assert "Send an event" not in up.output
    assert not (place / "data" / "demo.json").exists()
    assert not (place / "data" / "pg").exists()
    assert call(f"{up.url}/api/v1/health/ready")[0] == 200
    assert run("doctor", "--data", str(place / "data")).returncode == 0
    assert up.end() == 0
    assert up.left_over() == []


@pytest.mark.contract("NP-Q-32")
def test_doctor_tells_what_is_missing_and_ends_with_1(place: Path, server_url: str) -> None:
    nothing = run("doctor", "--data", str(place))
    assert nothing.returncode == 1
    assert "FAIL database" in nothing.stdout
    assert "DATABASE_URL is missing" in nothing.stdout
    for name in ("worker", "job store", "queues"):
        assert f"FAIL {name} " in nothing.stdout
    empty = run("doctor", "--data", str(place), DATABASE_URL=server_url)
    assert empty.returncode == 1
    assert "FAIL schema             the database has no tables of Mainstay" in empty.stdout
    assert "hidden-word" not in run("doctor", DATABASE_URL=NOWHERE).stdout


@pytest.mark.contract("NP-Q-32")
def test_doctor_tells_that_no_worker_runs(fresh_url: str, place: Path) -> None:
    told = run("doctor", "--data", str(place), DATABASE_URL=fresh_url)
    lines = {line[5:23].strip(): line[:4].strip() for line in told.stdout.splitlines()}
    assert told.returncode == 1
    assert (lines["worker"], lines["job store"], lines["queues"], lines["schema"]) == ("FAIL", "ok", "ok", "ok")
