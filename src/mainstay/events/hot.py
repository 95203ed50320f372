"""The ingest routes as plain ASGI handlers: authenticate, prepare, submit, answer."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from mainstay import templates
from mainstay.events import ingest, intake, schemas, shape
from mainstay.events.errors import EventNotFound, KeyUsedForAnotherEvent
from mainstay.events.ingest import Ingestion, Result, Stored
from mainstay.events.intake import Place, Prepared
from mainstay.events.queries import chains, lists
from mainstay.kernel import telemetry
from mainstay.kernel.errors import KeyRefused, MainstayError, NotFound, Unauthenticated, Unavailable
from mainstay.kernel.regions import Regions
from mainstay.web import bodies, callers, limiting
from mainstay.web.asgi import App, Headers, Receive, Scope, Send
from mainstay.web.callers import NO_KEY, Caller

SINGLE_PATH = "/v1/key/workspace/events"
BATCH_PATH = "/v1/key/workspace/events/batch"
_JSON: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_REPLAYED: Headers = [*_JSON, (b"idempotency-replayed", b"true")]
_YIELD_EVERY = 50
_LARGE_BYTES = 65_536


class IngestKey(Protocol):
    """What ingest needs of an API key: the region of its company, and the caller it stands for."""

    @property
    def region(self) -> str: ...

    @property
    def caller(self) -> Caller: ...

    def admit(self, address: str) -> Caller: ...


class IngestKeys(Protocol):
    """Keys by token, from memory where they were asked for within the last second; `key` asks the database."""

    def find_cached_key(self, token: str) -> IngestKey | None: ...

    async def load_key(self, token: str) -> IngestKey: ...

    async def key(self, token: str, address: str) -> Caller: ...

    def count_use(self, key_id: str, region: str, address: str) -> None: ...

    def count_refusal(self, key_id: str, region: str, refusal: KeyRefused, address: str) -> None: ...


class IngestRoutes:
    """The two hot routes, each event stored in the region of its key's company.

    A revoked key is refused by the storing statement itself, whatever memory says.
    """

    def __init__(
        self, regions: Regions, ingestions: Mapping[str, Ingestion], keys: IngestKeys, rates: limiting.KeyRates
    ) -> None:
        self._regions = regions
        self._rates = rates
        self._ingestions = ingestions
        self._keys = keys
        self._checkers = regions.each(templates.Checker)

    def routes(self) -> dict[tuple[str, str], App]:
        """(method, path) of each handler."""
        return {("POST", SINGLE_PATH): self.post_event, ("POST", BATCH_PATH): self.post_batch}

    async def post_event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """201 with the stored event; the same key and content within 24 hours gives the same event again."""
        headers = scope["headers"]
        place = await self._admit(scope, headers)
        bodies.require_json(headers)
        body = await bodies.read(scope, receive)
        trace_id = telemetry.current_trace().trace_id
        idempotency = intake.header_key(bodies.header(headers, b"idempotency-key"))
        checks = await self._checkers[place.region].checks_of(place.company_id, place.workspace_id)
        if len(body) <= _LARGE_BYTES:
            prepared = intake.prepare(body, place, trace_id, idempotency, checks=checks)
        else:
            prepared = await _prepare(body, place, trace_id, idempotency, checks)
        if prepared.refusal is None:
            (result,) = await self._ingestions[place.region].submit([prepared])
        else:
            (result,) = await self._earlier(place, [prepared])
        if isinstance(result, NotFound):
            (result,) = await self._store(place, [prepared])
        if isinstance(result, MainstayError):
            await self._confirm(scope, place)
            raise result
        if result.replayed:
            await self._answer_replay(scope, place, result, send)
            return
        await bodies.answer(send, 201, _JSON, result.flat.encode())

    async def post_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 with one result per event in the order sent; what is good is stored in one transaction."""
        headers = scope["headers"]
        place = await self._admit(scope, headers)
        bodies.require_json(headers)
        body = await bodies.read(scope, receive, most=schemas.MAX_BATCH_BYTES)
        idempotency = intake.header_key(bodies.header(headers, b"idempotency-key"))
        raw_events = intake.split_batch(body)
        checks = await self._checkers[place.region].checks_of(place.company_id, place.workspace_id)
        batch = _Batch(place, telemetry.current_trace().trace_id, idempotency, checks)
        for index, raw in enumerate(raw_events):
            await batch.add(index, bytes(raw))
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        if batch.good:
            batch.settle(await self._settled(place, batch.good))
        if not batch.has_fresh:
            await self._confirm(scope, place)
        if any(isinstance(result, Unauthenticated) for result in batch.results):
            raise Unauthenticated
        await bodies.answer(send, 200, _JSON, batch.answer())

    async def _admit(self, scope: Scope, headers: Headers) -> Place:
        token = callers.key_of(headers)
        if token is None:
            raise Unauthenticated(NO_KEY)
        key = self._keys.find_cached_key(token) or await self._keys.load_key(token)
        address = callers.address_of(scope.get("client"))
        try:
            caller = callers.check_key(key.admit(address), "workspace_key", "POST", scope["path"])
        except KeyRefused as refusal:
            self._keys.count_refusal(key.caller.id, key.region, refusal, address)
            raise
        await limiting.hold_key(scope, self._rates, caller.id, caller.company_id)
        self._keys.count_use(caller.id, key.region, address)
        return Place(caller.workspace_id, caller.company_id, key.region, caller.id)

    async def _settled(self, place: Place, events: list[Prepared]) -> list[Result]:
        """What became of each: stored, or refused by the rules of its workspace."""
        if all(event.refusal is None for event in events):
            return await self._store(place, events)
        kept = [event for event in events if event.refusal is None]
        refused = [event for event in events if event.refusal is not None]
        stored = iter(await self._store(place, kept) if kept else [])
        earlier = iter(await self._earlier(place, refused))
        return [next(stored if event.refusal is None else earlier) for event in events]

    async def _earlier(self, place: Place, refused: list[Prepared]) -> list[Result]:
        """The refusal of each event, or what its key stored within 24 hours, before the rules were what they are."""
        keys = [event.idempotency for event in refused if event.idempotency is not None]
        db = self._regions.of(place.region)
        rows = await chains.find_by_keys(db, place.company_id, place.workspace_id, keys) if keys else []
        found = {row["idempotency_key"]: row for row in rows}
        return [ingest.earlier(event, found.get(event.idempotency)) for event in refused]

    async def _store(self, place: Place, events: list[Prepared]) -> list[Result]:
        """What became of each; a chain that its region does not have yet is started."""
        ingestion = self._ingestions[place.region]
        results = await ingestion.submit(events)
        if isinstance(results[0], NotFound) and place.key_id is not None:
            db = self._regions.of(place.region)
            await chains.start_chain_of_key(db, place.company_id, place.workspace_id, place.key_id)
            results = await ingestion.submit(events)
        return results

    async def _confirm(self, scope: Scope, place: Place) -> None:
        """Passes a key that the database calls good now: only storing anew checks it by itself."""
        headers, address = scope["headers"], callers.address_of(scope.get("client"))
        caller = await self._keys.key(callers.key_of(headers) or "", address)
        if caller.region != place.region:
            raise Unavailable("The company has just moved to another region; send this again.")

    async def _answer_replay(self, scope: Scope, place: Place, result: Stored, send: Send) -> None:
        """The event as it was stored then, once the database confirms that the key is still good."""
        await self._confirm(scope, place)
        db = self._regions.of(place.region)
        row = await lists.find_event(db, place.company_id, result.event_id, workspace_id=place.workspace_id)
        if row is None:
            raise EventNotFound
        await bodies.answer(send, 201, _REPLAYED, shape.flat(row))


