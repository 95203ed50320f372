"""What an owner may set on an endpoint: kinds, profiles, signing, order, pace, headers, filter; and its health."""

import json
from datetime import timedelta
from typing import Any

import pytest

from mainstay.kernel.db import Database
from mainstay.webhooks import filters
from tests.webhooks.conftest import COMPANY_PATH, KEYRING, PEOPLE_PATH, Tenant, announced, count, publish
from tests.webhooks.line import Line

URL = "http://127.0.0.1:9/hook"
SETTINGS = {
    "retryProfile": "three_days",
    "retries": 10,
    "signing": "ed25519",
    "ordering": "fifo",
    "rateLimitPerSecond": 10_000,
    "concurrency": 10,
    "headers": {"X-Team": "billing"},
    "traceContext": "restart",
    "payloadVersion": 2,
    "filter": {"data.category": "security", "$or": [{"data.amount": {"$gte": 100}}, {"$not": {"data.a": None}}]},
}
DEFAULTS = {
    "kind": "push",
    "retryProfile": "standard",
    "retries": 4,
    "signing": "hmac",
    "publicKey": None,
    "ordering": "none",
    "rateLimitPerSecond": None,
    "concurrency": None,
    "headers": {},
    "traceContext": "propagate",
    "payloadVersion": 1,
    "filter": None,
    "line": None,
    "health": {"state": "healthy", "failures": 0, "failingSince": None, "openUntil": None, "disablesAt": None},
}


def shown(webhook: dict[str, Any], names: Any) -> dict[str, Any]:
    """Some fields of a webhook."""
    return {name: webhook[name] for name in names}


async def patch(tenant: Tenant, webhook: dict[str, Any], status: int = 200, **values: Any) -> dict[str, Any]:
    """The answer to a change."""
    answer = await tenant.key.patch(f"{COMPANY_PATH}/{webhook['id']}", json=values)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("family", [PEOPLE_PATH, COMPANY_PATH])
async def test_every_setting_is_made_read_listed_and_changed_in_both_families(tenant: Tenant, family: str) -> None:
    client = tenant.key if family == COMPANY_PATH else tenant.owner
    made = await client.post(family, json={"url": URL, "events": ["*"], **SETTINGS})
    assert made.status_code == 201, made.text
    path = f"{family}/{made.json()['id']}"
    plain = (await client.post(family, json={"url": URL, "events": ["*"]})).json()
    assert shown(plain, DEFAULTS) == DEFAULTS
    for one in (made.json(), (await client.get(path)).json(), (await client.get(family)).json()["data"][0]):
        assert shown(one, SETTINGS) == SETTINGS
        assert one["maxAttempts"] == 11
    changeable = {name: value for name, value in SETTINGS.items() if name != "signing"}
    changed = await client.patch(f"{family}/{plain['id']}", json=changeable)
    assert shown(changed.json(), changeable) == changeable
    reset = {name: DEFAULTS[name] for name in changeable}
    answer = await client.patch(f"{family}/{plain['id']}", json={**reset, "headers": None})
    assert shown(answer.json(), DEFAULTS) == DEFAULTS, answer.text


