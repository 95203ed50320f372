"""Streams under trouble: nothing is lost or passed over, refusals are told, and everything goes on by itself."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay import identity, jobs, streams
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.work import Job
from mainstay.streams import pumping as pump
from mainstay.streams.destinations import collectors
from mainstay.streams.destinations.outcomes import Bounds
from mainstay.streams.pumping import Pump
from tests.jobs.conftest import until
from tests.streams.conftest import Pumping
from tests.streams.peers import TOKEN, Collector, http_peer
from tests.tenancy import OPERATOR, test_settings


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that answers at once."""
    found = Collector()
    async with http_peer(found, "/services/collector/event", found.take):
        yield found


def splunk(collector: Collector, **more: Any) -> dict[str, Any]:
    return {"type": "splunk", "url": collector.address, "token": TOKEN, **more}


async def retried(pumping: Pumping, stream: dict[str, Any]) -> dict[str, Any]:
    """The stream after it was tried again without waiting for its time."""
    await pumping.act(stream, "pause")
    await pumping.act(stream, "resume")
    await pumping.settle()
    return await pumping.read(stream)


async def test_writers_of_many_workspaces_and_a_new_one_are_followed_without_a_gap(
    pumping: Pumping, collector: Collector, db: Database
) -> None:
    stream = await pumping.create(splunk(collector))
    tenancy, stored = pumping.tenancy, dict[str, list[str]]()
    async with db.begin() as tx:
        fresh = await identity.open_workspace(tx, OPERATOR, tenancy.company_id, name="Fresh")
        issued = await identity.issue_key(
            tx, OPERATOR, tenancy.company_id, kind="workspace", name="k", workspace_id=fresh.id
        )

    async def write(key: str) -> None:
        for n in range(8):
            stored.setdefault(key, []).extend(await pumping.send(*["a"] * (n + 1), key=key))

    keys = [tenancy.key, tenancy.other_key, issued.secret]
    async with pumping.working():
        writing = asyncio.gather(*(write(key) for key in keys * 2))
        while not writing.done():
            await pumping.look()
            await asyncio.sleep(0.02)
        await writing
        await pumping.until_settled()
    seqs: dict[str, list[int]] = {}
    for event in collector.taken:
        seqs.setdefault(event["workspaceId"], []).append(event["seq"])
    assert all(found == sorted(found) for found in seqs.values())
    assert sorted(collector.ids) == sorted(one for ids in stored.values() for one in ids)
    found = await pumping.read(stream)
    assert (found["sent"], found["lag"]["events"]) == (len(collector.ids), 0)


async def test_an_answer_that_is_lost_costs_a_repetition_and_no_event(pumping: Pumping, collector: Collector) -> None:
    stream = await pumping.create(splunk(collector))
    sent = await pumping.send("a", "b")
    collector.answers = [500]
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["state"], found["failures"], found["lag"]["events"]) == ("active", 1, 2)
    assert found["reason"].startswith("answered 500")
    later = await pumping.send("c")
    found = await retried(pumping, stream)
    assert collector.ids == sent + later
    assert (found["state"], found["failures"], found["reason"]) == ("active", 0, None)


async def test_a_worker_that_stops_in_the_middle_leaves_the_rest_to_another(
    pumping: Pumping, collector: Collector
) -> None:
    stream = await pumping.create(splunk(collector))
    sent = await pumping.send("a", "b")
    collector.gate.clear()
    async with pumping.working():
        await pumping.look()
        await asyncio.wait_for(collector.asked.wait(), 20)
        asyncio.get_running_loop().call_later(0.2, collector.gate.set)
    later = await pumping.send("c")
    await pumping.settle()
    assert list(dict.fromkeys(collector.ids)) == sent + later
    assert (await pumping.read(stream))["lag"]["events"] == 0


