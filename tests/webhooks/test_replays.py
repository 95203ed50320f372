"""Replays: what matches is sent again once, whoever dies on the way, after what is live and only while it is wanted."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay.kernel import ids
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Snooze
from mainstay.webhooks import replays
from tests.receivers import Receiver
from tests.webhooks.conftest import COMPANY_PATH, PEOPLE_PATH, Tenant, announced, count, publish
from tests.webhooks.line import Line

LONG_AGO = (datetime.now(UTC) - timedelta(days=2)).isoformat()


async def replay(tenant: Tenant, webhook: dict[str, Any], code: int | None = None, /, **wanted: Any) -> dict[str, Any]:
    """The answer to a replay asked for: 202, or 200 where it only counts, unless another is expected."""
    code = code or (200 if wanted.get("dryRun") else 202)
    body = {"scope": "messages", "since": LONG_AGO, **wanted}
    answer = await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/replays", json=body)
    assert answer.status_code == code, answer.text
    return dict(answer.json())


async def shown(tenant: Tenant, webhook: dict[str, Any], started: dict[str, Any]) -> dict[str, Any]:
    """The replay as it stands."""
    answer = await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}/replays/{started['id']}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def job_of(tenant: Tenant, started: dict[str, Any]) -> Job:
    """The job of a replay as a worker would hand it over."""
    return Job(1, "nova:webhook", replays.KIND, started["id"], 1, 20, 1, "", tenant.company_id, "", datetime.now(UTC))


async def walk(db: Database, tenant: Tenant, started: dict[str, Any]) -> int:
    """Every step of a replay in a transaction of its own; how many steps."""
    steps = 0
    while True:
        async with db.begin() as tx:
            outcome = await replays.step(tx, job_of(tenant, started))
        steps += 1
        if not isinstance(outcome, Snooze):
            return steps


async def fill(db: Database, tenant: Tenant, n: int, kind: str = "task.created") -> list[str]:
    """So many stored messages of the company that nobody was sent, in the order of their ids."""
    message_ids = sorted(ids.new_id() for _ in range(n))
    body = json.dumps({"type": kind, "data": {"n": 1}}, separators=(",", ":"))
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.messages (id, company_id, workspace_id, type, body, trace_id)
               select unnest($1::uuid[]), $2, $3, $4, $5, repeat('a', 32)""",
            message_ids, tenant.company_id, tenant.workspace_id, kind, body,
        )  # fmt: skip
    return message_ids


async def settle(
    db: Database, webhook: dict[str, Any], status: str, attempts: int, messages: Sequence[str] = ()
) -> None:
    """The webhook's deliveries have ended so, and their jobs are gone."""
    async with db.connection() as connection:
        await connection.execute(
            """update mainstay.deliveries set status = $2, attempts = $3, next_attempt_at = null
                where endpoint_id = $1 and ($4::uuid[] = '{}' or message_id = any($4))""",
            webhook["id"], status, attempts, list(messages),
        )  # fmt: skip
        await connection.execute("delete from mainstay.jobs where kind = 'webhooks.deliver'")


