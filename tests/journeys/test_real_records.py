"""Real records through the whole main path: stored, proven, found, delivered, and checked by verifiers of others."""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainstay import events, main
from mainstay.cli.mappings import Mapped, map_cloudtrail, map_github
from mainstay.kernel.db import Database, Sql
from tests.conftest import running_app
from tests.receivers import Receiver
from tests.tenancy import open_tenancy, test_settings
from tests.webhooks.test_peers import peers, verdicts

__all__ = ["peers"]
DENIED = {"AccessDenied", "Client.UnauthorizedOperation"}


def mapped(file: Path, mapping: Callable[[bytes], Iterator[Any]]) -> list[bytes]:
    with gzip.open(file) as lines:
        found = [one for line in lines for one in mapping(line)]
    assert all(isinstance(one, Mapped) for one in found)
    return [one.body for one in found]


@pytest.mark.contract("HL-E-03", "HL-W-04", "HL-W-05", "NP-W-05", "NP-W-07", "NP-W-10", "NP-Q-05", "HL-E-07")
async def test_three_thousand_real_records(
    fresh_url: str, db: Database, shared_data: Path, peers: Path, tmp_path: Path
) -> None:
    tenancy = await open_tenancy(db)
    records = mapped(shared_data / "cloudtrail.ndjson.gz", map_cloudtrail)
    records += mapped(shared_data / "github-webhooks.ndjson.gz", map_github)
    assert len(records) == 2_900 + 273
    async with Receiver() as receiver, running_app(fresh_url) as api:
        wanted = {"url": receiver.url(), "events": ["*"], "workspaceId": tenancy.workspace_id}
        created = await api.post("/v1/key/company/webhooks", json=wanted, headers=tenancy.company_auth)
        secret = created.json()["secret"]
        by_id: dict[str, dict[str, Any]] = {}
        for start in range(0, len(records), 500):
            body = b'{"events":[' + b",".join(records[start : start + 500]) + b"]}"
            answer = await api.post("/v1/key/workspace/events/batch", content=body, headers=tenancy.auth)
            assert answer.json()["meta"]["refused"] == 0, answer.text[:2000]
            by_id |= {item["id"]: item for item in answer.json()["data"]}
        again = b'{"events":[' + b",".join(records[:500]) + b"]}"
        answer = await api.post("/v1/key/workspace/events/batch", content=again, headers=tenancy.auth)
        assert answer.json()["meta"]["replayed"] == 500
        assert len(by_id) == len(records)
        waiting = await db.value(Sql("test.waiting", "select count(*) from mainstay.jobs where queue = 'nova:webhook'"))
        assert waiting == len(records)
        keys = await events.public_keys(db)
        verdict = await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys=keys)
        assert [verdict.ok, verdict.checked] == [True, len(records)]
        await _find_what_matters(api, tenancy.auth, shared_data)

        stop = asyncio.Event()
        worker = asyncio.create_task(main.run_worker(test_settings(fresh_url), stop))
        received = await receiver.wait_for(len(records), 60)
        stop.set()
        await asyncio.wait_for(worker, 60)

    assert {request.headers["webhook-id"] for request in received} == set(by_id)
    assert len(received) == len(records)
    for request in received[:: len(received) // 100]:
        data = json.loads(request.body)["data"]
        assert request.headers["x-trace-id"] == data["traceId"]
        assert request.headers["traceparent"].split("-")[1] == data["traceId"]
        assert data["hash"] == by_id[data["id"]]["hash"]
    cases = [(secret, request.headers, request.body) for request in received]
    tampered = [(secret, request.headers, request.body.replace(b'"seq":', b'"seq":1')) for request in received[:50]]
    found = await asyncio.to_thread(verdicts, peers, cases + tampered)
    for verdict_of_one in found[: len(cases)]:
        assert verdict_of_one["standardwebhooks"] == verdict_of_one["svix"] == "accepted"
    for verdict_of_one in found[len(cases) :]:
        assert "accepted" not in (
            verdict_of_one["standardwebhooks"],
            verdict_of_one["svix"],
            verdict_of_one["documented"],
        )
    rewritten = sum(1 for one in found[: len(cases)] if one["documented"] == "accepted")
    assert rewritten == len(cases)


async def _find_what_matters(api: Any, auth: dict[str, str], shared_data: Path) -> None:
    with gzip.open(shared_data / "cloudtrail.ndjson.gz") as lines:
        raw = [json.loads(line) for line in lines]
    denied = [record for record in raw if record.get("errorCode") in DENIED]
    found = (await api.get("/v1/key/workspace/events", headers=auth, params={"category": "denied"})).json()
    assert found["meta"]["total"] == len(denied) == 60
    logins = [record for record in raw if record["eventName"] == "ConsoleLogin"]
    failed = [r for r in logins if (r.get("responseElements") or {}).get("ConsoleLogin") == "Failure"]
    for category, count in (("console-login-failed", len(failed)), ("auth", None)):
        page = (await api.get("/v1/key/workspace/events", headers=auth, params={"category": category})).json()
        if count is not None:
            assert page["meta"]["total"] == count
        else:
            actions = [event["action"] for event in page["data"]]
            assert sum(action.endswith("ConsoleLogin") for action in actions) == len(logins) - len(failed)
