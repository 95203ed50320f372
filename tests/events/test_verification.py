"""A live workspace proves itself, or names its first bad row; our own acts are events too."""

import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from mainstay import events, identity, main, reactions
from mainstay.events import proof, verification
from mainstay.events.checkpoints import verify_note
from mainstay.kernel import outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from tests.tenancy import OPERATOR, Tenancy, open_tenancy

EVENTS = "/v1/key/workspace/events"


@pytest.fixture
async def chain(api: httpx.AsyncClient, tenancy: Tenancy) -> Tenancy:
    """A workspace with thirty events and a signed checkpoint of the last."""
    batch = [{"action": f"a.{n}", "actor": {"id": f"u{n}"}, "payload": {"n": n}} for n in range(30)]
    await api.post(f"{EVENTS}/batch", json={"events": batch}, headers=tenancy.auth)
    assert (await api.get("/v1/key/workspace/checkpoint", headers=tenancy.auth)).status_code == 200
    return tenancy


async def verdict_of(db: Database, tenancy: Tenancy) -> events.Verdict:
    keys = await events.public_keys(db)
    return await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys=keys)


async def test_a_whole_chain_is_proven_against_its_checkpoint(db: Database, chain: Tenancy) -> None:
    verdict = await verdict_of(db, chain)
    assert [verdict.ok, verdict.checked, verdict.checkpoint_seq, verdict.first_bad] == [True, 30, 30, None]


