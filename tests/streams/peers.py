"""The places that streams go to, as they behave: each checks what the real one checks and keeps what it took."""

import asyncio
import gzip
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from mainstay import webhooks

TOKEN = "0a1b2c3d-4e5f-6789-abcd-ef0123456789"
API_KEY = "0123456789abcdef0123456789abcdef"


@dataclass
class Peer:
    """A server that takes events; `answers` overrules what it would say to the next requests."""

    address: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    headers: dict[str, str] = field(default_factory=dict)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        """Ids of the events taken, in their order, repetitions included."""
        return [event["id"] for event in self.taken]


@asynccontextmanager
async def http_peer(peer: Peer, path: str, handler: Any, *more: tuple[str, Any]) -> AsyncIterator[Peer]:
    """The peer listens on loopback."""
    peer.gate.set()

    async def taken(request: web.Request) -> web.Response:
        peer.asked.set()
        await peer.gate.wait()
        if peer.answers:
            return web.json_response({"text": "as the test says"}, status=peer.answers.pop(0), headers=peer.headers)
        return await handler(request)

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_post(path, taken)
    for where, other in more:
        app.router.add_post(where, other)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    peer.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield peer
    peer.gate.set()
    await runner.cleanup()


class Collector(Peer):
    """Splunk's HTTP Event Collector; with `acknowledges` events are indexed once `index_all` was called."""

    acknowledges = False
    indexes_at_once = True

    async def take(self, request: web.Request) -> web.Response:
        """As the collector answers on /services/collector/event."""
        refusal = self.refusal(request)
        if refusal is not None:
            return refusal
        found = []
        text, decoder = (await request.read()).decode(), _whole_objects
        for one in decoder(text):
            if not isinstance(one.get("event"), dict) or not isinstance(one.get("time"), float | int):
                return web.json_response({"text": "Invalid data format", "code": 6}, status=400)
            if one.get("index") not in (None, "audit"):
                return web.json_response({"text": "Incorrect index", "code": 7}, status=400)
            found.append(one)
        if not found:
            return web.json_response({"text": "No data", "code": 5}, status=400)
        self.batches.append(found)
        self.taken += [one["event"] for one in found]
        told: dict[str, Any] = {"text": "Success", "code": 0}
        return web.json_response({**told, "ackId": len(self.batches) - 1} if self.acknowledges else told)

    async def tell(self, request: web.Request) -> web.Response:
        """As the collector answers on /services/collector/ack."""
        refusal = self.refusal(request)
        if refusal is not None:
            return refusal
        if "channel" not in request.query:
            return web.json_response({"text": "Data channel is missing", "code": 10}, status=400)
        asked = orjson.loads(await request.read())["acks"]
        return web.json_response({"acks": {str(ack): self.indexes_at_once for ack in asked}})

    def refusal(self, request: web.Request) -> web.Response | None:
        """Why the request is refused."""
        if "Authorization" not in request.headers:
            return web.json_response({"text": "Token is required", "code": 2}, status=401)
        if request.headers["Authorization"] != f"Splunk {TOKEN}":
            return web.json_response(
                {"text": f"Invalid token {request.headers['Authorization']}", "code": 4}, status=403
            )
        if self.acknowledges and "X-Splunk-Request-Channel" not in request.headers:
            return web.json_response({"text": "Data channel is missing", "code": 10}, status=400)
        return None


def _whole_objects(text: str) -> list[dict[str, Any]]:
    found, decoder, at = [], json.JSONDecoder(), 0
    while at < len(text):
        one, at = decoder.raw_decode(text, at)
        found.append(one)
    return found


class Intake(Peer):
    """Datadog's logs intake."""

    async def take(self, request: web.Request) -> web.Response:
        """As the intake answers on /api/v2/logs."""
        if request.headers.get("DD-API-KEY") != API_KEY:
            return web.json_response({"errors": [{"status": "403", "title": "Forbidden"}]}, status=403)
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        items = orjson.loads(body)
        if len(body) > 5_000_000 or len(items) > 1_000:
            return web.json_response({"errors": [{"title": "Payload too large"}]}, status=413)
        assert all(len(orjson.dumps(item)) <= 1_000_000 for item in items), "the intake would cut this item"
        assert all(isinstance(item["message"], str) and item["ddsource"] for item in items)
        self.batches.append(items)
        self.taken += [item["audit"] for item in items]
        return web.json_response({}, status=202)


class Server(Peer):
    """A server of the company's own, which checks every signature."""

    secret = ""

    async def take(self, request: web.Request) -> web.Response:
        """Takes a signed batch."""
        body = await request.read()
        try:
            webhooks.verify(
                [self.secret], dict(request.headers), body, now_seconds=int(request.headers["webhook-timestamp"])
            )
        except webhooks.BadSignature as refusal:
            return web.json_response({"error": refusal.reason}, status=401)
        batch = orjson.loads(body)
        assert batch["id"] == request.headers["webhook-id"]
        self.batches.append(batch)
        self.taken += batch["data"]
        return web.Response(status=204)


_MESSAGE = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) ([!-~]{1,255}) ([!-~]{1,48}) "
    rb"([!-~]{1,128}) ([!-~]{1,32}) (-|(?:\[[^\]]+\])+) (.*)",
    re.DOTALL,
)


class Receiver(Peer):
    """A receiver of syslog: octet counting, and the grammar of RFC 5424."""

    breaks_after: int | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads messages to the end of the stream, then ends its side."""
        taken: list[dict[str, Any]] = []
        try:
            while True:
                await self.gate.wait()
                try:
                    length = int((await reader.readuntil(b" "))[:-1])
                except asyncio.IncompleteReadError:
                    break
                found = _MESSAGE.fullmatch(await reader.readexactly(length))
                assert found is not None, "not a message of RFC 5424"
                assert int(found[1]) == 110
                taken.append({**orjson.loads(found[8]), "_msgid": found[6].decode(), "_app": found[4].decode()})
                if self.breaks_after is not None and len(taken) >= self.breaks_after:
                    self.breaks_after = None
                    writer.transport.abort()
                    return
        finally:
            self.taken += taken
            self.batches.append(taken)
            writer.close()


@asynccontextmanager
async def syslog_peer(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver()
    receiver.gate.set()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.address = str(server.sockets[0].getsockname()[1])
    yield receiver
    server.close()
    await server.wait_closed()