async def test_a_public_key_takes_the_place_of_the_secret(tenant: Tenant) -> None:
    webhook = await tenant.webhook(signing="ed25519")
    assert webhook["secret"] is None
    assert webhook["publicKey"].startswith("whpk_")
    path = f"{COMPANY_PATH}/{webhook['id']}"
    assert (await tenant.key.get(path)).json()["publicKey"] == webhook["publicKey"]
    rotated = (await tenant.key.post(path + "/rotate-secret", json={"overlapSeconds": 60})).json()
    assert rotated["secret"] is None
    assert (rotated["publicKey"] != webhook["publicKey"], rotated["previousPublicKey"]) == (True, webhook["publicKey"])
    at_once = (await tenant.key.post(path + "/rotate-secret", json={"overlapSeconds": 0})).json()
    assert at_once["previousPublicKey"] is None


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"kind": "poll"}, "#/kind"),
        ({"retryProfile": "weekly"}, "#/retryProfile"),
        ({"retryProfile": "three_days", "retries": 11}, "#/retries"),
        ({"signing": "rsa"}, "#/signing"),
        ({"ordering": "lifo"}, "#/ordering"),
        ({"ordering": None}, "#/ordering"),
        ({"rateLimitPerSecond": 0}, "#/rateLimitPerSecond"),
        ({"rateLimitPerSecond": 10_001}, "#/rateLimitPerSecond"),
        ({"rateLimitPerSecond": 1.5}, "#/rateLimitPerSecond"),
        ({"concurrency": 0}, "#/concurrency"),
        ({"concurrency": 11}, "#/concurrency"),
        ({"traceContext": "on"}, "#/traceContext"),
        ({"payloadVersion": 0}, "#/payloadVersion"),
        ({"payloadVersion": 3}, "#/payloadVersion"),
        ({"headers": {"Host": "x"}}, "#/headers/Host"),
        ({"headers": {"X-NovaPulse-Event": "x"}}, "#/headers/X-NovaPulse-Event"),
        ({"headers": {"X-A": "line\nbreak"}}, "#/headers/X-A"),
        ({"headers": {"Authorization": "•••• abcd"}}, "#/headers/Authorization"),
        ({"headers": {"X-A": 1}}, "#/headers/..."),
        ({"headers": {f"X-{n}": "x" for n in range(21)}}, "#/headers"),
        ({"filter": {}}, "#/filter"),
        ({"filter": {"data.a": {"$regex": "x"}}}, "#/filter/data.a/$regex"),
        ({"filter": []}, "#/filter"),
    ],
)
async def test_bad_settings_are_refused_with_a_pointer(
    tenant: Tenant, db: Database, more: dict[str, Any], pointer: str
) -> None:
    webhook = await tenant.webhook()
    for answer in (
        await tenant.key.post(COMPANY_PATH, json={"url": URL, "events": ["*"], **more}),
        await tenant.key.patch(f"{COMPANY_PATH}/{webhook['id']}", json=more),
    ):
        assert answer.status_code == 400, answer.text
        assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await count(db, "endpoints") == 1
    assert await announced(db, "endpoint.changed") == []


async def test_retries_follow_the_profile_unless_they_were_chosen(tenant: Tenant) -> None:
    full = await tenant.webhook()
    assert (await patch(tenant, full, retryProfile="three_days"))["retries"] == 10
    assert (await patch(tenant, full, retryProfile="standard"))["retries"] == 4
    chosen = await tenant.webhook(retries=2)
    assert (await patch(tenant, chosen, retryProfile="three_days"))["retries"] == 2
    await patch(tenant, chosen, retries=7)
    refused = await patch(tenant, chosen, 400, retryProfile="standard")
    assert refused["errors"][0]["pointer"] == "#/retries"
    assert (await patch(tenant, chosen, retryProfile="standard", retries=3))["retries"] == 3


async def test_kind_and_signing_stay_as_they_were_made(tenant: Tenant) -> None:
    webhook = await tenant.webhook()
    for values in ({"kind": "pull"}, {"signing": "ed25519"}):
        refused = await patch(tenant, webhook, 400, **values)
        assert refused["errors"][0]["pointer"] == "#/" + next(iter(values))
    await patch(tenant, webhook, kind="push", signing="hmac")


async def test_a_pull_endpoint_has_nothing_that_sending_needs(tenant: Tenant) -> None:
    made = await tenant.key.post(COMPANY_PATH, json={"kind": "pull", "events": ["*"], "payloadVersion": 2})
    assert made.status_code == 201, made.text
    webhook = made.json()
    assert webhook["secret"].startswith("whpull_")
    assert shown(webhook, ("kind", "url", "retries", "headers", "health", "payloadVersion")) == {
        "kind": "pull", "url": None, "retries": None, "headers": None, "health": None, "payloadVersion": 2
    }  # fmt: skip
    for name, value in {"url": URL, "ordering": "fifo", "retries": 1, "headers": {}, "concurrency": 1}.items():
        refused = await patch(tenant, webhook, 400, **{name: value})
        assert refused["errors"][0]["pointer"] == f"#/{name}"
    missing = await tenant.key.post(COMPANY_PATH, json={"events": ["*"]})
    assert (missing.status_code, missing.json()["errors"][0]["pointer"]) == (400, "#/url")


