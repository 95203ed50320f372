"""Exports of a chain as the service writes them, made without a database."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mainstay.events.canonical import canonical, canonical_parsed, canonical_value
from mainstay.events.chain import GENESIS, PARTS, core, core_halves, digest, digests, leaf, link, parts_of

COMPANY = "0197a6e0-0000-7000-8000-00000000c0de"
WORKSPACE = "0197a6e0-0000-7000-8000-0000000000aa"
OTHER_WORKSPACE = "0197a6e0-0000-7000-8000-0000000000bb"


def made_salts(seq: int) -> bytes:
    return b"".join(hashlib.sha256(f"salt {seq} {part}".encode()).digest()[:16] for part in PARTS)


def given_event(seq: int) -> dict[str, Any]:
    """What a caller sent: most events have every part, every fourth lacks some."""
    whole = seq % 4 != 3
    return {
        "id": f"0197a6e0-0000-7000-8000-{seq:012x}",
        "projectId": "checkout" if whole else None,
        "action": 'invoice."paid"\n' if seq % 5 == 0 else "invoice.paid",
        "category": "billing",
        "actor": {"id": f"user_{seq}", "email": "renée@example.com", "name": "Renée 😀"} if whole else None,
        "target": {"id": f"in_{seq}", "type": "invoice"},
        "payload": {
            "amount": seq * 1.25,
            "total": 12.0,
            "big": 1e20,
            "ids": [1, 2, {"\ue000": 1, "😀": 2}],
            "€": "a/b",
        },
        "metadata": {"ip": "10.0.0.1"} if whole else None,
        "changes": [{"field": "state", "old": None, "new": "paid"}] if whole else None,
        "occurredAt": f"2026-02-03T04:05:{seq % 60:02d}.000{seq % 1000:03d}Z",
        "receivedAt": f"2026-02-03T04:06:{seq % 60:02d}.{seq % 1_000_000:06d}Z",
        "traceId": hashlib.sha256(str(seq).encode()).hexdigest()[:32],
    }


def exported(
    sent: Mapping[str, Any], seq: int, prev: bytes, *, workspace_id: str = WORKSPACE, salts: bytes | None = None
) -> dict[str, Any]:
    """The NDJSON object of one event, written by the functions of the ingest path."""
    salts = salts or made_salts(seq)
    texts = [
        None
        if sent[part] is None
        else canonical_value(sent[part])
        if part in PARTS[:2]
        else canonical(json.dumps(sent[part]).encode())
        for part in PARTS
    ]
    halves = core_halves(
        event_id=sent["id"],
        company_id=COMPANY,
        workspace_id=workspace_id,
        project_id=sent["projectId"],
        region="EU",
        action=sent["action"],
        category=sent["category"],
        occurred_at=sent["occurredAt"],
        trace_id=sent["traceId"],
        digests=digests(salts, texts),
    )
    hashed = link(prev, leaf(core(halves, received_at=sent["receivedAt"], seq=seq)))
    actor, target = sent["actor"] or {}, sent["target"] or {}
    return {
        "id": sent["id"],
        "companyId": COMPANY,
        "workspaceId": workspace_id,
        "projectId": sent["projectId"],
        "action": sent["action"],
        "category": sent["category"],
        "actorId": actor.get("id"),
        "actorEmail": actor.get("email"),
        "actorName": actor.get("name"),
        "targetId": target.get("id"),
        "targetType": target.get("type"),
        "payload": sent["payload"],
        "metadata": sent["metadata"],
        "changes": sent["changes"],
        "hash": hashed.hex(),
        "prevHash": prev.hex(),
        "traceId": sent["traceId"],
        "archived": False,
        "archivalCandidate": False,
        "dataRegion": "EU",
        "createdAt": sent["receivedAt"],
        "seq": seq,
        "occurredAt": sent["occurredAt"],
        "receivedAt": sent["receivedAt"],
        "proof": {
            "v": 1,
            "salts": {part: salts[16 * place : 16 * place + 16].hex() for place, part in enumerate(PARTS)},
        },
    }


def export(
    count: int, *, workspace_id: str = WORKSPACE, after: tuple[int, bytes] = (0, GENESIS)
) -> list[dict[str, Any]]:
    """`count` exported events in a chain that goes on from `after`."""
    seq, prev = after
    rows = []
    for number in range(seq + 1, seq + count + 1):
        rows.append(exported(given_event(number), number, prev, workspace_id=workspace_id))
        prev = bytes.fromhex(rows[-1]["hash"])
    return rows


def erased(event: Mapping[str, Any], *parts: str) -> dict[str, Any]:
    """The event after an erasure of those parts: values and salts gone, digests in their place."""
    fields = {
        "actor": ("actorId", "actorEmail", "actorName"),
        "target": ("targetId", "targetType"),
    }
    shown = parts_of(event)
    salts = dict(event["proof"]["salts"])
    kept = {part: digest(bytes.fromhex(salts.pop(part)), canonical_parsed(shown[part])) for part in parts}
    gone = {field: None for part in parts for field in fields.get(part, (part,))}
    return {**event, **gone, "proof": {"v": 1, "salts": salts, "digests": kept}}
