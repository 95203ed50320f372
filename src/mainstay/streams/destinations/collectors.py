"""Destinations that take JSON over HTTP: Splunk's event collector, Datadog's logs intake, and servers of one's own."""

import asyncio
import gzip
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import orjson
from orjson import Fragment

from mainstay.kernel.clock import iso
from mainstay.kernel.outbound import Outbound
from mainstay.streams import schemas
from mainstay.streams.destinations.outcomes import OF_EVENTS, Bounds, Outcome, judge
from mainstay.streams.forms import Batch, Sendable

ACKNOWLEDGED_WITHIN_SECONDS: Final = 30.0
_ASK_AGAIN_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 30.0
_ITEM_BYTES: Final = 1_000_000
_SPLUNK_OF_EVENTS: Final = frozenset({5, 6, 12, 13, 15})
"""Codes beside 400 that speak of an event: no data, a wrong format, no event, a blank one, wrong indexed fields."""


class Splunk:
    """Confirms by its answer, or by indexer acknowledgement where the stream asks for it."""

    bounds = Bounds(1_000, 1_048_576)

    def __init__(self, wanted: schemas.Splunk, outbound: Outbound) -> None:
        self._wanted = wanted
        self._outbound = outbound

    async def send(self, batch: Batch) -> Outcome:
        """Taken where the collector has the batch, and has indexed it where it is asked to say so."""
        channel = str(uuid.UUID(batch.stream_id))
        headers = {
            "Authorization": f"Splunk {self._wanted.token}",
            "Content-Type": "application/json",
            "X-Splunk-Request-Channel": channel,
        }
        body = b"".join(self._framed(event) for event in batch.events)
        answer = await self._outbound.post(self._url("event"), body, headers, timeout_seconds=_TIMEOUT_SECONDS)
        of_events = {413, 400} if _member(answer.body, "code") in _SPLUNK_OF_EVENTS else {413}
        outcome = judge(answer, secrets=[self._wanted.token], of_events=of_events)
        if not outcome.ok or not self._wanted.acknowledge:
            return outcome
        ack = _member(answer.body, "ackId")
        if not isinstance(ack, int):
            return Outcome(
                False, "the collector gives no ackId: switch indexer acknowledgement on for this token", True
            )
        return await self._acknowledged(ack, channel, headers)

    async def _acknowledged(self, ack: int, channel: str, headers: dict[str, str]) -> Outcome:
        loop = asyncio.get_running_loop()
        until = loop.time() + ACKNOWLEDGED_WITHIN_SECONDS
        url, body = f"{self._url('ack')}?channel={channel}", orjson.dumps({"acks": [ack]})
        while True:
            answer = await self._outbound.post(url, body, headers, timeout_seconds=_TIMEOUT_SECONDS)
            outcome = judge(answer, secrets=[self._wanted.token])
            if not outcome.ok:
                return outcome
            acks = _member(answer.body, "acks")
            if isinstance(acks, dict) and acks.get(str(ack)) is True:
                return outcome
            if loop.time() >= until:
                return Outcome(False, f"not indexed within {ACKNOWLEDGED_WITHIN_SECONDS:.0f} s")
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    def _url(self, what: str) -> str:
        return f"{self._wanted.url.rstrip('/')}/services/collector/{what}"

    def _framed(self, event: Sendable) -> bytes:
        wanted = self._wanted
        named: dict[str, Any] = {"source": wanted.source, "sourcetype": wanted.sourcetype}
        named |= {} if wanted.index is None else {"index": wanted.index}
        named |= {} if wanted.host is None else {"host": wanted.host}
        return orjson.dumps(
            {
                "time": round(event.occurred_at.timestamp(), 3),
                **named,
                "fields": {"event_id": event.id, "workspace_id": event.workspace_id},
                "event": Fragment(event.body),
            }
        )


class Datadog:
    """Confirms by its answer; an event that is over the intake's 1 MB goes without its bodies, and says so."""

    bounds = Bounds(500, 2 * 1_048_576)

    def __init__(self, wanted: schemas.Datadog, outbound: Outbound) -> None:
        self._wanted = wanted
        self._outbound = outbound

    async def send(self, batch: Batch) -> Outcome:
        """Taken where the intake accepted the batch."""
        body = b"[" + b",".join(self._framed(event) for event in batch.events) + b"]"
        url = self._wanted.url or f"https://http-intake.logs.{self._wanted.site}"
        answer = await self._outbound.post(
            f"{url.rstrip('/')}/api/v2/logs",
            await asyncio.to_thread(gzip.compress, body, 6),
            {
                "DD-API-KEY": self._wanted.api_key,
                "Content-Type": "application/json",
                "Content-Encoding": "gzip",
            },
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        return judge(answer, secrets=[self._wanted.api_key], of_events=OF_EVENTS)

    def _framed(self, event: Sendable) -> bytes:
        item = self._item(event, event.body)
        if len(item) <= _ITEM_BYTES:
            return item
        kept = orjson.loads(event.body)
        for bodies in (kept, kept.get("unmapped") or {}):
            for name in ("payload", "metadata", "changes"):
                bodies.pop(name, None)
        return self._item(event, orjson.dumps({**kept, "bodiesLeftOut": True}))

    def _item(self, event: Sendable, body: bytes) -> bytes:
        wanted = self._wanted
        return orjson.dumps(
            {
                "ddsource": "mainstay",
                "service": wanted.service,
                "hostname": event.workspace_id,
                "ddtags": ",".join(wanted.tags),
                "message": event.action,
                "timestamp": round(event.occurred_at.timestamp() * 1000),
                "event_id": event.id,
                "audit": Fragment(body),
            }
        )


class Https:
    """A server of the company's own; confirms with any 2xx, and knows a repeated batch by its `webhook-id`."""

    bounds = Bounds(500, 1_048_576)

    def __init__(
        self,
        wanted: schemas.Https,
        outbound: Outbound,
        *,
        sign: Callable[[str, bytes], str],
        brand: str,
        now: datetime,
    ) -> None:
        self._wanted = wanted
        self._outbound = outbound
        self._sign = sign
        self._brand = brand
        self._now = now

    async def send(self, batch: Batch) -> Outcome:
        """Taken where the server answered 2xx."""
        body = orjson.dumps(
            {
                "type": "events.batch",
                "id": batch.id,
                "streamId": batch.stream_id,
                "timestamp": iso(self._now),
                "data": [Fragment(event.body) for event in batch.events],
            }
        )
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"{self._brand}-Streams/1.0",
            "webhook-id": batch.id,
            "webhook-timestamp": str(round(self._now.timestamp())),
            "webhook-signature": self._sign(batch.id, body),
        }
        answer = await self._outbound.post(self._wanted.url, body, headers, timeout_seconds=_TIMEOUT_SECONDS)
        return judge(answer, of_events=OF_EVENTS)


def _member(body: bytes, name: str) -> Any:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found.get(name) if isinstance(found, dict) else None
