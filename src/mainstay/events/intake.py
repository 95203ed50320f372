"""From the bytes of a request to a row ready to be chained: every check that needs no database."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, Raw, Struct

from mainstay import templates
from mainstay.events import canonical, chain, schemas, shape
from mainstay.events.schemas import EventIn
from mainstay.kernel import ids
from mainstay.kernel.errors import Fault, Invalid, TooLarge
from mainstay.web.bodies import MAX_BODY_BYTES
from mainstay.web.json import decode

DEFAULT_CATEGORY = "general"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z")
_OLDEST, _NEWEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')
_BLANK_COLONS = (b" :", b"\n:", b"\t:", b"\r:")
_sorted = msgspec.json.Encoder(order="sorted")
_sha256 = hashlib.sha256


class Place(Struct, frozen=True):
    """Where events go and on whose word: the workspace, its company and region, and the API key (None for our own)."""

    workspace_id: str
    company_id: str
    region: str
    key_id: str | None


class Prepared(Struct):
    """A row for `append_events` (its arguments in order) and what the answer needs of it.

    `flags` say which rules of its workspace it breaks; with a `refusal` it is not to be stored, because of those.
    """

    row: tuple[Any, ...]
    flat_half: str
    event_id: str
    trace_id: str
    idempotency: bytes | None
    fingerprint: bytes | None
    flags: list[dict[str, Any]] | None = None
    refusal: templates.RulesBroken | None = None


def prepare(
    body: bytes,
    place: Place,
    trace_id: str,
    key: str | None = None,
    *,
    under: str = "#",
    checks: templates.Checks | None = None,
    event_id: str | None = None,
) -> Prepared:
    """The event in these bytes, checked and made canonical; Invalid with pointers below `under`, TooLarge over 1 MiB.

    `key` is the request's idempotency key; one inside the event wins. `checks` are the rules of its workspace.
    `event_id` is the id that it was promised (UUIDv7); a new one where none was.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"An event may have at most {MAX_BODY_BYTES} bytes.", faults=[Fault("too large", under)])
    event = decode(schemas.EVENT, body, under=under)
    _refuse_nul(event, body, under)
    _refuse_duplicates(event, body, under)
    if event.idempotencyKey:
        key = event.idempotencyKey
    actor, target = event.actor or None, event.target or None
    parts = (
        _canonical_struct(actor, under, "actor"),
        _canonical_struct(target, under, "target"),
        _canonical_object(event.payload, under, "payload"),
        _canonical_object(event.metadata, under, "metadata"),
        _canonical_changes(event.changes, under),
    )
    occurred = _time_of(event.occurredAt, under)
    fingerprint = _fingerprint(event, occurred, parts) if key else None
    category, flags, refusal = event.category or None, None, None
    if checks is not None:
        category, flags, refusal = _judge(checks, event, parts, under)
    prepared = place_parts(
        place,
        trace_id,
        action=event.action,
        category=category or DEFAULT_CATEGORY,
        project_id=event.projectId or None,
        actor=actor,
        target=target,
        parts=parts,
        occurred=occurred,
        idempotency=_sha256(key.encode()).digest()[:16] if key else None,
        fingerprint=fingerprint,
        event_id=event_id,
    )
    prepared.flags, prepared.refusal = flags, refusal
    return prepared


def _judge(
    checks: templates.Checks, event: EventIn, parts: Sequence[bytes | None], under: str
) -> tuple[str | None, list[dict[str, Any]] | None, templates.RulesBroken | None]:
    """The event's category, its flags, and why it is refused."""
    facts = templates.Facts(
        action=event.action,
        category=event.category or None,
        project_id=event.projectId or None,
        actor=_members(event.actor or None),
        target=_members(event.target or None),
        payload=parts[2],
        metadata=parts[3],
        changes=parts[4],
    )
    try:
        verdict = checks.judge(facts, under)
    except templates.RulesBroken as refusal:
        return facts.category, None, refusal
    return verdict.category, verdict.flags or None, None


