"""Requests under an idempotency key have one effect, and every answer is as the description of the API says."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from pydantic import TypeAdapter

from mainstay.kernel.db import Database
from mainstay.web.front import Front
from tests.receivers import Receiver
from tests.webhooks.conftest import COMPANY_PATH, PEOPLE_PATH, Tenant, count, publish
from tests.webhooks.line import Line

HEAD = {"Idempotency-Key": "once"}
HOOK = {"url": "http://127.0.0.1:9/hook", "events": ["*"]}
TYPES = COMPANY_PATH.replace("webhooks", "event-types")
SINCE = "2026-01-01T00:00:00Z"


async def test_a_secret_is_shown_once_and_the_webhook_made_once(tenant: Tenant, db: Database) -> None:
    made = (await tenant.key.post(COMPANY_PATH, json=HOOK, headers=HEAD)).json()
    again = await tenant.key.post(COMPANY_PATH, json=HOOK, headers=HEAD)
    assert (again.status_code, again.json()["code"]) == (409, "secret-shown-before")
    assert again.json()["endpointId"] == made["id"]
    assert made["secret"] not in again.text
    other = await tenant.key.post(COMPANY_PATH, json={**HOOK, "events": ["other"]}, headers=HEAD)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")
    assert await count(db, "endpoints") == 1
    # The key is each caller's own, and each act's.
    assert (await tenant.owner.post(PEOPLE_PATH, json=HOOK, headers=HEAD)).status_code == 201
    path = f"{COMPANY_PATH}/{made['id']}/rotate-secret"
    rotated = await tenant.key.post(path, json={}, headers=HEAD)
    assert rotated.json()["secret"] not in (None, made["secret"])
    for code, body in ((409, {}), (422, {"overlapSeconds": 1})):
        assert (await tenant.key.post(path, json=body, headers=HEAD)).status_code == code
    assert (await tenant.key.post(path, json={}, headers={"Idempotency-Key": "k" * 255})).status_code == 200
    refused = await tenant.key.post(path, json={}, headers={"Idempotency-Key": "k" * 256})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "Idempotency-Key")


async def test_a_refused_request_may_come_again_and_an_answer_without_a_secret_does(tenant: Tenant) -> None:
    refused = await tenant.key.post(COMPANY_PATH, json={**HOOK, "url": "ftp://x"}, headers=HEAD)
    assert refused.status_code == 400
    signing = {**HOOK, "signing": "ed25519"}
    made = await tenant.key.post(COMPANY_PATH, json=signing, headers=HEAD)
    again = await tenant.key.post(COMPANY_PATH, json=signing, headers=HEAD)
    assert (made.status_code, again.status_code) == (201, 201)
    assert again.json() == made.json()
    path = f"{COMPANY_PATH}/{made.json()['id']}/rotate-secret"
    rotated = [await tenant.key.post(path, json={}, headers=HEAD) for _ in range(2)]
    assert [one.status_code for one in rotated] == [200, 200]
    assert rotated[0].json()["publicKey"] == rotated[1].json()["publicKey"] != made.json()["publicKey"]


async def test_what_is_sent_again_is_sent_once(tenant: Tenant, db: Database) -> None:
    hook = await tenant.webhook()
    await publish(db, tenant, "task.created")
    delivery = (await tenant.log(hook))[0]["id"]
    at = f"{COMPANY_PATH}/{hook['id']}"
    wanted = {"scope": "messages", "since": SINCE}
    asked: list[tuple[str, Any, Any]] = [
        (f"{at}/test", None, {"type": "webhook.test"}),
        (f"{at}/deliveries/{delivery}/replay", None, None),
        (f"{at}/replays", wanted, {**wanted, "scope": "missed"}),
    ]
    for path, body, other in asked:
        first, second = [await tenant.key.post(path, json=body, headers=HEAD) for _ in range(2)]
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        if other is not None:
            assert (await tenant.key.post(path, json=other, headers=HEAD)).status_code == 422
    assert (await count(db, "deliveries"), await count(db, "replays")) == (3, 1)
    counted = await tenant.key.post(f"{at}/replays", json={**wanted, "dryRun": True}, headers=HEAD)
    assert counted.status_code == 200


async def test_a_repeated_type_leaves_what_came_between(tenant: Tenant) -> None:
    path = f"{TYPES}/task.done"
    first = await tenant.key.put(path, json={"description": "a"}, headers=HEAD)
    await tenant.key.put(path, json={"description": "b"})
    again = await tenant.key.put(path, json={"description": "a"}, headers=HEAD)
    assert (first.status_code, again.status_code, again.json()["description"]) == (201, 201, "b")
    assert (await tenant.key.put(path, json={"description": "c"}, headers=HEAD)).status_code == 422
    later = {"Idempotency-Key": "later"}
    changed = [await tenant.key.put(path, json={"description": "c"}, headers=later) for _ in range(2)]
    assert [one.status_code for one in changed] == [200, 200]


@pytest.fixture
def described(app: Front) -> Callable[[httpx.Response, str], None]:
    """Passes an answer that is as its route describes it, by the method and the path below the webhooks."""
    models = {
        (method, context.path): (context.response_model, context.responses)
        for context in iter_route_contexts(app._app.routes)
        if context.path.startswith(("/api/v1", "/v1"))
        for method in context.methods or ()
    }
    silent = [way for way, (model, _) in models.items() if model is None and way[0] != "DELETE"]
    assert (len(models) > 40, silent) == (True, [])

    def check(answer: httpx.Response, path: str) -> None:
        model, others = models[answer.request.method, path]
        more = (others.get(answer.status_code) or {}).get("model")
        TypeAdapter(more or model).validate_json(answer.content, strict=True)

    return check


async def test_every_answer_is_as_it_is_described(
    tenant: Tenant, db: Database, line: Line, described: Callable[[httpx.Response, str], None]
) -> None:
    key, types, one = tenant.key, TYPES + "/{type_name}", COMPANY_PATH + "/{endpoint_id}"
    async with Receiver() as receiver:
        made = await key.post(COMPANY_PATH, json={**HOOK, "url": receiver.url(), "ordering": "fifo"})
        described(made, COMPANY_PATH)
        at = f"{COMPANY_PATH}/{made.json()['id']}"
        await publish(db, tenant, "task.created")
        await line.drain()
    pull = await key.post(COMPANY_PATH, json={"kind": "pull", "events": ["*"], "filter": {"type": "x"}})
    described(pull, COMPANY_PATH)
    described(await key.get(COMPANY_PATH), COMPANY_PATH)
    described(await key.get(at), one)
    described(await key.patch(at, json={"description": "b"}), one)
    described(await key.post(f"{at}/rotate-secret", json={}), one + "/rotate-secret")
    described(await key.post(f"{at}/test"), one + "/test")
    log = await key.get(f"{at}/logs")
    described(log, one + "/logs")
    assert log.json()["data"][-1]["attempts"], "a delivery of the log has been tried"
    again = f"/deliveries/{log.json()['data'][0]['id']}/replay"
    described(await key.post(at + again), one + "/deliveries/{delivery_id}/replay")
    replays, wanted = one + "/replays", {"scope": "deliveries", "since": SINCE}
    described(await key.post(f"{at}/replays", json={**wanted, "dryRun": True}), replays)
    replay = await key.post(f"{at}/replays", json=wanted)
    described(replay, replays)
    described(await key.get(f"{at}/replays"), replays)
    described(await key.get(f"{at}/replays/{replay.json()['id']}"), replays + "/{replay_id}")
    cancelled = await key.post(f"{at}/replays/{replay.json()['id']}/cancel")
    described(cancelled, replays + "/{replay_id}/cancel")
    described(await key.get(f"{at}/stats"), one + "/stats")
    described(await key.get(f"{COMPANY_PATH}/stats"), COMPANY_PATH + "/stats")
    trial = {"filter": {"type": "x"}, "example": {"type": "x"}}
    described(await key.post(f"{COMPANY_PATH}/filter-test", json=trial), COMPANY_PATH + "/filter-test")
    await publish(db, tenant, "x", '{"type": "x", "timestamp": "2026-01-01T00:00:00Z", "data": {"n": 1}}')
    messages = await key.get(f"{COMPANY_PATH}/{pull.json()['id']}/messages")
    assert messages.json()["data"]
    described(messages, COMPANY_PATH + "/{pull_id}/messages")
    for _ in range(2):
        described(await key.put(f"{TYPES}/task.done", json={"schema": {}, "example": {}}), types)
    described(await key.get(f"{TYPES}/task.done"), types)
    described(await key.get(TYPES), TYPES)
