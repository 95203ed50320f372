"""Events emitted in SQL: with the host's transaction, in order, once, and by the way of every other event."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from mainstay import events, identity, main, plans, templates
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database, Record, Sql
from mainstay.plans import caps
from tests.cli.running import called
from tests.plans.test_thresholds import BOOK
from tests.tenancy import OPERATOR, Tenancy, open_tenancy, test_settings

REGIONS = ("US", "EU", "APAC")
FULL: dict[str, Any] = {
    "action": "invoice.paid",
    "category": "billing",
    "actor": {"id": "u_1", "email": "ada@example.com", "name": "Ada Lovelace"},
    "target": {"id": "inv_7", "type": "invoice"},
    "projectId": "p_9",
    "payload": {"amount": 1250, "ratio": 0.25, "note": "grüße 🎉", "lines": [{"n": 1}]},
    "metadata": {"ip": "192.0.2.1"},
    "changes": [{"field": "status", "old": "open", "new": "paid"}],
    "occurredAt": "2026-11-01T12:00:00.123456+02:00",
}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_EMIT = "select mainstay.emit($1, $2, $3)"


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules hold at once, and companies at their limit are tried in each round."""
    monkeypatch.setattr("mainstay.templates.checking.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("mainstay.events.emitting._HELD_SECONDS", 0.0)


@pytest_asyncio.fixture
async def emissions(db: Database) -> events.Emissions:
    """What takes emitted events to their chains."""
    return events.Emissions(db, db, REGIONS)


@pytest_asyncio.fixture
async def host(fresh_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The connection of somebody else's program."""
    connection = await asyncpg.connect(fresh_url)
    yield connection
    await connection.close()


async def emit(host: asyncpg.Connection, workspace_id: str, event: Any = None, trace: str | None = None) -> str:
    """An event is emitted, in the connection's transaction if it has one; the id that it was promised."""
    return str(await host.fetchval(_EMIT, workspace_id, json.dumps(event or {"action": "a.b"}), trace))


async def drain(emissions: events.Emissions) -> None:
    """Nothing that could have left the line is in it."""
    while await emissions.run_once():
        pass


async def chain(db: Database, workspace_id: str) -> list[Record]:
    """The workspace's events in order."""
    return await db.rows(Sql("t", "select * from mainstay.events where workspace_id = $1 order by seq"), workspace_id)


async def line(db: Database) -> list[Record]:
    """What has not its place yet."""
    return await db.rows(Sql("t", "select * from mainstay.emitted_events order by id"))


def number_of(row: Record) -> int:
    """The number that the test put into the event."""
    number: int = json.loads(row["payload"])["n"]
    return number


async def test_an_emitted_event_is_stored_as_one_that_came_over_http(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    promised = await emit(host, tenancy.workspace_id, FULL, TRACE)
    assert [(row["refused_at"], str(row["event_id"])) for row in await line(db)] == [(None, promised)]
    assert await chain(db, tenancy.workspace_id) == []
    assert await emissions.run_once() == 1
    (stored,) = await chain(db, tenancy.workspace_id)
    assert (str(stored["id"]), stored["seq"], str(stored["company_id"])) == (promised, 1, tenancy.company_id)
    assert (stored["action"], stored["category"], stored["actor_email"]) == (
        "invoice.paid", "billing", "ada@example.com"
    )  # fmt: skip
    assert (stored["target_id"], stored["project_id"], stored["data_region"]) == ("inv_7", "p_9", "US")
    assert json.loads(stored["payload"]) == FULL["payload"]
    assert json.loads(stored["changes"]) == FULL["changes"]
    assert stored["occurred_at"].isoformat() == "2026-11-01T10:00:00.123456+00:00"
    assert stored["trace_id"] == TRACE.split("-")[1]
    assert await line(db) == []
    keys = await events.public_keys(db)
    assert (await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys=keys)).ok
    (used,) = [one.quantity for one in await plans.usage(db, tenancy.company_id, "events")]
    assert used == 1
    assert await emissions.run_once() == 0


async def test_nothing_stays_of_what_was_rolled_back(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    undone = host.transaction()
    await undone.start()
    await emit(host, tenancy.workspace_id)
    await undone.rollback()
    async with host.transaction():
        await emit(host, tenancy.workspace_id, {"action": "kept"})
        savepoint = host.transaction()
        await savepoint.start()
        await emit(host, tenancy.workspace_id, {"action": "undone"})
        await savepoint.rollback()
        assert await emissions.run_once() == 0, "what is not committed is not taken"
    await drain(emissions)
    assert [row["action"] for row in await chain(db, tenancy.workspace_id)] == ["kept"]


async def test_the_order_of_a_chain_is_that_of_emission_wherever_one_came_after_the_others_commit(
    db: Database, tenancy: Tenancy, emissions: events.Emissions
) -> None:
    """Eight writers under one lock of their own, which is how a host orders its transactions, beside two takers."""
    other = events.Emissions(db, db, REGIONS)
    writers = [await asyncpg.connect(db.dsn) for _ in range(8)]
    await writers[0].execute("create table turns (n integer); insert into turns values (0)")
    done = asyncio.Event()

    async def write(connection: asyncpg.Connection) -> None:
        for _ in range(6):
            async with connection.transaction():
                n = await connection.fetchval("update turns set n = n + 1 returning n")
                for step in range(3):
                    await emit(connection, tenancy.workspace_id, {"action": "a", "payload": {"n": n * 10 + step}})

    async def take(one: events.Emissions) -> None:
        while not done.is_set():
            await one.run_once()

    taking = [asyncio.create_task(take(one)) for one in (emissions, other)]
    await asyncio.gather(*(write(connection) for connection in writers))
    done.set()
    await asyncio.gather(*taking)
    await drain(emissions)
    rows = await chain(db, tenancy.workspace_id)
    assert [number_of(row) for row in rows] == [n * 10 + step for n in range(1, 49) for step in range(3)]
    assert [row["seq"] for row in rows] == list(range(1, 145))
    for connection in writers:
        await connection.close()


async def test_a_transaction_that_commits_late_is_not_passed_over(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions, fresh_url: str
) -> None:
    slow = await asyncpg.connect(fresh_url)
    transaction = slow.transaction()
    await transaction.start()
    await emit(slow, tenancy.workspace_id, {"action": "began.first"})
    await emit(host, tenancy.workspace_id, {"action": "committed.first"})
    await drain(emissions)
    await transaction.commit()
    await drain(emissions)
    assert [row["action"] for row in await chain(db, tenancy.workspace_id)] == ["committed.first", "began.first"]
    await slow.close()


REFUSED: list[tuple[Any, str, str]] = [
    ([], "22023", "an object"),
    ({}, "22023", '"action" is needed'),
    ({"action": "a..b"}, "22023", '"action" is needed'),
    ({"action": "a\n"}, "22023", '"action" is needed'),
    ({"action": "a" * 129}, "22023", '"action" is needed'),
    ({"action": "a", "more": 1}, "22023", 'no member "more"'),
    ({"action": "a", "category": ""}, "22023", '"category" is a text of 1 to 128'),
    ({"action": "a", "projectId": "p" * 129}, "22023", '"projectId" is a text of 1 to 128'),
    ({"action": "a", "idempotencyKey": "k" * 257}, "22023", '"idempotencyKey" is a text of 1 to 256'),
    ({"action": "a", "occurredAt": "2026-11-01T12:00:00"}, "22023", "a time with a zone"),
    ({"action": "a", "payload": [1]}, "22023", '"payload" is an object'),
    ({"action": "a", "actor": {}}, "22023", '"actor" is an object with at least one'),
    ({"action": "a", "actor": {"id": 7}}, "22023", '"id" of "actor" is a text of 1 to 512'),
    ({"action": "a", "target": {"email": "x"}}, "22023", '"target" has no member "email"'),
    ({"action": "a", "changes": [1] * 1001}, "22023", "at most 1000 changes"),
    ({"action": "a", "payload": {"deep": [{"n": 2**53}]}}, "22023", "beyond 2^53 - 1"),
    ({"action": "a", "payload": {"x": "x" * 1_048_540}}, "54000", "at most 1048576 are taken"),
]


async def test_what_sql_can_see_fails_at_once(db: Database, tenancy: Tenancy, host: asyncpg.Connection) -> None:
    for event, state, told in REFUSED:
        with pytest.raises(asyncpg.PostgresError, match="event") as refusal:
            await host.fetchval(_EMIT, tenancy.workspace_id, json.dumps(event), None)
        assert (refusal.value.sqlstate, told in str(refusal.value)) == (state, True)
        assert refusal.value.hint
    assert await line(db) == []


async def test_events_at_the_edge_of_what_sql_takes_are_stored(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    full = {
        "action": "a" * 128,
        "category": "c" * 128,
        "projectId": "p" * 128,
        "idempotencyKey": "k" * 256,
        "actor": {"id": "i" * 512, "email": "e" * 320, "name": None},
        "target": {"id": "i" * 512, "type": "t" * 128},
        "changes": [{"field": "f"}] * 1000,
        "payload": {"n": 2**53 - 1, "m": -(2**53 - 1)},
        "metadata": None,
    }
    room = 1_048_576 - len(json.dumps({"action": "large", "payload": {"x": ""}}))
    await emit(host, tenancy.workspace_id, full)
    await emit(host, tenancy.workspace_id, {"action": "large", "payload": {"x": "x" * room}})
    await drain(emissions)
    assert [row["action"] for row in await chain(db, tenancy.workspace_id)] == ["a" * 128, "large"]
    assert await line(db) == []


async def test_only_workspaces_of_companies_here_are_written_to(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection
) -> None:
    (system,) = [
        one.id for one in await identity.system_workspaces(db, [tenancy.company_id])
        if one.company_id == tenancy.company_id
    ]  # fmt: skip
    for workspace, state in ((tenancy.company_id, "P0002"), (system, "42501"), (None, "22004")):
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await host.fetchval(_EMIT, workspace, '{"action": "a"}', None)
        assert refusal.value.sqlstate == state


async def rule(db: Database, tenancy: Tenancy, mode: Any) -> None:
    """Events of the first workspace need an actor with an id."""
    new = templates.NewTemplate(name="t", mode=mode, rules=templates.Rules(required_actor_fields=["id"]))
    async with db.begin() as tx:
        made = await templates.create(tx, OPERATOR, tenancy.company_id, new)
        await templates.assign(tx, OPERATOR, tenancy.company_id, str(made["id"]), tenancy.workspace_id)


async def test_what_the_intake_refuses_is_put_aside_and_holds_up_nobody(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"d": deep}
    bad = {"action": "deep", "payload": deep, "actor": {"id": "ada"}}
    gone = await db.value(Sql("t", "select gen_random_uuid()"))
    async with db.begin() as tx:
        await events.start_chains(tx, [(str(gone), tenancy.company_id, True)])
    async with host.transaction():
        for event in ({"action": "before"}, bad, {"action": "late", "occurredAt": "2026-02-30T00:00:00Z"},
                      {"action": "after"}):  # fmt: skip
            await emit(host, tenancy.workspace_id, event)
        await emit(host, str(gone))
        await host.execute("delete from mainstay.chain_heads where workspace_id = $1", gone)
    assert await emissions.run_once() == 5
    assert [row["action"] for row in await chain(db, tenancy.workspace_id)] == ["before", "after"]
    refused = await emissions.list_refused(db)
    assert [(one.reason, json.loads(one.event)["action"]) for one in refused] == [
        ("invalid", "deep"), ("invalid", "late"), ("not-found", "a.b")
    ]  # fmt: skip
    assert "#/payload" in refused[0].detail
    assert "#/occurredAt" in refused[1].detail
    assert [one.id for one in await emissions.list_refused(db, after=refused[0].id, limit=1)] == [refused[1].id]
    # Once the workspace is there again, its event can be stored; what cannot be is thrown away by hand, and told of.
    async with db.begin() as tx:
        await events.start_chains(tx, [(str(gone), tenancy.company_id, True)])
        assert await emissions.retry(tx, OPERATOR) == 3
    await drain(emissions)
    assert [row["action"] for row in await chain(db, str(gone))] == ["a.b"]
    assert [one.reason for one in await emissions.list_refused(db)] == ["invalid"] * 2
    async with db.begin() as tx:
        assert await emissions.discard(tx, OPERATOR, [one.id for one in refused]) == 2
    assert await line(db) == []
    told = await db.rows(
        Sql(
            "t", "select name, data->>'events' as n from mainstay.announcements where name like 'emitted.%' order by id"
        )
    )
    assert [tuple(row) for row in told] == [("emitted.retried", "3"), ("emitted.discarded", "2")]


async def test_rules_of_the_workspace_hold(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    await emit(host, tenancy.workspace_id, {"action": "a", "idempotencyKey": "k"})
    await drain(emissions)
    await rule(db, tenancy, "enforce")
    for event in ({"action": "a"}, {"action": "a", "actor": {"id": "ada"}}, {"action": "a", "idempotencyKey": "k"}):
        await emit(host, tenancy.workspace_id, event)
    await drain(emissions)
    assert [row["actor_id"] for row in await chain(db, tenancy.workspace_id)] == [None, "ada"]
    # The last one had been stored before there were rules, so it is that event, as over HTTP.
    (refused,) = await emissions.list_refused(db)
    assert (refused.reason, refused.workspace_id) == ("rules-broken", tenancy.workspace_id)


async def test_flags_are_kept_beside_the_event(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    await rule(db, tenancy, "flag")
    await emit(host, tenancy.workspace_id)
    await drain(emissions)
    flags = await db.value(Sql("t", "select flags from mainstay.event_flags where workspace_id = $1 and seq = 1"),
                           tenancy.workspace_id)  # fmt: skip
    assert json.loads(flags)


async def test_a_key_stores_one_event_whichever_way_it_came(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    for n in (1, 1, 2):
        await emit(host, tenancy.workspace_id, {"action": "a", "payload": {"n": n}, "idempotencyKey": "k"})
    await drain(emissions)
    assert [number_of(row) for row in await chain(db, tenancy.workspace_id)] == [1]
    (refused,) = await emissions.list_refused(db)
    assert refused.reason == "idempotency-mismatch"


async def stop_at(db: Database, tenancy: Tenancy, quota: int | None) -> None:
    """The company is stopped at that many events a month."""
    async with db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, tenancy.company_id, name="event_quota", amount=quota)
        await plans.choose_blocking(tx, OPERATOR, tenancy.company_id, blocks=True)
    await caps.settle(db, db, BOOK, tenancy.company_id)


async def test_a_company_at_its_limit_waits_in_order_and_others_do_not(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    stranger = await open_tenancy(db)
    await stop_at(db, tenancy, 3)
    for n in range(5):
        await emit(host, tenancy.workspace_id, {"action": "a", "payload": {"n": n}})
    await emit(host, tenancy.other_workspace_id, {"action": "a", "payload": {"n": 5}})
    await emit(host, stranger.workspace_id)
    await drain(emissions)
    assert len(await chain(db, stranger.workspace_id)) == 1
    assert [number_of(row) for row in await chain(db, tenancy.workspace_id)] == [0, 1, 2]
    waiting = await line(db)
    assert [(row["reason"], row["refused_at"]) for row in waiting] == [("quota-reached", None)] * 3
    assert await emissions.list_refused(db) == []
    await stop_at(db, tenancy, 100)
    await emit(host, tenancy.workspace_id, {"action": "a", "payload": {"n": 6}})
    await drain(emissions)
    assert [number_of(row) for row in await chain(db, tenancy.workspace_id)] == [0, 1, 2, 3, 4, 6]
    assert [number_of(row) for row in await chain(db, tenancy.other_workspace_id)] == [5]
    assert await line(db) == []


async def test_an_event_that_the_database_refuses_is_put_aside_alone(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions
) -> None:
    await host.execute("alter table mainstay.events add constraint odd check (action <> 'odd')")
    for action in ("a", "odd", "b", "c"):
        await emit(host, tenancy.workspace_id, {"action": action})
    assert await emissions.run_once() == 4
    assert [row["action"] for row in await chain(db, tenancy.workspace_id)] == ["a", "b", "c"]
    assert [one.reason for one in await emissions.list_refused(db)] == ["not-storable"]


async def test_events_of_a_company_whose_data_live_elsewhere_are_put_aside(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection
) -> None:
    emissions = events.Emissions(db, db, ["EU"])
    await emit(host, tenancy.workspace_id)
    await drain(emissions)
    (refused,) = await emissions.list_refused(db)
    assert (refused.reason, "US" in refused.detail) == ("moved", True)


async def test_what_was_stored_is_not_stored_again_when_the_commit_fails(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is left in the transaction that stores: a crash between the two leaves both or neither."""
    emissions = events.Emissions(db, db, REGIONS)
    await emit(host, tenancy.workspace_id)

    async def crash(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("mainstay.events.emitting.rows.settle_everywhere", crash)
        with pytest.raises(ZeroDivisionError):
            await emissions.run_once()
    assert await chain(db, tenancy.workspace_id) == []
    assert len(await line(db)) == 1
    await drain(emissions)
    assert [row["seq"] for row in await chain(db, tenancy.workspace_id)] == [1]


async def test_many_workspaces_share_a_round_however_many_events_one_has(
    db: Database,
    tenancy: Tenancy,
    host: asyncpg.Connection,
    emissions: events.Emissions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mainstay.events.emitting._EVENTS_AT_ONCE", 50)
    await host.execute(
        """select mainstay.emit($1::uuid, jsonb_build_object('action', 'a', 'payload', jsonb_build_object('n', n)))
             from generate_series(1, 120) n""", tenancy.workspace_id
    )  # fmt: skip
    await emit(host, tenancy.other_workspace_id)
    assert await emissions.run_once() == 26
    assert len(await chain(db, tenancy.other_workspace_id)) == 1
    await drain(emissions)
    assert [number_of(row) for row in await chain(db, tenancy.workspace_id)] == list(range(1, 121))


async def test_a_worker_takes_it_right_after_the_commit_and_webhooks_hear_of_it(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, host: asyncpg.Connection, fresh_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Told by the commit: between two looks of its own lie ten minutes."""
    monkeypatch.setattr("mainstay.main._EMITTED_IDLE_SECONDS", 600.0)
    hook = {"url": "http://127.0.0.1:9/hook", "events": ["order.*"]}
    assert (await api.post("/v1/key/company/webhooks", json=hook, headers=tenancy.company_auth)).status_code == 201
    stop = asyncio.Event()
    worker = asyncio.create_task(main.run_worker(test_settings(fresh_url, SHUTDOWN_SECONDS="1"), stop))
    try:
        async with asyncio.timeout(60):
            heard = Sql(
                "t", "select exists (select from pg_stat_activity where query like 'LISTEN %' and datname = $1)"
            )
            while not await db.value(heard, fresh_url.rpartition("/")[2]):
                await asyncio.sleep(0.02)
            promised = await emit(host, tenancy.workspace_id, {"action": "order.paid"})
            tried = Sql("t", """select exists (select from mainstay.deliveries d join mainstay.attempts a
                                  on a.delivery_id = d.id where d.message_id = $1)""")  # fmt: skip
            while not await db.value(tried, promised):
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await worker
        for gauge in (telemetry.LOOP_LAST_RUN, telemetry.QUEUE_SIZE, telemetry.EMITTED):
            gauge.clear()
    assert [row["action"] for row in await chain(db, tenancy.workspace_id)] == ["order.paid"]


async def test_the_operator_lists_retries_and_discards_by_command(
    db: Database, tenancy: Tenancy, host: asyncpg.Connection, emissions: events.Emissions, fresh_url: str
) -> None:
    async def command(*arguments: str) -> str:
        ran = await asyncio.to_thread(called, "emitted", *arguments, env={"DATABASE_URL": fresh_url})
        assert ran.code == 0, ran.err
        return ran.out + ran.err

    assert "no emitted event was refused" in await command()
    for day in (30, 31):
        await emit(host, tenancy.workspace_id, {"action": "a", "occurredAt": f"2026-02-{day}T00:00:00Z"})
    await drain(emissions)
    first, second = (json.loads(told) for told in (await command("--json")).splitlines())
    assert (first["workspaceId"], first["reason"]) == (tenancy.workspace_id, "invalid")
    assert "#/occurredAt" in first["detail"]
    assert tenancy.workspace_id in await command("--after", str(first["id"]))
    assert "1 in line again, 1 thrown away" in await command(
        "--retry", str(second["id"]), "--discard", str(first["id"])
    )
    assert [(row["id"], row["refused_at"]) for row in await line(db)] == [(second["id"], None)]
    assert "0 in line again" in await command("--retry-all")