def place_parts(
    place: Place,
    trace_id: str,
    *,
    action: str,
    category: str,
    project_id: str | None,
    actor: Any,
    target: Any,
    parts: Sequence[bytes | None],
    occurred: datetime | None,
    idempotency: bytes | None,
    fingerprint: bytes | None,
    event_id: str | None = None,
) -> Prepared:
    """The row of checked and canonical parts, with a fresh id if it has none, salts and the halves of its core."""
    event_id = event_id or ids.new_id()
    if occurred is None:
        occurred, occurred_at = chain.time_in(event_id)
    else:
        occurred_at = chain.time_text(occurred)
    salts = chain.salts()
    core_head, core_tail = chain.core_halves(
        event_id=event_id,
        company_id=place.company_id,
        workspace_id=place.workspace_id,
        project_id=project_id,
        region=place.region,
        action=action,
        category=category,
        occurred_at=occurred_at,
        trace_id=trace_id,
        digests=chain.digests(salts, parts),
    )
    payload, metadata, changes = (None if part is None else part.decode() for part in parts[2:])
    actor_id, actor_email, actor_name = (actor.id, actor.email, actor.name) if actor else (None, None, None)
    target_id, target_type = (target.id, target.type) if target else (None, None)
    flat_half = shape.stored_half(
        event_id,
        place.company_id,
        place.workspace_id,
        project_id,
        action,
        category,
        actor_id,
        actor_email,
        actor_name,
        target_id,
        target_type,
        payload,
        metadata,
        changes,
        trace_id,
        place.region,
        occurred_at,
    )
    row = (
        place.workspace_id,
        place.company_id,
        place.key_id,
        event_id,
        place.region,
        project_id,
        action,
        category,
        actor_id,
        actor_email,
        actor_name,
        target_id,
        target_type,
        payload,
        metadata,
        changes,
        salts,
        trace_id,
        occurred,
        idempotency,
        fingerprint,
        core_head,
        core_tail,
        f'{{"type":{orjson.dumps(action).decode()},"timestamp":"{occurred_at}","data":{flat_half}',
    )
    return Prepared(row, flat_half, event_id, trace_id, idempotency, fingerprint)


def split_batch(body: bytes) -> list[Raw]:
    """The events of a batch as raw bytes; Invalid for an empty one, TooLarge over 1,000."""
    events = decode(schemas.BATCH, body).events
    if not events:
        raise Invalid(faults=[Fault("a batch holds at least 1 event", "#/events")])
    if len(events) > schemas.MAX_BATCH:
        raise TooLarge(
            f"A batch may hold at most {schemas.MAX_BATCH} events; nothing was stored.",
            faults=[Fault(f"at most {schemas.MAX_BATCH} events", "#/events")],
        )
    return events


def header_key(value: bytes | None) -> str | None:
    """The idempotency key of a header, bare or as a quoted structured string; Invalid past 256 characters."""
    if value is None:
        return None
    key = value.decode("latin-1").strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not 1 <= len(key) <= schemas.MAX_KEY_CHARACTERS:
        raise Invalid(faults=[Fault(f"must have 1 to {schemas.MAX_KEY_CHARACTERS} characters", "Idempotency-Key")])
    return key


def _refuse_nul(event: EventIn, body: bytes, under: str) -> None:
    if b"\\u0000" not in body:
        return
    for name, value in _texts(event):
        if "\0" in value:
            raise Invalid(faults=[Fault("must not hold the character NUL", f"{under}/{name}")])


def _texts(event: EventIn) -> list[tuple[str, str]]:
    found: list[tuple[str, Any]] = [
        (name, getattr(event, name)) for name in ("action", "category", "projectId", "occurredAt", "idempotencyKey")
    ]
    if event.actor:
        found += [(f"actor/{name}", getattr(event.actor, name)) for name in ("id", "email", "name")]
    if event.target:
        found += [(f"target/{name}", getattr(event.target, name)) for name in ("id", "type")]
    return [(name, value) for name, value in found if isinstance(value, str)]