async def test_a_worker_that_lost_its_claim_moves_no_mark(
    pumping: Pumping, collector: Collector, db: Database, outbound: Outbound
) -> None:
    """As when a worker was killed or held up, and another has the job: what it sent goes out again, under one id."""
    stream = await pumping.create(splunk(collector))
    sent = await pumping.send("a", "b")
    settings = test_settings(db.dsn)
    pump = Pump(db, outbound, Keyring(settings.secret), settings.brand)
    lost = Job(
        id=1, queue=streams.QUEUE, kind="streams.turn", payload=stream["id"], attempt=1, max_attempts=3, epoch=7,
        lane="", company_id=pumping.tenancy.company_id, trace_id="", enqueued_at=datetime.now(UTC),
    )  # fmt: skip
    with pytest.raises(jobs.LeaseLost):
        await pump.turn(lost)
    assert (await pumping.read(stream))["lag"]["events"] == 2
    await pumping.settle()
    assert collector.ids == sent * 2
    assert [one["fields"]["event_id"] for one in collector.batches[0]] == sent
    assert (await pumping.read(stream))["sent"] == 2


@pytest.mark.parametrize("status", [401, 403, 400, 404])
async def test_a_refusal_is_told_at_once_and_the_stream_recovers_by_itself(
    pumping: Pumping, collector: Collector, sql_clock: Any, status: int
) -> None:
    stream = await pumping.create(splunk(collector))
    sent = await pumping.send("a")
    collector.answers = [status]
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["state"], found["lag"]["events"]) == ("failing", 1)
    assert found["reason"].startswith(f"answered {status}")
    assert [one["streamId"] for one in await pumping.announced("stream.failing")] == [stream["id"]]
    await pumping.settle()
    assert collector.ids == [], "it is not tried again at once"
    await sql_clock.move(timedelta(minutes=5, seconds=1))
    await pumping.settle()
    assert collector.ids == sent
    assert (await pumping.read(stream))["state"] == "active"
    assert len(await pumping.announced("stream.recovered")) == 1


async def test_a_reason_never_shows_the_secret(pumping: Pumping, collector: Collector) -> None:
    stream = await pumping.create(splunk(collector, token="another-token-than-the-collector-knows"))
    await pumping.send("a")
    await pumping.settle()
    reason = (await pumping.read(stream))["reason"]
    assert "Invalid token Splunk (secret)" in reason
    assert "another-token" not in str(await pumping.announced("stream.failing"))


async def test_errors_of_the_receiver_are_told_after_five_in_a_row(
    pumping: Pumping, collector: Collector, sql_clock: Any
) -> None:
    stream = await pumping.create(splunk(collector))
    await pumping.send("a")
    collector.answers = [503] * 5
    states = []
    for _ in range(5):
        await pumping.settle()
        states.append((await pumping.read(stream))["state"])
        await sql_clock.move(timedelta(seconds=31))
    assert states == ["active"] * 4 + ["failing"]
    await pumping.settle()
    assert (await pumping.read(stream))["state"] == "active"


async def test_a_receiver_that_asks_for_patience_gets_it(
    pumping: Pumping, collector: Collector, sql_clock: Any
) -> None:
    await pumping.create(splunk(collector))
    sent = await pumping.send("a")
    collector.answers, collector.headers = [429], {"Retry-After": "120"}
    await pumping.settle()
    await sql_clock.move(timedelta(seconds=110))
    await pumping.settle()
    assert collector.ids == []
    await sql_clock.move(timedelta(seconds=20))
    await pumping.settle()
    assert collector.ids == sent


async def test_after_thirty_days_it_is_disabled_and_goes_on_when_resumed(
    pumping: Pumping, collector: Collector, sql_clock: Any
) -> None:
    stream = await pumping.create(splunk(collector))
    sent = await pumping.send("a")
    collector.answers = [403, 403]
    await pumping.settle()
    await sql_clock.move(timedelta(days=30, seconds=1))
    await pumping.settle()
    assert (await pumping.read(stream))["state"] == "disabled"
    assert len(await pumping.announced("stream.disabled")) == 1
    await sql_clock.move(timedelta(days=1))
    await pumping.settle()
    assert collector.ids == []
    await pumping.act(stream, "resume")
    await pumping.settle()
    assert collector.ids == sent


async def test_what_is_stored_during_a_pause_waits(pumping: Pumping, collector: Collector) -> None:
    stream = await pumping.create(splunk(collector))
    await pumping.act(stream, "pause")
    sent = await pumping.send("a", "b")
    await pumping.settle()
    assert collector.ids == []
    found = await pumping.read(stream)
    assert (found["state"], found["lag"]["events"]) == ("paused", 2)
    assert found["lag"]["seconds"] > 0
    await pumping.act(stream, "resume")
    await pumping.settle()
    assert collector.ids == sent