MEDDLING = [
    pytest.param("update {t} set payload = '{{\"n\":99}}' where {w} and seq = 7", 7, "edited", id="payload edited"),
    pytest.param("update {t} set action = 'x' where {w} and seq = 7", 7, "edited", id="action edited"),
    pytest.param("update {t} set actor_id = 'x' where {w} and seq = 7", 7, "edited", id="actor edited"),
    pytest.param("update {t} set occurred_at = occurred_at + interval '1 us' where {w} and seq = 7", 7, "edited", id="time edited"),  # noqa: E501
    pytest.param("update {t} set salts = decode(repeat('00', 80), 'hex') where {w} and seq = 7", 7, "edited", id="salts edited"),  # noqa: E501
    pytest.param("delete from {t} where {w} and seq = 7", 7, "deleted", id="row deleted"),
    pytest.param("delete from {t} where {w} and seq > 25", 26, "truncated", id="tail cut"),
    pytest.param(
        "delete from {t} where {w} and seq > 25; update mainstay.chain_heads set seq = 25, hash = "
        "(select hash from {t} where {w} and seq = 25) where {w}",
        26, "truncated", id="tail and head cut",
    ),
    pytest.param(
        "update {t} set seq = -seq where {w} and seq in (7, 8); update {t} set seq = 15 + seq where {w} and seq < 0",
        7, "edited", id="rows swapped",
    ),
    pytest.param(
        "update mainstay.chain_heads set hash = decode(repeat('ab', 32), 'hex') where {w}", 30, "forked", id="head forked"  # noqa: E501
    ),
    pytest.param(
        "insert into {t} select * from (select * from {t} where {w} and seq = 7) e", 7, "duplicated", id="row doubled"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("meddling", "seq", "kind"), MEDDLING)
async def test_the_first_bad_row_is_named(db: Database, chain: Tenancy, meddling: str, seq: int, kind: str) -> None:
    async with db.connection() as connection:
        await connection.execute("alter table mainstay.events drop constraint events_pkey cascade")
        await connection.execute(meddling.format(t="mainstay.events", w=f"workspace_id = '{chain.workspace_id}'"))
    verdict = await verdict_of(db, chain)
    assert not verdict.ok
    assert verdict.first_bad is not None
    assert [verdict.first_bad.seq, verdict.first_bad.kind] == [seq, kind]


STRAYS = [
    pytest.param("seq = 31 where seq = 7", 31, "forked", id="behind the head"),
    pytest.param("seq = 0 where seq = 7", 0, "forked", id="before the first"),
    pytest.param("company_id = gen_random_uuid() where seq = 7", 7, "edited", id="of another company"),
]


@pytest.mark.parametrize(("change", "seq", "kind"), STRAYS)
async def test_a_row_outside_the_chain_is_found(db: Database, chain: Tenancy, change: str, seq: int, kind: str) -> None:
    """The chain itself stays whole: one more row stands beside it."""
    async with db.connection() as connection:
        await connection.execute("alter table mainstay.events drop constraint events_pkey cascade")
        await connection.execute(
            f"""create table copied as select * from mainstay.events where workspace_id = '{chain.workspace_id}';
                update copied set {change}; delete from copied where seq <> {seq};
                insert into mainstay.events select * from copied"""
        )
    verdict = await verdict_of(db, chain)
    assert verdict.first_bad is not None
    assert [verdict.ok, verdict.first_bad.seq, verdict.first_bad.kind] == [False, seq, kind]


@pytest.mark.parametrize(("seq", "copies"), [(10, 1), (10, 9), (30, 1)])
@pytest.mark.parametrize("bounded_by", ["rows", "bytes"])
async def test_a_doubled_row_is_found_wherever_a_chunk_ends(
    db: Database, chain: Tenancy, monkeypatch: pytest.MonkeyPatch, seq: int, copies: int, bounded_by: str
) -> None:
    monkeypatch.setattr(verification, "_CHUNK", 10 if bounded_by == "rows" else 500)
    monkeypatch.setattr(verification, "_CHUNK_BYTES", 70 if bounded_by == "bytes" else 8_000_000)
    assert (await verdict_of(db, chain)).checked == 30
    async with db.connection() as connection:
        await connection.execute("alter table mainstay.events drop constraint events_pkey cascade")
        await connection.execute(
            f"""insert into mainstay.events select e.* from mainstay.events e, generate_series(1, {copies})
                 where workspace_id = '{chain.workspace_id}' and seq = {seq}"""
        )
    verdict = await verdict_of(db, chain)
    assert verdict.first_bad is not None
    assert [verdict.ok, verdict.first_bad.seq, verdict.first_bad.kind] == [False, seq, "duplicated"]


async def test_an_export_verifies_without_us_and_a_tampered_one_does_not(
    api: httpx.AsyncClient, chain: Tenancy, tmp_path: Any
) -> None:
    page = await api.get(EVENTS, headers=chain.auth, params={"order": "asc", "include": "proof", "limit": 1000})
    lines = [orjson.dumps(event) for event in page.json()["data"]]
    checkpoint = (await api.get("/v1/key/workspace/checkpoint", headers=chain.auth)).json()
    keys = dict(events.read_public_key(text) for text in checkpoint["keys"])
    note = tmp_path / "note"
    note.write_text(checkpoint["note"])

    def verdict(rows: list[bytes]) -> proof.Verdict:
        file = tmp_path / "export.ndjson"
        file.write_bytes(b"\n".join(rows) + b"\n")
        return events.verify_file(file, note, keys)

    assert verdict(lines).ok
    assert verdict(lines).checked == 30
    for rows, kind in (
        (lines[:20], "truncated"),
        ([*lines[:5], *lines[6:]], "deleted"),
        ([*lines[:5], lines[6], lines[5], *lines[7:]], "reordered"),
        ([*lines[:5], lines[5].replace(b'"n":5', b'"n":6'), *lines[6:]], "edited"),
    ):
        found = verdict(rows).first_bad
        assert found is not None
        assert found.kind == kind


async def test_a_fork_shows_against_the_checkpoint(api: httpx.AsyncClient, db: Database, chain: Tenancy) -> None:
    """The whole history written anew is consistent in itself; only the signature tells."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select * from mainstay.events where workspace_id = $1 order by seq", chain.workspace_id
        )
    from mainstay.events import chain as format_
    from mainstay.events import shape

    parent = format_.GENESIS
    async with db.begin() as tx:
        for row in rows:
            event = orjson.loads(shape.flat(row, with_proof=True))
            event["action"] = "rewritten"
            hashed = format_.link(parent, format_.leaf(format_.core_of(event)))
            await tx.connection.execute(
                "update mainstay.events set action = 'rewritten', prev_hash = $3, hash = $4 where workspace_id = $1 and seq = $2",  # noqa: E501
                chain.workspace_id, row["seq"], parent, hashed,
            )  # fmt: skip
            parent = hashed
        await tx.connection.execute(
            "update mainstay.chain_heads set hash = $2 where workspace_id = $1", chain.workspace_id, parent
        )
    verdict = await verdict_of(db, chain)
    assert verdict.first_bad is not None
    assert [verdict.first_bad.seq, verdict.first_bad.kind] == [30, "forked"]


async def test_a_checkpoint_is_signed_once_and_never_differently(api: httpx.AsyncClient, chain: Tenancy) -> None:
    first = (await api.get("/v1/key/workspace/checkpoint", headers=chain.auth)).json()
    second = (await api.get("/v1/key/workspace/checkpoint", headers=chain.auth)).json()
    assert first == second
    assert first["seq"] == 30
    keys = dict(events.read_public_key(text) for text in first["keys"])
    assert verify_note(first["note"], keys).seq == 30
    with pytest.raises(events.BadCheckpoint):
        verify_note(first["note"].replace("\n30\n", "\n31\n"), keys)
    other = {"authorization": f"Bearer {chain.other_key}"}
    assert (await api.get("/v1/key/workspace/checkpoint", headers=other)).status_code == 404


async def test_our_own_acts_are_events_of_the_companys_system_workspace_exactly_once(
    api: httpx.AsyncClient, db: Database, sql_clock: Any
) -> None:
    tenancy = await open_tenancy(db)
    async with db.begin() as tx:
        await identity.revoke_key(tx, OPERATOR, tenancy.company_id, tenancy.key_id)
    relay = outbox.Relay(db, reactions.reactions_on(db, db), reactions.record)
    while await relay.run_once():
        pass
    await sql_clock.move(timedelta(seconds=2))
    listed = (
        await api.get("/v1/key/company/events", headers=tenancy.company_auth, params={"order": "asc", "limit": 100})
    ).json()["data"]
    actions = [event["action"] for event in listed]
    assert actions.count("key.issued") == 3
    assert actions.count("key.revoked") == 1
    assert actions.count("workspace.opened") >= 2
    revoked = next(event for event in listed if event["action"] == "key.revoked")
    assert [revoked["actorId"], revoked["targetType"], revoked["targetId"]] == ["test", "key", tenancy.key_id]
    assert revoked["category"] == "mainstay"
    assert await db.value(Sql("test.left", "select count(*) from mainstay.announcements")) == 0
    metered = await db.value(Sql("test.m", "select count(*) from mainstay.meter_counts"))
    assert metered == 0
    system = revoked["workspaceId"]
    keys = await events.public_keys(db)
    verdict = await events.verify_workspace(db, tenancy.company_id, system, public_keys=keys)
    assert verdict.ok
    assert verdict.checked == len(listed)


async def test_a_reaction_that_fails_waits_and_costs_no_other(db: Database, sql_clock: Any) -> None:
    calls: list[str] = []

    async def fragile(tx: Any, fact: outbox.Announcement) -> None:
        calls.append(fact.id)
        await tx.run(
            Sql("test.mark", "insert into mainstay.queues (name, priority) values ($1, 5)"), secrets.token_hex(4)
        )
        if len(calls) == 1:
            raise RuntimeError("not this time")

    relay = outbox.Relay(db, {"thing.done": [fragile]})
    async with db.begin() as tx:
        first = await outbox.announce(tx, "thing.done", company_id=None, actor=OPERATOR, data={})
        await outbox.announce(tx, "other.done", company_id=None, actor=OPERATOR, data={})
    before = await db.value(Sql("test.q", "select count(*) from mainstay.queues"))
    await relay.run_once()
    assert await db.value(Sql("test.q", "select count(*) from mainstay.queues")) == before
    left = await db.row(Sql("test.left", "select id, failures, last_error from mainstay.announcements"))
    assert left is not None
    assert [str(left["id"]), left["failures"]] == [first, 1]
    assert "not this time" in left["last_error"]
    await sql_clock.move(timedelta(seconds=2))
    await relay.run_once()
    assert await db.value(Sql("test.count", "select count(*) from mainstay.announcements")) == 0
    assert calls == [first, first]
    assert main.schedules()


async def test_the_end_of_a_delivery_is_no_event_and_any_other_death_is(db: Database, tenancy: Tenancy) -> None:
    """A failing endpoint that wants every event would otherwise feed itself."""
    async with db.begin() as tx:
        for queue in ("nova:webhook", "nova:email"):
            await outbox.announce(
                tx, "job.died", company_id=tenancy.company_id, actor=OPERATOR, data={"id": 1, "queue": queue}
            )
    await outbox.Relay(db, reactions.reactions_on(db, db), reactions.record).run_once()
    died = await db.rows(Sql("test.died", "select payload from mainstay.events where action = 'job.died'"))
    assert [orjson.loads(row["payload"])["queue"] for row in died] == ["nova:email"]
    assert await db.value(Sql("test.left", "select count(*) from mainstay.announcements")) == 0


async def test_a_fact_that_cannot_be_recorded_costs_no_other(db: Database, tenancy: Tenancy) -> None:
    relay = outbox.Relay(db, reactions.reactions_on(db, db), reactions.record)
    while await relay.run_once():
        pass
    async with db.begin() as tx:
        for number in (1, 2**60, 2):
            data = {"id": str(number), "size": number}
            await outbox.announce(tx, "thing.done", company_id=tenancy.company_id, actor=OPERATOR, data=data)
    await relay.run_once()
    stored = await db.rows(Sql("test.done", "select target_id from mainstay.events where action = 'thing.done'"))
    assert {row["target_id"] for row in stored} == {"1", "2"}
    left = await db.row(Sql("test.left", "select failures, last_error from mainstay.announcements"))
    assert left is not None
    assert [left["failures"], "2^53" in left["last_error"]] == [1, True]


async def test_a_signing_key_that_was_rolled_back_signs_nothing(db: Database, api: httpx.AsyncClient) -> None:
    tenancy = await open_tenancy(db)
    await api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)
    sealer = events.Sealer(Keyring("a-test-secret-of-forty-characters-or-so-1"))
    with suppress(RuntimeError):
        async with db.begin() as tx:
            await sealer.seal(tx, tenancy.company_id, tenancy.workspace_id)
            raise RuntimeError("the commit is lost")
    async with db.begin() as tx:
        note = await sealer.seal(tx, tenancy.company_id, tenancy.workspace_id)
    assert verify_note(note, await events.public_keys(db)).seq == 1
