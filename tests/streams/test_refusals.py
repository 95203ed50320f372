"""Events that a destination refuses for what they hold: found, stopped at or put aside, and sent again."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from aiohttp import web
from prometheus_client import generate_latest

from mainstay.kernel import ids
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.telemetry import REGISTRY
from mainstay.streams import aside, figures, standing
from tests.streams.conftest import PATH, Pumping
from tests.streams.peers import Peer, http_peer


class Picky(Peer):
    """A server that takes no batch with an event whose action it does not like."""

    disliked = "bad"
    status = 422
    requests = 0

    async def take(self, request: web.Request) -> web.Response:
        """One answer for the whole batch, as servers do."""
        self.requests += 1
        found = orjson.loads(await request.read())["data"]
        if any(one["action"].startswith(self.disliked) for one in found):
            return web.Response(status=self.status, text="what is this?")
        self.taken += found
        return web.Response()


@pytest.fixture
async def picky() -> AsyncIterator[Picky]:
    found = Picky()
    async with http_peer(found, "/in", found.take):
        yield found


def https(picky: Picky) -> dict[str, Any]:
    return {"type": "https", "url": f"{picky.address}/in"}


async def rested(pumping: Pumping, sql_clock: Any, times: int) -> None:
    """So many more tries, each after the rest before it."""
    for _ in range(times):
        await sql_clock.move(standing.REFUSED_REST)
        await pumping.settle()


@pytest.mark.parametrize(
    ("events", "tries", "on_refusal", "is_full", "step"),
    [
        (500, 0, "stop", False, "halve"),
        (2, 9, "skip", True, "halve"),
        (1, 0, "stop", False, "stop"),
        (1, 0, "skip", False, "again"),
        (1, 1, "skip", False, "again"),
        (1, 2, "skip", False, "aside"),
        (1, 2, "skip", True, "stop"),
        (1, 9, "stop", False, "stop"),
    ],
)
def test_what_follows_from_a_refusal(events: int, tries: int, on_refusal: Any, is_full: bool, step: str) -> None:
    assert standing.after_refusal(events, tries, on_refusal, is_full=is_full) == step


async def test_a_stream_stops_before_the_event_and_its_owner_puts_it_aside(pumping: Pumping, picky: Picky) -> None:
    stream = await pumping.create(https(picky))
    sent = await pumping.send(*["a"] * 6, "bad", *["b"] * 4)
    assert (stream["onRefusal"], stream["blockedBy"], stream["aside"]) == ("stop", None, 0)
    assert (await pumping.act(stream, "skip"))["aside"] == 0, "nothing stands before it"
    await pumping.settle()
    assert picky.ids == sent[:6], "what was before it went out, once"
    found = await pumping.read(stream)
    assert (found["state"], found["lag"]["events"]) == ("failing", 5)
    assert found["reason"].startswith("answered 422: what is this?")
    blocked = found["blockedBy"]
    assert (blocked["eventId"], blocked["tries"], blocked["seq"]) == (sent[6], 1, 7)
    tries = picky.requests
    skipped = await pumping.act(stream, "skip")
    assert (skipped["state"], skipped["blockedBy"], skipped["aside"], skipped["reason"]) == ("active", None, 1, None)
    await pumping.settle()
    assert picky.ids == sent[:6] + sent[7:]
    assert picky.requests == tries + 1, "the rest goes out in one batch"
    told = await pumping.announced("stream.event_put_aside")
    assert [(one["eventId"], one["seq"]) for one in told] == [(sent[6], 7)]


async def test_a_stream_that_skips_tries_three_times_and_goes_on(
    pumping: Pumping, picky: Picky, sql_clock: Any
) -> None:
    stream = await pumping.create(https(picky), onRefusal="skip")
    sent = await pumping.send("a", "bad.1", "b", "bad.2")
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["state"], found["blockedBy"]["eventId"], found["aside"]) == ("active", sent[1], 0)
    await rested(pumping, sql_clock, 1)
    assert (await pumping.read(stream))["blockedBy"]["tries"] == 2
    await rested(pumping, sql_clock, 4)
    found = await pumping.read(stream)
    assert picky.ids == [sent[0], sent[2]]
    assert (found["state"], found["lag"]["events"], found["aside"], found["sent"]) == ("active", 0, 2, 2)
    listed = await pumping.api.get(f"{PATH}/{stream['id']}/aside", headers=pumping.tenancy.company_auth)
    assert [one["eventId"] for one in listed.json()["data"]] == [sent[1], sent[3]]
    assert listed.json()["data"][0]["reason"] == "answered 422: what is this?"
    assert await pumping.announced("stream.failing") == []


async def test_what_is_aside_is_sent_again_or_forgotten(pumping: Pumping, picky: Picky, sql_clock: Any) -> None:
    stream = await pumping.create(https(picky), onRefusal="skip")
    sent = await pumping.send("bad.1", "bad.2", "bad.3")
    await rested(pumping, sql_clock, 7)
    assert (await pumping.read(stream))["aside"] == 3
    picky.disliked = "bad.2"
    await pumping.act(stream, "aside/send", 202, eventIds=None)
    await pumping.settle()
    found = await pumping.read(stream)
    assert (picky.ids, found["aside"], found["sent"]) == ([sent[0], sent[2]], 1, 2)
    assert picky.taken[0]["seq"] == 1
    # An answer about the place, not the event, ends the sending of all.
    picky.disliked, picky.answers = "no", [403]
    await pumping.act(stream, "aside/send", 202, eventIds=[sent[1]])
    await pumping.settle()
    listed = await pumping.api.get(f"{PATH}/{stream['id']}/aside", headers=pumping.tenancy.company_auth)
    (left,) = listed.json()["data"]
    assert (left["isWaiting"], left["reason"].split(":")[0]) == (False, "answered 403")
    assert (await pumping.act(stream, "aside/forget", eventIds=[ids.new_id()]))["aside"] == 1
    assert (await pumping.act(stream, "aside/forget", eventIds=None))["aside"] == 0
    await pumping.act(stream, "aside/send", 400, eventIds=["no-id"])


async def test_what_the_log_does_not_keep_says_so(pumping: Pumping, picky: Picky, db: Database) -> None:
    stream = await pumping.create(https(picky))
    await pumping.send("bad")
    await pumping.settle()
    await pumping.act(stream, "skip")
    async with db.begin() as tx:
        await tx.connection.execute("delete from mainstay.events where workspace_id = $1", pumping.tenancy.workspace_id)
    await pumping.act(stream, "aside/send", 202, eventIds=None)
    await pumping.settle()
    listed = await pumping.api.get(f"{PATH}/{stream['id']}/aside", headers=pumping.tenancy.company_auth)
    assert [one["reason"] for one in listed.json()["data"]] == ["the log does not keep it any more"]


async def test_no_more_than_so_many_are_put_aside(
    pumping: Pumping, picky: Picky, monkeypatch: pytest.MonkeyPatch, sql_clock: Any
) -> None:
    monkeypatch.setattr(aside, "ASIDE_AT_MOST", 1)
    stream = await pumping.create(https(picky), onRefusal="skip")
    sent = await pumping.send("bad.1", "bad.2", "a")
    await rested(pumping, sql_clock, 3)
    found = await pumping.read(stream)
    assert (found["state"], found["aside"], found["blockedBy"]["eventId"]) == ("failing", 1, sent[1])
    await pumping.act(stream, "skip", 409)
    await pumping.act(stream, "aside/forget", eventIds=None)
    await pumping.change(stream, onRefusal="stop")
    await pumping.act(stream, "skip")
    await pumping.settle()
    assert picky.ids == [sent[2]]


async def test_a_destination_that_refuses_everything_costs_no_event(pumping: Pumping, picky: Picky) -> None:
    """A wrong token or address is no matter of events: nothing is halved, and nothing put aside."""
    stream = await pumping.create(https(picky), onRefusal="skip")
    await pumping.send("a", "b")
    picky.answers = [401]
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["state"], found["blockedBy"], found["aside"], found["lag"]["events"]) == ("failing", None, 0, 2)


async def test_a_backfill_passes_what_is_put_aside_and_ends(pumping: Pumping, picky: Picky, sql_clock: Any) -> None:
    sent = await pumping.send("a", "b", "bad")
    stream = await pumping.create(https(picky), onRefusal="skip")
    await pumping.act(stream, "backfill", 202, since="2026-01-01T00:00:00Z")
    await rested(pumping, sql_clock, 3)
    found = await pumping.read(stream)
    assert (found["backfill"]["state"], found["backfill"]["sent"], found["aside"]) == ("done", 2, 1)
    assert picky.ids == sent[:2]


async def test_batches_grow_back_over_events_that_nobody_wants(pumping: Pumping, picky: Picky, db: Database) -> None:
    await pumping.create(https(picky), filter={"actions": ["a"]})
    picky.answers = [413]
    await pumping.send("a", "a")
    await pumping.settle()
    at_most = Sql("t", "select batch_at_most from mainstay.streams")
    assert (len(picky.taken), await db.value(at_most)) == (2, 4)
    await pumping.send(*["b"] * 12)
    await pumping.settle()
    assert await db.value(at_most) == 16


async def test_an_event_that_is_wanted_no_more_blocks_nothing(pumping: Pumping, picky: Picky) -> None:
    stream = await pumping.create(https(picky))
    await pumping.send("bad")
    await pumping.settle()
    assert (await pumping.read(stream))["blockedBy"]
    await pumping.change(stream, filter={"actions": ["a"]})
    await pumping.settle()
    found = await pumping.read(stream)
    assert (found["blockedBy"], found["lag"]["events"]) == (None, 0)


async def test_a_refused_event_of_a_backfill_that_ended_blocks_no_other(pumping: Pumping, picky: Picky) -> None:
    sent = await pumping.send("bad", "a")
    stream = await pumping.create(https(picky))
    since = {"since": "2026-01-01T00:00:00Z"}
    await pumping.act(stream, "backfill", 202, **since)
    await pumping.settle()
    assert (await pumping.read(stream))["blockedBy"]["eventId"] == sent[0]
    answer = await pumping.api.delete(f"{PATH}/{stream['id']}/backfill", headers=pumping.tenancy.company_auth)
    assert (answer.status_code, answer.json()["blockedBy"]) == (200, None)
    picky.disliked = "no"
    await pumping.act(stream, "backfill", 202, **since)
    assert (await pumping.act(stream, "skip"))["aside"] == 0
    await pumping.act(stream, "resume")
    await pumping.settle()
    assert picky.ids == sent


async def test_figures_tell_lag_and_standing_by_kind(
    pumping: Pumping, picky: Picky, db: Database, sql_clock: Any
) -> None:
    stopped, skips = [await pumping.create(https(picky), onRefusal=one) for one in ("stop", "skip")]
    paused = await pumping.create({"type": "syslog", "host": "127.0.0.1", "port": 9, "tls": False})
    await pumping.act(paused, "pause")
    await pumping.send("bad", "a")
    await rested(pumping, sql_clock, 3)
    await sql_clock.move(timedelta(minutes=2))
    await figures.measure(db, "HERE")

    def told(name: str, kind: str, **more: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"database": "HERE", "kind": kind, **more})

    assert (await pumping.read(skips))["aside"] == 1
    assert (await pumping.read(stopped))["state"] == "failing"
    assert [told("streams", "https", state=one) for one in ("active", "failing")] == [1, 1]
    assert told("streams", "syslog", state="paused") == 1
    lag = told("stream_lag_seconds", "https")
    assert lag is not None
    assert 100 < lag < 1_000
    assert [told(f"stream{one}", "https") for one in ("_lag_events", "s_behind", "s_blocked", "_events_aside")] == [
        2, 1, 1, 1,
    ]  # fmt: skip
    assert [told(f"stream{one}", "syslog") for one in ("_lag_events", "s_behind")] == [0, 0]
    figures.FIGURES._found["HERE"] = (-1_000.0, figures.FIGURES._found["HERE"][1])
    assert b"HERE" not in generate_latest(REGISTRY), "old figures are not told"
