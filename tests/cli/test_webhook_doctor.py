"""The webhook doctor: the log, the tries, the URL tried from here, and signatures to compare."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from mainstay import main
from mainstay.cli.webhook_doctor import Trial, findings_of
from mainstay.webhooks import verify
from tests.cli.running import SECRETS, Running, called, running
from tests.tenancy import Tenancy, test_settings

LOOPBACK = {"OUTBOUND_ALLOW": "127.0.0.0/8"}


@pytest.fixture
def served(fresh_url: str, tmp_path: Path) -> Iterator[Running]:
    """`mainstay api` that takes receivers on this machine."""
    env = {**SECRETS, **LOOPBACK, "DATABASE_URL": fresh_url}
    with running("api", "--port", "0", env=env, log=tmp_path / "api.log") as api:
        yield api


@asynccontextmanager
async def receiving(status: list[int]) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A receiver that answers `status[0]`; its address, and what arrived."""
    arrived: list[tuple[dict[str, str], bytes]] = []

    async def receive(request: web.Request) -> web.Response:
        arrived.append((dict(request.headers), await request.read()))
        return web.Response(status=status[0], text="the receiver's word")

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", arrived
    finally:
        await runner.cleanup()


@asynccontextmanager
async def working(url: str) -> AsyncIterator[None]:
    """A worker runs in this process."""
    stop = asyncio.Event()
    worker = asyncio.create_task(main.run_worker(test_settings(url), stop))
    try:
        yield
    finally:
        stop.set()
        await worker


@pytest.mark.contract("NP-W-17")
async def test_a_receiver_that_fails_is_diagnosed(served: Running, fresh_url: str, tenancy: Tenancy) -> None:
    status = [401]
    async with (
        receiving(status) as (url, arrived),
        httpx.AsyncClient(base_url=served.url, headers=tenancy.company_auth, timeout=60) as api,
    ):
        path = "/v1/key/company/webhooks"
        made = (await api.post(path, json={"url": url, "events": ["never.sent"], "retries": 0})).json()
        await api.post(f"{path}/{made['id']}/test")
        async with working(fresh_url), asyncio.timeout(60):
            while (await api.get(f"{path}/{made['id']}/logs")).json()["data"][0]["status"] != "FAILED":
                await asyncio.sleep(0.05)
        arrived.clear()
        env = {"MAINSTAY_URL": served.url, "MAINSTAY_KEY": tenancy.company_key}
        told = await doctor(env, made["id"], "--secret", made["secret"], "--json")
        found = json.loads(told.out)
        assert told.code == 1
        assert (found["counts"], found["tries"]) == ({"FAILED": 1}, 1)
        assert [one["statusCode"] for one in found["deliveries"][0]["attempts"]] == [401]
        assert "1 of the newest 1 deliveries failed" in found["findings"][0]
        assert "answers 401 from here" in found["findings"][1]
        [(headers, body)] = arrived
        assert found["trial"]["body"].encode() == body
        verify([made["secret"]], headers, body, now_seconds=float(headers["webhook-timestamp"]))
        documented = "sha256=" + hmac.digest(made["secret"].encode(), body, "sha256").hex()
        assert headers["X-NovaPulse-Signature"] == documented == found["trial"]["headers"]["X-NovaPulse-Signature"]

        person = await doctor(env, made["id"], "--secret", made["secret"])
        assert person.code == 1
        for shown in ("FAILED", "1 tries at 1 deliveries", "X-NovaPulse-Signature", "the receiver's word", "! The URL"):
            assert shown in person.out
        arrived.clear()
        quiet = json.loads((await doctor(env, made["id"], "--no-send", "--json")).out)
        assert (quiet["trial"], arrived) == (None, [])
        status[0] = 204
        unsigned = json.loads((await doctor(env, made["id"], "--json")).out)
        assert unsigned["trial"]["status"] == 204
        assert "webhook-signature" not in unsigned["trial"]["headers"]
        missing = await doctor(env, "0197c2b4-3b1e-7d3c-9c55-0b7b8a1f2e3d")
        assert (missing.code, "refused with 404" in missing.err) == (1, True)


async def doctor(env: dict[str, str], *arguments: str) -> Any:
    """The doctor has come and gone; the receiver answers meanwhile."""
    return await asyncio.to_thread(called, "webhooks", "doctor", *arguments, env=env)


@pytest.mark.parametrize("secret", ["x", "whsec_", "v1,whsec_YWJj"])
def test_a_secret_that_is_none_is_told_at_once(secret: str) -> None:
    ran = called("webhooks", "doctor", "w", "--secret", secret, env={"MAINSTAY_KEY": "k"})
    assert (ran.code, "--secret:" in ran.err) == (1, True)


ON: dict[str, Any] = {"isActive": True}
GOOD = {"status": "DELIVERED", "attemptCount": 1}
WAITING = {"status": "PENDING", "attemptCount": 0}


def trial(status: int | None, error: str | None = None) -> Trial:
    """What came back."""
    return Trial("u", "{}", {}, status, "", 1, error)


@pytest.mark.parametrize(
    ("webhook", "deliveries", "tried", "is_signed", "told"),
    [
        (ON, [], None, True, []),
        (ON, [GOOD, WAITING], trial(204), True, []),
        ({"isActive": False}, [], None, True, ["switched off"]),
        (ON, [WAITING, WAITING], None, True, ["does a worker run?"]),
        (ON, [], trial(None, "no answer within 10 s"), True, ["does not answer from here: no answer within 10 s"]),
        (ON, [], trial(302), True, ["Redirects are not followed"]),
        (ON, [], trial(400), False, ["was not signed"]),
        (ON, [], trial(400), True, ["compare the signatures"]),
        (ON, [], trial(404), True, ["check the URL"]),
        (ON, [], trial(503), True, ["look into its log"]),
    ],
)
def test_what_is_found_says_what_to_do(
    webhook: dict[str, Any], deliveries: list[dict[str, Any]], tried: Trial | None, is_signed: bool, told: list[str]
) -> None:
    found = findings_of(webhook, deliveries, tried, is_signed=is_signed)
    assert len(found) == len(told)
    assert all(part in finding for part, finding in zip(told, found, strict=True))