async def test_headers_are_sealed_and_those_that_speak_of_secrets_are_shown_by_their_end(
    tenant: Tenant, db: Database
) -> None:
    secret, short = "Bearer sk_live_0123456789", "s3cr3t"
    webhook = await tenant.webhook(headers={"Authorization": secret, "X-Api-Key": short, "X-Team": "billing"})
    masked = {"Authorization": "•••• 6789", "X-Api-Key": "••••", "X-Team": "billing"}
    assert webhook["headers"] == masked
    async with db.connection() as connection:
        sealed, names = await connection.fetchrow("select headers_sealed, header_names from mainstay.endpoints")
        told = await connection.fetchval("select string_agg(data::text, '') from mainstay.announcements")
    assert secret.encode() not in sealed
    assert json.loads(KEYRING.open(sealed, webhook["id"].encode()))["Authorization"] == secret
    assert names == ["Authorization", "X-Api-Key", "X-Team"]
    assert secret not in told
    sent_back = await patch(tenant, webhook, headers={**masked, "X-Team": "money"})
    assert sent_back["headers"] == {**masked, "X-Team": "money"}
    async with db.connection() as connection:
        sealed = await connection.fetchval("select headers_sealed from mainstay.endpoints")
        told = await connection.fetchval("select string_agg(data::text, '') from mainstay.announcements")
    kept = json.loads(KEYRING.open(sealed, webhook["id"].encode()))
    assert kept == {"Authorization": secret, "X-Api-Key": short, "X-Team": "money"}
    assert "money" not in told
    refused = await patch(tenant, webhook, 400, headers={"Authorization": "•••• 0000"})
    assert refused["errors"][0]["pointer"] == "#/headers/Authorization"
    assert (await patch(tenant, webhook, headers={}))["headers"] == {}