@pytest.mark.parametrize(
    ("wanted", "passed"),
    [
        ({"actions": ["doc.*"]}, ["doc.read", "doc.a.b"]),
        ({"actions": ["doc.read", "user.x"]}, ["doc.read", "user.x"]),
        ({"categories": ["files"]}, ["doc.a.b"]),
        ({"actions": ["doc.*"], "categories": ["files"]}, ["doc.a.b"]),
        ({"workspaceIds": ["00000000-0000-7000-8000-000000000000"]}, []),
    ],
)
async def test_filters(pumping: Pumping, collector: Collector, wanted: dict[str, Any], passed: list[str]) -> None:
    stream = await pumping.create(splunk(collector), filter=wanted)
    await pumping.send("doc.read", {"action": "doc.a.b", "category": "files"}, "docs.read", "user.x", "doc")
    await pumping.settle()
    assert [event["action"] for event in collector.taken] == passed
    assert (await pumping.read(stream))["lag"]["events"] == 0


async def test_a_backfill_sends_what_was_stored_since_a_date_beside_what_is_new(
    pumping: Pumping, collector: Collector, sql_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pumping.send("long.ago")
    await sql_clock.move(timedelta(hours=2))
    since = (datetime.now(UTC) + sql_clock.offset - timedelta(hours=1)).isoformat()
    old = await pumping.send("a", "b", "c")
    stream = await pumping.create(splunk(collector))
    assert stream["backfill"] is None
    begun = (await pumping.act(stream, "backfill", 202, since=since))["backfill"]
    assert (begun["state"], begun["progress"], begun["sent"]) == ("running", 0.0, 0)
    await pumping.act(stream, "backfill", 409, since=since)
    new = await pumping.send("d")
    await pumping.settle()
    assert collector.ids == new + old, "what is new comes first"
    found = await pumping.read(stream)
    assert (found["backfill"]["state"], found["backfill"]["progress"], found["backfill"]["sent"]) == ("done", 1.0, 3)
    assert (found["sent"], found["lag"]["events"]) == (1, 0)
    assert len(await pumping.announced("stream.backfill_finished")) == 1
    await pumping.act(stream, "backfill", 202, since=since)


async def test_a_cancelled_backfill_sends_no_more(pumping: Pumping, collector: Collector) -> None:
    await pumping.send("a")
    stream = await pumping.create(splunk(collector))
    await pumping.act(stream, "backfill", 202, since="2026-01-01T00:00:00Z")
    path = f"/v1/key/company/streams/{stream['id']}/backfill"
    answer = await pumping.api.delete(path, headers=pumping.tenancy.company_auth)
    assert answer.json()["backfill"]["state"] == "cancelled"
    await pumping.settle()
    assert collector.ids == []


async def test_a_backfill_is_whole_where_one_workspace_has_gone_on_meanwhile(
    pumping: Pumping, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is newer than the backfill counts for no part of it, however much of a batch it would fill."""
    monkeypatch.setattr(collectors.Splunk, "bounds", Bounds(6, 1_048_576))
    old = await pumping.send(*(f"old.{n}" for n in range(12))) + await pumping.send("b", key=pumping.tenancy.other_key)
    stream = await pumping.create(splunk(collector))
    await pumping.act(stream, "backfill", 202, since="2026-01-01T00:00:00Z")
    new = await pumping.send(*(f"new.{n}" for n in range(12)), key=pumping.tenancy.other_key)
    await pumping.settle()
    found = await pumping.read(stream)
    assert sorted(collector.ids) == sorted(old + new)
    assert (found["backfill"]["state"], found["backfill"]["sent"]) == ("done", len(old))


async def test_a_backfill_of_what_is_not_kept_any_more_ends(
    pumping: Pumping, collector: Collector, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectors.Splunk, "bounds", Bounds(2, 1_048_576))
    monkeypatch.setattr(pump, "TURN_SECONDS", 1.0)
    await pumping.send("a", "b", "c")
    stream = await pumping.create(splunk(collector))
    await pumping.act(stream, "backfill", 202, since="2026-01-01T00:00:00Z")
    async with db.begin() as tx:
        await tx.connection.execute("delete from mainstay.events where workspace_id = $1", pumping.tenancy.workspace_id)
    new = await pumping.send("d", "e", "f")
    async with asyncio.timeout(20):
        await pumping.settle()
    assert collector.ids == new
    assert (await pumping.read(stream))["backfill"]["state"] == "done"


async def test_what_is_not_kept_any_more_holds_nothing_up(pumping: Pumping, collector: Collector, db: Database) -> None:
    stream = await pumping.create(splunk(collector))
    await pumping.send("a", "b")
    async with db.begin() as tx:
        await tx.connection.execute("delete from mainstay.events where workspace_id = $1", pumping.tenancy.workspace_id)
    await pumping.settle()
    assert (await pumping.read(stream))["lag"]["events"] == 0
    later = await pumping.send("c")
    await pumping.settle()
    assert collector.ids == later


async def test_events_that_the_filter_stops_are_no_sign_of_recovery(pumping: Pumping, collector: Collector) -> None:
    stream = await pumping.create(splunk(collector), filter={"actions": ["a"]})
    await pumping.send("a")
    collector.answers = [403]
    await pumping.settle()
    await pumping.change(stream, filter={"actions": ["b"]})
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["state"], found["lag"]["events"]) == ("failing", 0)
    assert await pumping.announced("stream.recovered") == []


@pytest.mark.parametrize(("answers", "state"), [([], "ok"), ([403], "failed")])
async def test_a_probe_tells_whether_the_destination_takes_events(
    pumping: Pumping, collector: Collector, answers: list[int], state: str
) -> None:
    stream = await pumping.create(splunk(collector))
    await pumping.act(stream, "pause")
    collector.answers = answers
    assert (await pumping.act(stream, "probe", 202))["probe"]["state"] == "waiting"
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["probe"]["state"], found["state"], found["sent"]) == (state, "paused", 0)
    assert [event["action"] for event in collector.taken] == (["stream.probe"] if state == "ok" else [])


async def test_a_stream_whose_secrets_cannot_be_opened_says_so(
    pumping: Pumping, collector: Collector, db: Database, outbound: Outbound
) -> None:
    stream = await pumping.create(splunk(collector))
    await pumping.send("a")
    settings, right = test_settings(db.dsn), pumping.tasks
    pumping.tasks = streams.tasks(db, outbound, Keyring("another-master-secret-of-forty-characters"), settings.brand)
    await pumping.act(stream, "probe", 202)
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["state"], found["probe"]["state"]) == ("failing", "failed")
    assert "master secret" in found["reason"]
    pumping.tasks = right
    assert (await retried(pumping, stream))["lag"]["events"] == 0


@pytest.mark.parametrize("kind", ["splunk", "syslog", "s3"])
async def test_nothing_goes_to_an_address_of_a_private_network(
    pumping: Pumping, collector: Collector, db: Database, kind: str
) -> None:
    """Whatever a name meant when the stream was saved: addresses are judged at each connection."""
    port = collector.address.rpartition(":")[2]
    stream = await pumping.create(
        {
            "splunk": splunk(collector),
            "syslog": {"type": "syslog", "host": "127.0.0.1", "port": int(port), "tls": False},
            "s3": {"type": "s3", "bucket": "bucket", "endpoint": collector.address, "accessKeyId": "k",
                   "secretAccessKey": "s"},
        }[kind]
    )  # fmt: skip
    await pumping.send("a")
    strict = Outbound(allow=parse_allow_list(""))
    settings = test_settings(db.dsn)
    pumping.tasks = streams.tasks(db, strict, Keyring(settings.secret), settings.brand)
    await pumping.settle()
    await strict.close()
    found = await pumping.read(stream)
    assert found["state"] == "failing"
    assert "refused_address" in found["reason"]
    assert not collector.asked.is_set()


async def test_the_schedule_looks_each_two_seconds(pumping: Pumping, collector: Collector, db: Database) -> None:
    schedule, _ = streams.schedules()
    assert schedule.slots.period == timedelta(seconds=2)  # type: ignore[union-attr]
    await pumping.create(splunk(collector))
    sent = await pumping.send("a")
    worker = jobs.Worker(
        db, pumping.tasks, queues=jobs.queue_configs(), schedules=[schedule],
        timing=jobs.Timing(schedule=0.05, promote=0.02), shutdown_seconds=5.0,
    )  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    await until(lambda: collector.ids == sent)
    stop.set()
    await running
