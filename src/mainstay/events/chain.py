"""The hash chain of a workspace, format version 1 (docs/reference/hash-format.md): salted parts, core, leaf, link."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from mainstay.kernel import ids

from .canonical import canonical_parsed

VERSION = 1
GENESIS = bytes(32)
SALT_BYTES = 16
PARTS = ("actor", "target", "payload", "metadata", "changes")

_SALTS_BYTES = SALT_BYTES * len(PARTS)
_sha256 = hashlib.sha256


def salts() -> bytes:
    """Returns the 80 random bytes of one event: a 16-byte salt for each of PARTS, in that order."""
    return os.urandom(_SALTS_BYTES)


def salts_for(count: int) -> list[bytes]:
    """Returns the salts of `count` events at the price of one system call."""
    pool = os.urandom(_SALTS_BYTES * count)
    return [pool[start : start + _SALTS_BYTES] for start in range(0, len(pool), _SALTS_BYTES)]


def digest(salt: bytes, canonical: bytes) -> str:
    """Returns the lower-case hex under which a part enters the core."""
    return _sha256(salt + canonical).hexdigest()


def digests(salts: bytes, parts: Sequence[bytes | None]) -> list[str | None]:
    """Returns the digest of each canonical part in the order of PARTS, None for an absent one."""
    return [
        None if part is None else _sha256(salts[16 * place : 16 * place + 16] + part).hexdigest()
        for place, part in enumerate(parts)
    ]


def time_text(moment: datetime) -> str:
    """Returns an aware time as the hash has it: UTC, six digits, `Z`; PostgreSQL cuts nothing from that."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def time_in(event_id: str) -> tuple[datetime, str]:
    """Returns the millisecond inside an id, as a time and as the hash has it."""
    return _millisecond(event_id[:13])


@lru_cache(maxsize=8)
def _millisecond(opening: str) -> tuple[datetime, str]:
    moment = ids.time_of(opening)
    return moment, time_text(moment)


def core_halves(
    *,
    event_id: str,
    company_id: str,
    workspace_id: str,
    project_id: str | None,
    region: str,
    action: str,
    category: str,
    occurred_at: str,
    trace_id: str,
    digests: Sequence[str | None],
) -> tuple[str, str]:
    """Returns the core's text before receivedAt's value and after seq's, which the database fills in.

    The core is head + receivedAt + '","seq":' + seq + tail. Ids and trace id are lower-case hex; digests as PARTS.
    """
    actor, target, payload, metadata, changes = digests
    opening = orjson.dumps(
        {
            "action": action,
            "actor": actor,
            "category": category,
            "changes": changes,
            "companyId": company_id,
            "dataRegion": region,
            "id": event_id,
            "metadata": metadata,
            "occurredAt": occurred_at,
            "payload": payload,
            "projectId": project_id,
        }
    )
    head = opening[:-1].decode() + ',"receivedAt":"'
    target_text = "null" if target is None else f'"{target}"'
    return head, f',"target":{target_text},"traceId":"{trace_id}","v":1,"workspaceId":"{workspace_id}"}}'


def core(halves: tuple[str, str], *, received_at: str, seq: int) -> bytes:
    """Returns the core's bytes, as the database assembles them."""
    head, tail = halves
    return f'{head}{received_at}","seq":{seq}{tail}'.encode()


def leaf(core: bytes) -> bytes:
    """Returns SHA-256(0x00 ‖ core), the leaf that a Merkle tree would have too."""
    return _sha256(b"\0" + core).digest()


def link(prev: bytes, leaf: bytes) -> bytes:
    """Returns SHA-256(prev ‖ leaf), the event's hash."""
    return _sha256(prev + leaf).digest()


def parts_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parts that an exported event shows, each as the JSON value that was hashed."""
    actor = {
        name: value
        for name, value in (("email", event["actorEmail"]), ("id", event["actorId"]), ("name", event["actorName"]))
        if value is not None
    }
    target = {
        name: value for name, value in (("id", event["targetId"]), ("type", event["targetType"])) if value is not None
    }
    shown = {
        "actor": actor or None,
        "target": target or None,
        "payload": event["payload"],
        "metadata": event["metadata"],
        "changes": event["changes"],
    }
    return {part: value for part, value in shown.items() if value is not None}


def core_of(event: Mapping[str, Any]) -> bytes:
    """Returns the core's bytes of an exported event, from its plain values and salts or from its digests.

    Raises KeyError where a shown part has no salt, NotCanonical where a part cannot have been hashed.
    """
    proof = event["proof"]
    entered: dict[str, str] = dict(proof.get("digests", {}))
    for part, value in parts_of(event).items():
        entered[part] = digest(bytes.fromhex(proof["salts"][part]), canonical_parsed(value))
    return orjson.dumps(
        {
            "action": event["action"],
            "actor": entered.get("actor"),
            "category": event["category"],
            "changes": entered.get("changes"),
            "companyId": event["companyId"],
            "dataRegion": event["dataRegion"],
            "id": event["id"],
            "metadata": entered.get("metadata"),
            "occurredAt": event["occurredAt"],
            "payload": entered.get("payload"),
            "projectId": event["projectId"],
            "receivedAt": event["receivedAt"],
            "seq": event["seq"],
            "target": entered.get("target"),
            "traceId": event["traceId"],
            "v": VERSION,
            "workspaceId": event["workspaceId"],
        }
    )
