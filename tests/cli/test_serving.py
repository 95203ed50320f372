"""The processes: how they start, what stops them from starting, and how they end."""

import asyncio
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mainstay.embedded.postmaster import free_port
from mainstay.kernel import migrations
from mainstay.kernel.db import Database
from tests.cli.running import SECRETS, Running, mainstay, running
from tests.conftest import database_url
from tests.tenancy import Tenancy

NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/nothing"


def ask(url: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def port_of(api: Running) -> int:
    return int(api.url.rpartition(":")[2])


def exchange(port: int, sent: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        found = b""
        while chunk := connection.recv(65_536):
            found += chunk
        return found


async def until_refused(port: int) -> None:
    """Nobody listens on the port any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except ConnectionRefusedError:
            return
        except OSError:
            pass
        await asyncio.sleep(0.02)


async def test_the_api_serves_and_ends_at_a_signal(served: Running) -> None:
    assert ask(f"{served.url}/api/v1/health/ready")[0] == 200
    served.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(served.process.wait, 60) == 0, served.log.read_text()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port_of(served)), timeout=60)


async def test_a_request_under_way_is_answered_before_the_end(served: Running, tenancy: Tenancy) -> None:
    body = b'{"action":"a.b"}'
    head = (
        f"POST /v1/key/workspace/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenancy.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body[:5])
        served.process.send_signal(signal.SIGTERM)
        await until_refused(port_of(served))
        connection.sendall(body[5:])
        assert b" 201 " in connection.recv(65_536)
    await asyncio.to_thread(served.process.wait, 60)


async def test_a_second_signal_ends_at_once(served: Running, tenancy: Tenancy) -> None:
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=60) as connection:
        head = f"POST /v1/key/workspace/events HTTP/1.1\r\nhost: x\r\nx-api-key: {tenancy.key}\r\n"
        connection.sendall(head.encode() + b"content-length: 9\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        served.process.send_signal(signal.SIGTERM)
        await until_refused(port_of(served))
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(served.process.wait, 60) == 128 + signal.SIGINT


async def test_a_head_may_hold_16_kib_and_no_more(served: Running) -> None:
    start = b"GET /api/v1/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: "
    assert b" 200 " in exchange(port_of(served), start + b"a" * 16_000 + b"\r\n\r\n")
    for sent in (
        start + b"a" * 16_400 + b"\r\n\r\n",
        start + b"\r\n".join(b"x-%d: 1" % n for n in range(3_000)) + b"\r\n\r\n",
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ):
        answer = exchange(port_of(served), sent)
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        assert answer.count(b"HTTP/1.1") == 1
    with socket.create_connection(("127.0.0.1", port_of(served)), timeout=60) as connection:
        connection.sendall(start)
        for _ in range(40):
            try:
                connection.sendall(b"a" * 1_000)
            except OSError:
                break
            await asyncio.sleep(0.01)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 431 ")


async def test_many_requests_on_one_connection_have_a_head_each(served: Running) -> None:
    request = b"GET /api/v1/health/live HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 9_000 + b"\r\n\r\n"
    last = request.replace(b"host: x", b"host: x\r\nconnection: close")
    assert exchange(port_of(served), request * 4 + last).count(b"HTTP/1.1 200 OK") == 5


async def test_a_busy_port_is_told_with_a_way_round(fresh_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = mainstay("api", "--port", str(port), env={**SECRETS, "DATABASE_URL": fresh_url})
    assert ran.code == 1
    assert f"port {port} on 127.0.0.1 is in use" in ran.err
    assert "--port" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["api", "worker", "migrate"])
def test_missing_settings_are_named_and_their_values_are_not(command: str) -> None:
    ran = mainstay(command, env={"DATABASE_URL": NOWHERE, "MAINSTAY_SECRET": "too-short"})
    assert ran.code == 2
    assert "MAINSTAY_SECRET" in ran.err or "JWT_ACCESS_SECRET" in ran.err
    assert "hunter2" not in ran.err
    assert "too-short" not in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [("migrate",), ("companies", "list"), ("keys", "list", "--company", "x")])
def test_a_database_that_is_away_is_told(arguments: tuple[str, ...]) -> None:
    ran = mainstay(*arguments, env={**SECRETS, "DATABASE_URL": NOWHERE})
    assert ran.code == 1
    assert "the database at DATABASE_URL does not answer" in ran.err
    assert "hunter2" not in ran.err
    assert "Traceback" not in ran.err


async def test_a_database_that_is_not_there_or_not_migrated_is_told(server_url: str, tmp_path: Path) -> None:
    away = database_url(server_url, "no_such_database")
    ran = mainstay("migrate", env={**SECRETS, "DATABASE_URL": away})
    assert ran.code == 1
    assert "does not exist" in ran.err
    ran = mainstay("companies", "list", env={"DATABASE_URL": server_url})
    assert ran.code == 1
    assert "mainstay migrate" in ran.err


async def test_migrate_makes_a_database_fit_and_can_run_again(server_url: str) -> None:
    import asyncpg

    name = f"t_cli_{os.getpid()}"
    admin = await asyncpg.connect(server_url)
    await admin.execute(f'create database "{name}"')
    url = database_url(server_url, name)
    try:
        for _ in range(2):
            ran = mainstay("migrate", env={**SECRETS, "DATABASE_URL": url})
            assert ran.code == 0, ran.err
        db = Database(url, size=1)
        assert await migrations.revision(db) == migrations.newest()
        await db.close()
    finally:
        await admin.execute(f'drop database "{name}" with (force)')
        await admin.close()


async def test_a_worker_serves_its_pages_and_ends_at_a_signal(fresh_url: str, tmp_path: Path) -> None:
    port = free_port()
    env = {**SECRETS, "DATABASE_URL": fresh_url, "WORKER_METRICS_PORT": str(port), "SHUTDOWN_SECONDS": "5"}
    ready = re.compile(r"a worker runs; /metrics and /live on (\S+)")
    with running("worker", env=env, log=tmp_path / "worker.log", until=ready) as worker:
        pages = f"http://{worker.url}"
        assert ask(f"{pages}/live") == (200, b'{"status": "live"}')
        assert b"loop_last_run_timestamp_seconds" in ask(f"{pages}/metrics")[1]
        clash = mainstay("worker", env=env)
        assert clash.code == 1
        assert "WORKER_METRICS_PORT" in clash.err
        worker.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(worker.process.wait, 60) == 0, worker.log.read_text()


async def test_the_workers_metrics_are_closed_in_production(fresh_url: str, tmp_path: Path) -> None:
    port = free_port()
    token = "a-token-for-operators-of-forty-characters"
    env: dict[str, Any] = {**SECRETS, "DATABASE_URL": fresh_url, "WORKER_METRICS_PORT": str(port)}
    env |= {"PROFILE": "production", "INTERNAL_TOKEN": token}
    ready = re.compile(r"/metrics and /live on (\S+)")
    with running("worker", env=env, log=tmp_path / "worker.log", until=ready) as worker:
        pages = f"http://{worker.url}"
        assert ask(f"{pages}/metrics")[0] == 401
        assert ask(f"{pages}/metrics", **{"x-internal-token": token})[0] == 200
        assert json.loads(ask(f"{pages}/live")[1]) == {"status": "live"}


@pytest.mark.contract("DR-C-01", "HL-C-06", "NP-C-08")
async def test_production_without_a_database_listens_on_port_and_says_what_is_missing(tmp_path: Path) -> None:
    port = free_port()
    env = {**SECRETS, "PROFILE": "production", "INTERNAL_TOKEN": "t" * 40, "PORT": str(port)}
    env |= {"SERVICE_NAME": "novapulse-api", "OTEL_SERVICE_NAME": "hyrelog-api"}
    with running("api", env=env, log=tmp_path / "api.log") as api:
        assert api.url == f"http://127.0.0.1:{port}"
        status, body = ask(f"{api.url}/api/v1/health/ready")
        assert (status, json.loads(body)["checks"]) == (503, {"settings": "missing: DATABASE_URL"})
        assert ask(f"{api.url}/api/v1/health/live")[0] == 200
        api.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(api.process.wait, 60) == 0, api.log.read_text()
    lines = [json.loads(line) for line in api.log.read_text().splitlines() if line.startswith("{")]
    assert {line["service"] for line in lines} == {"hyrelog-api api"}


@pytest.mark.contract("DR-C-01")
async def test_development_without_a_database_starts_its_own_and_shares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = {"PROFILE": "development", "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    with running("api", "--port", "0", env=home, log=tmp_path / "api.log") as api:
        assert "embedded PostgreSQL" in api.log.read_text()
        assert ask(f"{api.url}/api/v1/health/ready")[0] == 200
        with running("worker", env=home, log=tmp_path / "worker.log", until=re.compile("a worker (runs)")) as worker:
            assert "uses the database of what already runs" in worker.log.read_text()