async def made(db: Database, webhook: dict[str, Any]) -> list[str]:
    """The messages of deliveries that replays made, in order."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            """select message_id::text from mainstay.deliveries
                where endpoint_id = $1 and replay_of is not null order by message_id""",
            webhook["id"],
        )
    return [row[0] for row in rows]


@pytest.mark.parametrize("family", [PEOPLE_PATH, COMPANY_PATH])
async def test_a_replay_runs_and_is_shown_listed_and_announced(
    tenant: Tenant, db: Database, line: Line, family: str
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        client = tenant.key if family == COMPANY_PATH else tenant.manager
        path = f"{family}/{webhook['id']}/replays"
        sent = [(await publish(db, tenant, "task.created")).id for _ in range(3)]
        await line.drain()
        body = {"scope": "deliveries", "since": LONG_AGO, "status": ["DELIVERED"]}
        dry = await client.post(path, json={**body, "dryRun": True})
        assert (dry.status_code, dry.json()) == (200, {"dryRun": True, "matched": 3, "isFloor": False})
        assert await count(db, "replays") == 0
        started = (await client.post(path, json=body)).json()
        assert (started["state"], started["matched"], started["made"], started["progress"]) == ("running", 3, 0, 0.0)
        await line.drain()
        ended = (await client.get(f"{path}/{started['id']}")).json()
        assert (ended["state"], ended["made"], ended["progress"]) == ("done", 3, 1.0)
        assert ended["finishedAt"] is not None
        assert (await client.get(path)).json()["data"] == [ended]
        assert sorted(request.headers["webhook-id"] for request in receiver.requests) == sorted(sent * 2)
    (begun,) = await announced(db, "endpoint.replay_started")
    (finished,) = await announced(db, "endpoint.replay_finished")
    assert begun["replayId"] == finished["replayId"] == started["id"]
    assert (begun["actor"]["kind"], finished["made"], finished["state"]) == (
        "api_key" if family == COMPANY_PATH else "person", 3, "done"
    )  # fmt: skip


async def test_deliveries_are_chosen_by_status_time_and_type(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    early = (await publish(db, tenant, "task.created")).id
    await asyncio.sleep(0.02)
    middle = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.02)
    failed, gone, fine, other = [
        (await publish(db, tenant, kind)).id for kind in ("task.a", "task.b", "task.c", "user.a")
    ]
    for message_id, status in (
        (early, "FAILED"),
        (failed, "FAILED"),
        (gone, "DISCARDED"),
        (fine, "DELIVERED"),
        (other, "FAILED"),
    ):
        await settle(db, webhook, status, 1, [message_id])
    for wanted, expected in (
        ({}, [early, failed, gone, other]),
        ({"since": middle}, [failed, gone, other]),
        ({"until": middle}, [early]),
        ({"types": ["task.*"]}, [early, failed, gone]),
        ({"types": ["task.a", "user.*"], "status": ["FAILED"]}, [failed, other]),
        ({"status": ["DELIVERED"]}, [fine]),
    ):
        dry = await replay(tenant, webhook, scope="deliveries", dryRun=True, **wanted)
        assert dry["matched"] == len(expected), wanted
        started = await replay(tenant, webhook, scope="deliveries", **wanted)
        await walk(db, tenant, started)
        assert await made(db, webhook) == sorted(expected), wanted
        async with db.connection() as connection:
            origins = await connection.fetchval(
                """select count(*) from mainstay.deliveries d join mainstay.deliveries o
                     on o.id = d.replay_of and o.message_id = d.message_id where d.endpoint_id = $1""", webhook["id"]
            )  # fmt: skip
            assert origins == len(expected)
            await connection.execute("delete from mainstay.deliveries where replay_of is not null")


async def test_messages_are_what_the_subscription_matches_now(tenant: Tenant, stranger: Tenant, db: Database) -> None:
    keeper = await tenant.webhook()
    await stranger.webhook()
    webhook = await tenant.webhook(
        "http://127.0.0.1:9/hook", "task.*", workspaceId=tenant.workspace_id, filter={"data.n": {"$gte": 5}}
    )
    body = json.dumps({"type": "task.a", "data": {"n": 5}})
    wanted = [(await publish(db, tenant, "task.a", body)).id for _ in range(2)]
    await publish(db, tenant, "task.a")
    await publish(db, tenant, "user.a", body)
    await publish(db, tenant, "task.a", body, workspace_id=tenant.other_workspace_id)
    await publish(db, stranger, "task.a", body)
    await tenant.key.post(f"{COMPANY_PATH}/{keeper['id']}/test")
    assert (await replay(tenant, webhook, dryRun=True))["matched"] == 2
    await walk(db, tenant, await replay(tenant, webhook))
    assert await made(db, webhook) == sorted(wanted)
    all_of_keeper = await replay(tenant, keeper, dryRun=True)
    assert all_of_keeper["matched"] == 5
    assert await count(db, "deliveries", f"company_id = '{stranger.company_id}' and replay_of is not null") == 0


async def test_missed_is_what_was_never_tried_and_never_twice(tenant: Tenant, db: Database, line: Line) -> None:
    webhook = await tenant.webhook("http://127.0.0.1:9/hook", "task.*", retries=0)
    path = f"{COMPANY_PATH}/{webhook['id']}"
    tried = await publish(db, tenant, "task.tried")
    await line.drain()
    waiting = await publish(db, tenant, "task.discarded")
    await tenant.key.patch(path, json={"isActive": False})
    await line.drain()
    while_off = await publish(db, tenant, "task.while_off")
    assert {one["messageId"]: one["status"] for one in await tenant.log(webhook)} == {
        tried.id: "FAILED", waiting.id: "DISCARDED"
    }  # fmt: skip
    refused = await replay(tenant, webhook, 409, scope="missed")
    assert refused["code"] == "webhook-inactive"
    await replay(tenant, webhook, 409, scope="missed", dryRun=True)
    await tenant.key.patch(path, json={"isActive": True})
    assert (await replay(tenant, webhook, scope="missed", dryRun=True))["matched"] == 2
    await walk(db, tenant, await replay(tenant, webhook, scope="missed"))
    assert await made(db, webhook) == sorted([waiting.id, while_off.id])
    await walk(db, tenant, await replay(tenant, webhook, scope="missed"))
    assert len(await made(db, webhook)) == 2
    await line.drain()
    assert (await replay(tenant, webhook, scope="missed", dryRun=True))["matched"] == 0


@pytest.mark.parametrize("scope", ["messages", "missed"])
async def test_steps_that_die_or_race_neither_lose_nor_double(tenant: Tenant, db: Database, scope: str) -> None:
    webhook = await tenant.webhook("http://127.0.0.1:9/hook", "task.*")
    message_ids = await fill(db, tenant, 1_700)
    await fill(db, tenant, 700, "user.created")
    started = await replay(tenant, webhook, scope=scope)
    assert started["matched"] == 1_700

    async def one_step(die: bool) -> bool:
        try:
            async with db.begin() as tx:
                outcome = await replays.step(tx, job_of(tenant, started))
                if die:
                    raise RuntimeError("killed")
        except RuntimeError:
            return False
        return outcome is None

    over = False
    while not over:
        over = any(await asyncio.gather(one_step(True), one_step(False), one_step(True), one_step(False)))
    ended = await shown(tenant, webhook, started)
    assert (ended["state"], ended["made"]) == ("done", 1_700)
    assert await made(db, webhook) == message_ids
    assert await count(db, "jobs", "kind = 'webhooks.deliver' and priority = 8") == 1_700
    assert (
        await count(db, "jobs", "kind = 'webhooks.deliver' and lane <> (select id::text from mainstay.endpoints)") == 0
    )


async def test_a_replay_waits_behind_what_is_live(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await fill(db, tenant, 1)
    await walk(db, tenant, await replay(tenant, webhook))
    await publish(db, tenant, "task.live")
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select priority from mainstay.jobs where kind = 'webhooks.deliver' order by priority"
        )
    assert [row[0] for row in rows] == [5, 8]


async def test_in_order_they_stand_at_the_end_of_the_line(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook(ordering="fifo")
    message_ids = await fill(db, tenant, 5)
    live = await publish(db, tenant, "task.live")
    until = datetime.now(UTC).isoformat()
    await walk(db, tenant, await replay(tenant, webhook, scope="missed", until=until))
    async with db.connection() as connection:
        rows = await connection.fetch(
            """select d.message_id::text from mainstay.fifo_lines f join mainstay.deliveries d on d.id = f.delivery_id
                order by f.pos"""
        )
    assert [row[0] for row in rows] == [live.id, *message_ids]
    assert await count(db, "jobs", "kind = 'webhooks.deliver'") == 0
    assert await count(db, "jobs", "kind = 'webhooks.deliver_in_order'") == 1


async def test_a_message_that_failed_twice_stands_in_line_once(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook(ordering="fifo")
    await publish(db, tenant, "task.created")
    await settle(db, webhook, "FAILED", 5)
    async with db.connection() as connection:
        await connection.execute("delete from mainstay.fifo_lines")
    first = (await tenant.log(webhook))[0]["id"]
    await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/deliveries/{first}/replay")
    await settle(db, webhook, "FAILED", 5)
    async with db.connection() as connection:
        await connection.execute("delete from mainstay.fifo_lines")
    started = await replay(tenant, webhook, scope="deliveries")
    await walk(db, tenant, started)
    assert await count(db, "fifo_lines") == 1
    assert (await shown(tenant, webhook, started))["made"] == 1


async def test_a_pull_endpoint_gets_items(tenant: Tenant, db: Database) -> None:
    webhook = (await tenant.key.post(COMPANY_PATH, json={"kind": "pull", "events": ["task.*"]})).json()
    got = await publish(db, tenant, "task.got")
    message_ids = await fill(db, tenant, 3)
    assert (await replay(tenant, webhook, scope="missed", dryRun=True))["matched"] == 3
    await walk(db, tenant, await replay(tenant, webhook, scope="missed"))
    read = (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}/messages")).json()["data"]
    assert [one["id"] for one in read] == [got.id, *message_ids]
    assert (await replay(tenant, webhook, scope="missed", dryRun=True))["matched"] == 0
    refused = await replay(tenant, webhook, 400, scope="deliveries")
    assert refused["errors"][0]["pointer"] == "#/scope"


async def test_a_cancelled_replay_makes_nothing_more(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await fill(db, tenant, 600)
    started = await replay(tenant, webhook)
    async with db.begin() as tx:
        assert isinstance(await replays.step(tx, job_of(tenant, started)), Snooze)
    path = f"{COMPANY_PATH}/{webhook['id']}/replays/{started['id']}/cancel"
    cancelled = await tenant.key.post(path)
    assert (cancelled.status_code, cancelled.json()["state"], cancelled.json()["made"]) == (200, "cancelled", 500)
    assert await walk(db, tenant, started) == 1
    assert len(await made(db, webhook)) == 500
    again = await tenant.key.post(path)
    assert (again.status_code, again.json()["code"]) == (409, "replay-over")
    assert len(await announced(db, "endpoint.replay_cancelled")) == 1
    assert await announced(db, "endpoint.replay_finished") == []


@pytest.mark.parametrize("act", ["off", "deleted"])
async def test_a_replay_ends_with_its_endpoint(tenant: Tenant, db: Database, act: str) -> None:
    webhook = await tenant.webhook()
    await fill(db, tenant, 3)
    started = await replay(tenant, webhook)
    path = f"{COMPANY_PATH}/{webhook['id']}"
    await (tenant.key.delete(path) if act == "deleted" else tenant.key.patch(path, json={"isActive": False}))
    await walk(db, tenant, started)
    (finished,) = await announced(db, "endpoint.replay_finished")
    assert (finished["state"], finished["error"], finished["made"]) == ("failed", replays.ENDED_EARLY, 0)
    assert await made(db, webhook) == []


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"scope": "everything"}, "#/scope"),
        ({"since": None}, "#/since"),
        ({"since": "yesterday"}, "#/since"),
        ({"since": "2026-01-01T00:00:00"}, "#/since"),
        ({"until": "x"}, "#/until"),
        ({"until": LONG_AGO}, "#/until"),
        ({"status": ["FAILED"]}, "#/status"),
        ({"scope": "deliveries", "status": ["PENDING"]}, "#/status/0"),
        ({"scope": "deliveries", "status": []}, "#/status"),
        ({"types": []}, "#/types"),
        ({"types": ["a..b"]}, "#/types/0"),
        ({"dryRun": 1}, "#/dryRun"),
        ({"unknown": 1}, "#"),
    ],
)
async def test_bad_wishes_are_refused_with_a_pointer(tenant: Tenant, wanted: dict[str, Any], pointer: str) -> None:
    refused = await replay(tenant, await tenant.webhook(), 400, **wanted)
    assert [one["pointer"] for one in refused["errors"]] == [pointer]


async def test_no_rush_starts_more_than_five(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    path, body = f"{COMPANY_PATH}/{webhook['id']}/replays", {"scope": "messages", "since": LONG_AGO}
    answers = await asyncio.gather(*(tenant.key.post(path, json=body) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [409] * 7
    assert await count(db, "replays", "state = 'running'") == 5


async def test_five_replays_of_a_webhook_run_at_once(tenant: Tenant) -> None:
    webhook, other = await tenant.webhook(), await tenant.webhook()
    started = [await replay(tenant, webhook) for _ in range(replays.RUNNING_AT_MOST)]
    assert (await replay(tenant, webhook, 409))["code"] == "too-many-replays"
    await replay(tenant, other)
    await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/replays/{started[0]['id']}/cancel")
    await replay(tenant, webhook)
    assert replays.RUNNING_AT_MOST == 5
    seen, cursor = [], None
    for _ in range(3):
        page = await tenant.key.get(
            f"{COMPANY_PATH}/{webhook['id']}/replays", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        seen += [one["id"] for one in page.json()["data"]]
        cursor = page.json()["meta"]["nextCursor"]
    assert (len(seen), seen == sorted(seen, reverse=True), cursor) == (6, True, None)


async def test_the_first_moment_of_all_can_be_asked_for(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    message_ids = await fill(db, tenant, 2)
    wish = {"scope": "missed", "since": "1970-01-01T00:00:00Z"}
    assert (await replay(tenant, webhook, 200, **wish, dryRun=True))["matched"] == 2
    await walk(db, tenant, await replay(tenant, webhook, **wish))
    assert await made(db, webhook) == message_ids


async def test_another_companys_replay_is_not_there(tenant: Tenant, stranger: Tenant) -> None:
    webhook, theirs = await tenant.webhook(), await stranger.webhook()
    started = await replay(tenant, webhook)
    for base in (webhook, theirs):
        for rest in ("", "/cancel"):
            path = f"{COMPANY_PATH}/{base['id']}/replays/{started['id']}{rest}"
            answer = await stranger.key.request("POST" if rest else "GET", path)
            assert answer.status_code == 404
    assert (await shown(tenant, webhook, started))["state"] == "running"


async def test_counting_ends_early_and_says_so(tenant: Tenant, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = await tenant.webhook()
    await fill(db, tenant, 10)
    for counted, looked, expected in (
        (10, 500, (10, False)),
        (9, 500, (9, True)),
        (100, 10, (10, True)),
        (100, 11, (10, False)),
    ):
        monkeypatch.setattr(replays, "COUNTED_AT_MOST", counted)
        monkeypatch.setattr(replays, "LOOKED_TO_COUNT", looked)
        dry = await replay(tenant, webhook, dryRun=True)
        assert (dry["matched"], dry["isFloor"]) == expected


async def test_steps_go_by_index_among_many_rows(tenant: Tenant, stranger: Tenant, db: Database) -> None:
    webhook = await tenant.webhook("http://127.0.0.1:9/hook", "rare.*")
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.messages (id, company_id, workspace_id, type, body, trace_id)
               select mainstay.uuid7(), case n % 4 when 0 then $1::uuid else $2::uuid end, null,
                      case n % 400 when 0 then 'rare.one' else 'common.one' end, '{"data":{}}', repeat('a', 32)
                 from generate_series(1, 200000) n""",
            tenant.company_id, stranger.company_id,
        )  # fmt: skip
        await connection.execute(
            """insert into mainstay.deliveries (id, message_id, endpoint_id, company_id, status, attempts, max_attempts)
               select mainstay.uuid7(), id, $1, company_id, 'FAILED', 1, 5 from mainstay.messages
                where company_id = $2 limit 20000""",
            webhook["id"], tenant.company_id,
        )  # fmt: skip
        await connection.execute("analyze mainstay.messages, mainstay.deliveries")
    started = await replay(tenant, webhook)
    assert started["matched"] == 500
    async with db.begin() as tx:
        await tx.connection.execute("set local statement_timeout = '30s'")
        statements = {}
        for name, statement in (("choose", replays.rows._CHOOSE["messages"]), ("look", replays.rows._LAST["messages"])):
            after = ids.lowest_id(datetime.now(UTC) - timedelta(days=1))
            given: list[Any] = [tenant.company_id, webhook["id"], after, started["id"]]
            given += [2_000] if name == "look" else [None, ["x"], 500]
            plan = await tx.connection.fetch("explain " + statement.text, *given)
            statements[name] = "\n".join(row[0] for row in plan)
    busy = "Seq Scan on messages_p"
    for plan_text in statements.values():
        assert "messages_p" in plan_text
        assert "company_id_id_idx" in plan_text
    assert busy not in statements["look"]
    await walk(db, tenant, started)
    assert len(await made(db, webhook)) == 500
    missed = await replay(tenant, webhook, scope="missed")
    await walk(db, tenant, missed)