async def test_changes_of_settings_are_announced_with_old_and_new(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook(filter={"data.n": 1})
    await patch(tenant, webhook, filter={"data.n": 1}, headers=None, concurrency=None, traceContext="propagate")
    assert await announced(db, "endpoint.changed") == []
    await patch(tenant, webhook, filter={"data.n": True}, ordering="fifo", headers={"X-Token": "0123456789abc"})
    (changed,) = await announced(db, "endpoint.changed")
    assert changed["changes"] == [
        {"field": "ordering", "old": "none", "new": "fifo"},
        {"field": "headers", "old": [], "new": ["X-Token"]},
        {"field": "filter", "old": {"data.n": 1}, "new": {"data.n": True}},
    ]


async def test_a_filter_decides_what_is_delivered(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook(URL, "invoice.*", filter={"data.amount": {"$gte": 100}})
    for amount in (99, 100, 101):
        await publish(db, tenant, "invoice.paid", json.dumps({"type": "invoice.paid", "data": {"amount": amount}}))
    await publish(db, tenant, "user.created", json.dumps({"type": "user.created", "data": {"amount": 500}}))
    assert len(await tenant.log(webhook)) == 2
    await patch(tenant, webhook, filter=None)
    await publish(db, tenant, "invoice.paid", json.dumps({"type": "invoice.paid", "data": {"amount": 1}}))
    assert len(await tenant.log(webhook)) == 3


@pytest.mark.parametrize("name", ["X-Auth", "X-Passphrase", "Pwd", "X-Credential", "X-Session-Id", "X-JWT"])
async def test_what_may_be_a_secret_is_masked(tenant: Tenant, name: str) -> None:
    webhook = await tenant.webhook(headers={name: "a value of 20 letters"})
    assert webhook["headers"] == {name: "•••• ters"}


@pytest.mark.parametrize("family", [PEOPLE_PATH, COMPANY_PATH])
async def test_a_filter_can_be_tried_before_it_is_used(tenant: Tenant, family: str) -> None:
    client = tenant.key if family == COMPANY_PATH else tenant.manager
    wanted = {"data.category": "security"}
    for category, matches in (("security", True), ("billing", False)):
        body = {"filter": wanted, "example": {"type": "x", "data": {"category": category}}}
        answer = await client.post(f"{family}/filter-test", json=body)
        assert (answer.status_code, answer.json()) == (200, {"matches": matches})
    refused = await client.post(f"{family}/filter-test", json={"filter": {"a": []}, "example": {}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "#/filter/a")
    nul = await client.post(f"{family}/filter-test", json={"filter": {"a": 1}, "example": {"a": "\0"}})
    assert (nul.status_code, nul.json()) == (200, {"matches": True})
    for text in ('{"a":' * 101 + "1" + "}" * 101, '{"a":1' + "0" * 30 + "}"):
        answer = await client.post(f"{family}/filter-test", content='{"filter":{"a":1},"example":' + text + "}")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/example")
    assert filters.BYTES_AT_MOST == 8_192


async def fail(db: Database, tenant: Tenant, webhook: dict[str, Any], **columns: Any) -> None:
    """The health that failed tries would have left."""
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.endpoint_health (endpoint_id, company_id, failures, failing_since, open_until)
               values ($1, $2, $3, mainstay.now() - interval '1 day', mainstay.now() + $4)
               on conflict (endpoint_id) do update
                 set failures = excluded.failures, open_until = excluded.open_until""",
            webhook["id"], tenant.company_id, columns.get("failures", 3), columns.get("open_for"),
        )  # fmt: skip


async def test_health_is_shown_and_forgotten_with_the_next_switching_on(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    path = f"{COMPANY_PATH}/{webhook['id']}"
    await fail(db, tenant, webhook)
    health = (await tenant.key.get(path)).json()["health"]
    assert (health["state"], health["failures"], health["openUntil"]) == ("failing", 3, None)
    assert health["failingSince"] < health["disablesAt"]
    await fail(db, tenant, webhook, failures=12, open_for=timedelta(minutes=1))
    for health in (
        (await tenant.key.get(path)).json()["health"],
        (await tenant.key.get(COMPANY_PATH)).json()["data"][0]["health"],
    ):
        assert (health["state"], health["failures"], health["openUntil"] is not None) == ("open", 12, True)
    await fail(db, tenant, webhook, failures=12, open_for=timedelta(minutes=-1))
    assert (await tenant.key.get(path)).json()["health"]["state"] == "failing"
    off = (await patch(tenant, webhook, isActive=False))["health"]
    assert (off["state"], off["failures"], off["disablesAt"]) == ("disabled", 12, None)
    assert (await patch(tenant, webhook, isActive=True))["health"] == DEFAULTS["health"]
    assert await count(db, "endpoint_health") == 0


async def test_a_list_asks_twice_however_long_it_is(tenant: Tenant, db: Database) -> None:
    from mainstay.webhooks import endpoints
    from mainstay.webhooks.queries import endpoints as rows

    asked: list[str] = []

    class Counting:
        async def rows(self, sql: Any, *args: Any) -> Any:
            asked.append(sql.name)
            return await db.rows(sql, *args)

    for n in range(5):
        await tenant.webhook(ordering="fifo" if n % 2 else "none")
    found = await rows.list_endpoints(Counting(), company_id=tenant.company_id, after_id=None, limit=10)  # type: ignore[arg-type]
    listed = await endpoints.show(Counting(), found, company_id=tenant.company_id, keyring=KEYRING)  # type: ignore[arg-type]
    assert len(listed) == 5
    assert asked == ["webhooks.list_endpoints", "webhooks.standings"]


async def test_the_head_of_a_line_says_that_it_blocks(tenant: Tenant, db: Database, line: Line) -> None:
    webhook = await tenant.webhook(ordering="fifo")
    path = f"{COMPANY_PATH}/{webhook['id']}"
    empty = {"headDeliveryId": None, "blockedSince": None, "attempts": 0, "nextAttemptAt": None, "waiting": 0}
    assert webhook["line"] == empty
    for _ in range(3):
        await publish(db, tenant, "task.created")
    head = (await tenant.log(webhook))[-1]["id"]
    shown_line = (await tenant.key.get(path)).json()["line"]
    assert (shown_line["headDeliveryId"], shown_line["waiting"], shown_line["blockedSince"]) == (head, 3, None)
    await line.drain()
    for one in (
        (await tenant.key.get(path)).json()["line"],
        (await tenant.key.get(COMPANY_PATH)).json()["data"][0]["line"],
    ):
        assert (one["headDeliveryId"], one["waiting"], one["attempts"]) == (head, 3, 1)
        assert one["blockedSince"] is not None
        assert one["nextAttemptAt"] is not None


async def test_the_order_changes_only_while_nothing_is_on_its_way(tenant: Tenant, db: Database, line: Line) -> None:
    webhook = await tenant.webhook(retries=0)
    await publish(db, tenant, "task.created")
    refused = await patch(tenant, webhook, 409, ordering="fifo", description="not kept")
    assert refused["code"] == "webhook-busy"
    assert (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()["description"] == ""
    await patch(tenant, webhook, ordering="none", description="kept")
    await line.drain()
    await patch(tenant, webhook, ordering="fifo")
    await publish(db, tenant, "task.created")
    await patch(tenant, webhook, 409, ordering="none")
    assert [one["status"] for one in await tenant.log(webhook)] == ["PENDING", "FAILED"]


async def test_a_deleted_webhook_keeps_no_secret_of_anybody(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook(headers={"authorization": "Bearer of somebody else"})
    kept = "length(secret_sealed) > 0 and headers_sealed is not null"
    assert await count(db, "endpoints", kept) == 1
    assert (await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/rotate-secret", json={})).status_code == 200
    assert (await tenant.key.delete(f"{COMPANY_PATH}/{webhook['id']}")).status_code == 204
    gone = "secret_sealed = '' and previous_secret_sealed is null and headers_sealed is null"
    assert await count(db, "endpoints", gone) == 1
