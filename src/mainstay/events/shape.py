"""The flat shape in which clients read an event, written once for answers, lists, messages and exports."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from orjson import Fragment

from mainstay.events import chain
from mainstay.kernel.clock import iso


def stored_half(
    event_id: str,
    company_id: str,
    workspace_id: str,
    project_id: str | None,
    action: str,
    category: str,
    actor_id: str | None,
    actor_email: str | None,
    actor_name: str | None,
    target_id: str | None,
    target_type: str | None,
    payload: str | None,
    metadata: str | None,
    changes: str | None,
    trace_id: str,
    region: str,
    occurred_at: str,
) -> str:
    """What is known of an event before it has its place: the flat object without its closing brace."""
    return orjson.dumps(
        {
            "id": event_id,
            "companyId": company_id,
            "workspaceId": workspace_id,
            "projectId": project_id,
            "action": action,
            "category": category,
            "actorId": actor_id,
            "actorEmail": actor_email,
            "actorName": actor_name,
            "targetId": target_id,
            "targetType": target_type,
            "payload": None if payload is None else Fragment(payload),
            "metadata": None if metadata is None else Fragment(metadata),
            "changes": None if changes is None else Fragment(changes),
            "traceId": trace_id,
            "dataRegion": region,
            "occurredAt": occurred_at,
        }
    )[:-1].decode()


def placed_half(seq: int, prev_hash: bytes, event_hash: bytes, received_at: str) -> str:
    """The rest of a freshly stored event, with the closing brace."""
    return (
        f',"createdAt":"{received_at}","receivedAt":"{received_at}","seq":{seq},"prevHash":"{prev_hash.hex()}",'
        f'"hash":"{event_hash.hex()}","archived":false,"archivalCandidate":false}}'
    )


def with_flags(event: str, flags: Sequence[Mapping[str, Any]]) -> str:
    """The JSON of an event, or the end of it, with the flags of the event."""
    return f'{event[:-1]},"flags":{orjson.dumps(flags).decode()}}}'


def flat(row: Mapping[str, Any], *, with_proof: bool = False) -> bytes:
    """One stored event as JSON; with its proof, what anybody needs to check its hash."""
    received_at = iso(row["received_at"])
    event: dict[str, Any] = {
        "id": str(row["id"]),
        "companyId": str(row["company_id"]),
        "workspaceId": str(row["workspace_id"]),
        "projectId": row["project_id"],
        "action": row["action"],
        "category": row["category"],
        "actorId": row["actor_id"],
        "actorEmail": row["actor_email"],
        "actorName": row["actor_name"],
        "targetId": row["target_id"],
        "targetType": row["target_type"],
        "payload": _json(row["payload"]),
        "metadata": _json(row["metadata"]),
        "changes": _json(row["changes"]),
        "traceId": row["trace_id"],
        "dataRegion": row["data_region"],
        "occurredAt": iso(row["occurred_at"]),
        "createdAt": received_at,
        "receivedAt": received_at,
        "seq": row["seq"],
        "prevHash": row["prev_hash"].hex(),
        "hash": row["hash"].hex(),
        "archived": row["archived"],
        "archivalCandidate": row["archival_candidate"],
    }
    if with_proof:
        event["proof"] = _proof(row)
    return orjson.dumps(event)


def _proof(row: Mapping[str, Any]) -> dict[str, Any]:
    salts = row["salts"]
    erased: Mapping[str, str] = {} if row["digests"] is None else orjson.loads(row["digests"])
    proof: dict[str, Any] = {"v": row["hash_version"], "salts": {}}
    if salts is not None:
        width = chain.SALT_BYTES
        proof["salts"] = {
            part: salts[n * width : (n + 1) * width].hex() for n, part in enumerate(chain.PARTS) if part not in erased
        }
    if erased:
        proof["digests"] = Fragment(row["digests"])
    return proof


def _json(text: str | None) -> Fragment | None:
    return None if text is None else Fragment(text)