def _refuse_duplicates(event: EventIn, body: bytes, under: str) -> None:
    """Members named twice outside the parts: counted first, searched for only where the count leaves room for one."""
    actor, target = event.actor, event.target
    members = 1 + (event.category is not UNSET) + (actor is not UNSET) + (target is not UNSET)
    members += (event.projectId is not UNSET) + (event.occurredAt is not UNSET) + (event.idempotencyKey is not UNSET)
    if actor:
        members += (actor.id is not None) + (actor.email is not None) + (actor.name is not None)
    if target:
        members += (target.id is not None) + (target.type is not None)
    for raw in (event.payload, event.metadata, event.changes):
        if raw:
            members += 1 + bytes(raw).count(b'":')
    is_spaced = any(colon in body for colon in _BLANK_COLONS) and _SPACED_COLON.search(body)
    if is_spaced or body.count(b'":') != members:
        try:
            canonical.read_json(body)
        except canonical.NotCanonical as error:
            if "duplicate" in error.detail:
                raise Invalid(faults=[Fault(error.detail, under + error.pointer)]) from error


def _canonical_struct(value: Any, under: str, name: str) -> bytes | None:
    if value is None:
        return None
    quick = _sorted.encode(value)
    if quick == b"{}":
        raise Invalid(faults=[Fault("must have at least one member", f"{under}/{name}")])
    if b"\\" not in quick:
        return quick
    try:
        return canonical.canonical_value(_members(value))
    except canonical.NotCanonical as error:
        raise Invalid(faults=[Fault(error.detail, f"{under}/{name}{error.pointer}")]) from error


def _members(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    return {key: text for key in value.__struct_fields__ if (text := getattr(value, key)) is not None}


def _canonical_object(raw: Raw, under: str, name: str) -> bytes | None:
    data = bytes(raw)
    if not data or data == b"null":
        return None
    if data[:1] != b"{":
        raise Invalid(faults=[Fault("must be an object", f"{under}/{name}")])
    return _canonical(data, f"{under}/{name}")


def _canonical_changes(raw: Raw, under: str) -> bytes | None:
    data = bytes(raw)
    if not data or data == b"null":
        return None
    whole = _canonical(data, f"{under}/changes")
    changes = decode(schemas.CHANGES, data, under=f"{under}/changes")
    if all(change.old and change.new for change in changes):
        return whole
    filled = [
        {"field": change.field, "old": Raw(change.old or b"null"), "new": Raw(change.new or b"null")}
        for change in changes
    ]
    return _canonical(msgspec.json.encode(filled), f"{under}/changes")


def _canonical(data: bytes, pointer: str) -> bytes:
    try:
        return canonical.canonical(data)
    except canonical.NotCanonical as error:
        raise Invalid(faults=[Fault(error.detail, pointer + error.pointer)]) from error


def _time_of(text: Any, under: str) -> datetime | None:
    if text is None or text is UNSET:
        return None
    moment = parse_time(text)
    if moment is None:
        raise Invalid(
            faults=[Fault("must be a time with a zone such as 2026-01-02T03:04:05.678Z", f"{under}/occurredAt")]
        )
    return moment


def parse_time(text: str) -> datetime | None:
    """The time of an RFC 3339 text between the years 1900 and 3000, cut to microseconds; None where it is none."""
    if not _TIME.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    try:
        return moment.astimezone(UTC) if _OLDEST <= moment < _NEWEST else None
    except OverflowError:
        return None


def _fingerprint(event: EventIn, occurred: datetime | None, parts: Sequence[bytes | None]) -> bytes:
    """16 bytes that differ where the content differs, however it was spelled."""
    content = "\0".join(
        (event.action, event.category or "", event.projectId or "", occurred.isoformat() if occurred else "")
    ).encode()
    return _sha256(content + b"\0" + b"\0".join(part or b"" for part in parts)).digest()[:16]
