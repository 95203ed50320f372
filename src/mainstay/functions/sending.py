"""Sending events: checked, each id once in 24 hours, in line for routing when the caller commits."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mainstay import jobs
from mainstay.functions.errors import EventRefused, EventTooLarge
from mainstay.functions.queries import sending as rows
from mainstay.kernel import ids
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault

ROUTE_KIND = "functions.route"
MAX_EVENT_BYTES = 256_000
MAX_EVENTS = 5_000
_JOB_BYTES = 260_000
MAX_NAME_CHARACTERS = 256
_LAYERS = 50
_ID_CHARACTERS = 256
_MOST_TS = 8_640_000_000_000_000
_MEMBERS = ("name", "data", "user", "id", "ts", "v")


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted event: the id it is known by here, and its own id where its sender gave one."""

    id: str
    key: str | None
    body: dict[str, Any]


async def send(tx: Tx, events: Sequence[Mapping[str, Any]], *, company_id: str | None = None) -> list[str]:
    """The events reach functions once the caller has committed; their ids. EventRefused, EventTooLarge.

    Each is `{name, data, user, id, ts, v}` as Inngest has it, at most 256,000 bytes, at most 5,000 in a call. One whose
    `id` was sent in the last 24 hours does nothing, and the id that the first one got is given.
    """
    checked = check(events, company_id)
    if not checked:
        return []
    # An id of one company's event says nothing of another's.
    fresh, known = await _fresh(tx, checked, "event" if company_id is None else f"event:{company_id}")
    if fresh:
        number = await rows.next_event_everywhere(tx)
        payloads = [{"n": number, "events": group} for group in _groups([one.body for one in fresh])]
        await jobs.enqueue_many(
            tx, ROUTE_KIND, payloads, queue=jobs.FUNCTIONS, company_ids=[company_id] * len(payloads)
        )
    return [known.get(one.key or "", one.id) for one in checked]


def check(events: Sequence[Mapping[str, Any]], company_id: str | None = None) -> list[Sent]:
    """The events as they are kept; EventRefused with every fault."""
    faults: list[Fault] = []
    if len(events) > MAX_EVENTS:
        raise EventRefused(faults=[Fault(f"at most {MAX_EVENTS} events are taken together")])
    checked = []
    for index, event in enumerate(events):
        found = list(_faults(event, f"#/{index}"))
        if not found:
            sent = _kept(event, company_id)
            size = len(orjson.dumps(sent.body))
            if size > MAX_EVENT_BYTES:
                fault = Fault(f"an event has at most {MAX_EVENT_BYTES} bytes as JSON, this has {size}", f"#/{index}")
                raise EventTooLarge(faults=[fault])
            checked.append(sent)
        faults += found
        if len(faults) >= 100:
            break
    if faults:
        raise EventRefused(faults=faults)
    return checked


def _faults(event: Any, at: str) -> Sequence[Fault]:
    if not isinstance(event, Mapping):
        return [Fault("an event is an object", at)]
    name, key, ts = event.get("name"), event.get("id"), event.get("ts")
    faults = []
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        faults.append(Fault(f"a text of 1 to {MAX_NAME_CHARACTERS} characters is needed", f"{at}/name"))
    for member in ("data", "user"):
        if not isinstance(event.get(member), Mapping | None):
            faults.append(Fault("must be an object", f"{at}/{member}"))
    if key is not None and (not isinstance(key, str) or len(key) > _ID_CHARACTERS):
        faults.append(Fault(f"must be a text of at most {_ID_CHARACTERS} characters", f"{at}/id"))
    if ts is not None and (isinstance(ts, bool) or not isinstance(ts, int) or not 0 <= ts <= _MOST_TS):
        faults.append(Fault("must be a time in milliseconds since 1970", f"{at}/ts"))
    if event.get("v") is not None and not isinstance(event["v"], str):
        faults.append(Fault("must be a text", f"{at}/v"))
    if faults:
        return faults
    try:
        body = orjson.dumps(_wrapped({member: event.get(member) for member in _MEMBERS}))
    except (TypeError, ValueError) as error:
        return [Fault(f"is not JSON: {error}", at)]
    if b"\\u0000" in body.replace(b"\\\\", b""):
        return [Fault("holds a NUL character", at)]
    return []


def _wrapped(given: Any) -> Any:
    """As deep as an event may come to stand in jobs, runs and events of its failure, which have a depth, too."""
    for _ in range(_LAYERS):
        given = [given]
    return given


def _kept(event: Mapping[str, Any], company_id: str | None) -> Sent:
    given = event.get("id") or None
    identifier = ids.new_id()
    body = {
        "name": event["name"],
        "data": event.get("data") or {},
        "user": event.get("user") or {},
        "id": given or identifier,
        "ts": time.time_ns() // 1_000_000 if event.get("ts") is None else event["ts"],
        "v": event.get("v"),
        "key": identifier,
    }
    if company_id is not None:
        body["company"] = company_id
    return Sent(identifier, given, body)


async def _fresh(tx: Tx, checked: Sequence[Sent], scope: str) -> tuple[list[Sent], dict[str, str]]:
    """Those whose id was not seen, and the ids that the first ones of the others got."""
    first = {one.key: one for one in reversed(checked) if one.key is not None}
    if not first:
        return list(checked), {}
    digests = {digest_of(key): key for key in first}
    mine = await rows.claim_keys_everywhere(tx, scope, list(digests), [first[key].id for key in digests.values()])
    known = {digests[digest]: first[digests[digest]].id for digest in mine}
    others = [digest for digest in digests if digest not in mine]
    if others:
        known |= {
            digests[row["key_digest"]]: str(row["made_id"])
            for row in await rows.found_keys_everywhere(tx, scope, others)
        }
    return [one for one in checked if one.key is None or (known.get(one.key) == one.id)], known


def _groups(bodies: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The events in groups that fit a job each."""
    groups: list[list[dict[str, Any]]] = []
    size = _JOB_BYTES
    for body in bodies:
        length = len(orjson.dumps(body)) + 1
        if size + length > _JOB_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(body)
        size += length
    return groups