class _Batch:
    """The events of one batch on their way: which are good, and what became of each."""

    def __init__(self, place: Place, trace_id: str, key: str | None, checks: templates.Checks | None) -> None:
        self._place = place
        self._trace_id = trace_id
        self._key = key
        self._checks = checks
        self.results: list[Result | int] = []
        self.good: list[Prepared] = []
        self._positions: list[int] = []
        self._first_with_key: dict[bytes, int] = {}

    async def add(self, index: int, raw: bytes) -> None:
        """The event is prepared, refused, or tied to an earlier one of the batch with the same key."""
        try:
            key = None if self._key is None else f"{self._key}#{index}"
            event = await _prepare(raw, self._place, self._trace_id, key, self._checks, under=f"#/events/{index}")
        except MainstayError as error:
            self.results.append(error)
            return
        if event.idempotency is not None:
            earlier = self._first_with_key.setdefault(event.idempotency, len(self.good))
            if earlier != len(self.good):
                same = self.good[earlier].fingerprint == event.fingerprint
                self.results.append(earlier if same else KeyUsedForAnotherEvent())
                return
        self._positions.append(len(self.results))
        self.results.append(-1)
        self.good.append(event)

    def settle(self, outcomes: list[Result]) -> None:
        """Every good event has its outcome."""
        for position, outcome in zip(self._positions, outcomes, strict=True):
            self.results[position] = outcome
        for position, result in enumerate(self.results):
            if isinstance(result, int):
                self.results[position] = _again(outcomes[result])

    @property
    def has_fresh(self) -> bool:
        """Whether an event was stored just now."""
        return any(isinstance(result, Stored) and not result.replayed for result in self.results)

    def answer(self) -> bytes:
        """The body of the reply."""
        data = [_item(index, result) for index, result in enumerate(self.results)]
        stored = sum(1 for item in data if item["status"] == 201 and not item["replayed"])
        replayed = sum(1 for item in data if item["status"] == 201) - stored
        meta = {"received": len(data), "stored": stored, "replayed": replayed, "refused": len(data) - stored - replayed}
        return orjson.dumps({"data": data, "meta": meta})


async def _prepare(
    body: bytes, place: Place, trace_id: str, key: str | None, checks: templates.Checks | None, *, under: str = "#"
) -> Prepared:
    """What `intake.prepare` gives; a large event in a thread, since the exact writing of many numbers takes long."""
    if len(body) <= _LARGE_BYTES:
        return intake.prepare(body, place, trace_id, key, under=under, checks=checks)
    return await asyncio.to_thread(intake.prepare, body, place, trace_id, key, under=under, checks=checks)


def _again(result: Result) -> Result:
    if isinstance(result, MainstayError):
        return result
    return Stored(
        result.prepared, result.event_id, result.seq, result.prev_hash, result.hash, result.received_at, replayed=True
    )


def _item(index: int, result: Any) -> dict[str, Any]:
    if isinstance(result, Stored):
        return {
            "index": index,
            "status": 201,
            "replayed": result.replayed,
            "id": result.event_id,
            "seq": result.seq,
            "hash": result.hash.hex(),
            "prevHash": result.prev_hash.hex(),
            "createdAt": result.received_at,
            **({"flags": flags} if (flags := result.prepared.flags) and not result.replayed else {}),
        }
    assert isinstance(result, MainstayError)
    return {
        "index": index,
        "status": result.status,
        "error": {
            "code": result.code,
            "detail": result.detail,
            "errors": [{"detail": fault.detail, "pointer": fault.pointer} for fault in result.faults],
        },
    }
