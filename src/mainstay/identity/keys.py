"""API keys: issued, listed without their secret, rotated with an overlap, revoked.

working --rotated--> ending until the overlap ends --> expired
working --its last week--> ending --expires_at reached--> expired
   any of these --revoked--> revoked, for good
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from mainstay.identity import cached, companies
from mainstay.identity.allow_lists import check_allow_list
from mainstay.identity.errors import KeyNotFound, KeyNotRotatable
from mainstay.identity.key_tokens import SHOWN_CHARACTERS, KeyKind, new_key_token
from mainstay.identity.names import check_labels, check_name, check_scopes
from mainstay.identity.queries import keys as key_rows
from mainstay.kernel import clock, ids, outbox, paging
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor

State = Literal["working", "ending", "expired", "revoked"]
MAX_OVERLAP = timedelta(days=30)
DEFAULT_OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as people see it; its secret is not kept anywhere."""

    id: str
    company_id: str
    workspace_id: str | None
    kind: KeyKind
    name: str
    prefix: str
    read_only: bool
    allow_list: tuple[str, ...]
    expires_at: datetime | None
    created_at: datetime
    created_by: Actor
    revoked_at: datetime | None
    replaces: str | None
    overlap_ends_at: datetime | None
    last_used_at: datetime | None
    labels: tuple[str, ...] = ()
    revoked_reason: str | None = None
    scopes: tuple[str, ...] | None = None
    leaked_at: datetime | None = None
    leaked_source: str | None = None
    state: State = "working"

    @property
    def ends_at(self) -> datetime | None:
        """When the key stops working by itself, if it does."""
        return min((moment for moment in (self.expires_at, self.overlap_ends_at) if moment), default=None)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which is shown this once."""

    secret: str
    record: ApiKey

    def __repr__(self) -> str:
        return f"IssuedKey(secret=…, record={self.record!r})"


async def issue_key(
    tx: Tx,
    actor: Actor,
    company_id: str,
    *,
    kind: KeyKind,
    name: str,
    workspace_id: str | None = None,
    read_only: bool = False,
    allow_list: Sequence[str] = (),
    expires_at: datetime | None = None,
    labels: Sequence[str] = (),
    scopes: Sequence[str] | None = None,
    home: Connection | None = None,
) -> IssuedKey:
    """A new key works and `key.issued` is announced; CompanyNotFound, WorkspaceNotFound, Invalid.

    `tx` is in the database of the company's region; `home` is where companies are, where that is another one.
    `allow_list` are addresses and CIDRs (none: anywhere), `scopes` those of `web.scopes` (None: all). A key
    of the system workspace can only be read-only.
    """
    name = check_name(name)
    networks = check_allow_list(allow_list)
    company = await companies.get_company(home or tx, company_id)
    await _check_place(home or tx, company_id, kind, workspace_id, read_only)
    if expires_at is not None:
        await _check_expiry(tx, expires_at)
    issued = await _insert(
        tx,
        actor,
        company_id,
        {
            "workspace_id": workspace_id,
            "data_region": company.data_region,
            "kind": kind,
            "name": name,
            "read_only": read_only,
            "allow_list": networks,
            "expires_at": expires_at,
            "labels": check_labels(labels),
            "scopes": None if scopes is None else check_scopes(scopes),
        },
    )
    await outbox.announce(tx, "key.issued", company_id=company_id, actor=actor, data=_facts_of(issued.record))
    await cached.clear_company(tx, company_id)
    return issued


async def rotate_key(
    tx: Tx,
    actor: Actor,
    company_id: str,
    key_id: str,
    *,
    overlap: timedelta = DEFAULT_OVERLAP,
    name: str | None = None,
    home: Connection | None = None,
) -> IssuedKey:
    """A successor with the same rights works, the old key does until the overlap (0 to 30 days) ends, and
    `key.rotated` is announced; KeyNotFound, KeyNotRotatable, Invalid. `home` as for `issue_key`."""
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid(faults=[Fault("must be from 0 to 30 days", "#/overlap")])
    old = await get_key(tx, company_id, key_id)
    company = await companies.get_company(home or tx, company_id)
    if not await key_rows.lock_rotatable_key(tx, company_id, key_id):
        raise KeyNotRotatable
    ends_at = await key_rows.end_overlap(tx, company_id, key_id, overlap)
    issued = await _insert(
        tx,
        actor,
        company_id,
        {
            "workspace_id": old.workspace_id,
            "data_region": company.data_region,
            "kind": old.kind,
            "name": old.name if name is None else check_name(name),
            "read_only": old.read_only,
            "allow_list": list(old.allow_list),
            "expires_at": old.expires_at,
            "labels": list(old.labels),
            "scopes": None if old.scopes is None else list(old.scopes),
            "replaces": old.id,
        },
    )
    data = {**_facts_of(issued.record), "replaces": old.id, "overlapEndsAt": clock.iso(ends_at)}
    await outbox.announce(tx, "key.rotated", company_id=company_id, actor=actor, data=data)
    await cached.clear_company(tx, company_id)
    return issued


async def revoke_key(tx: Tx, actor: Actor, company_id: str, key_id: str, *, reason: str | None = None) -> ApiKey:
    """Once this commits no later request succeeds with the key; `key.revoked` is announced the first time, and that
    reason is kept. KeyNotFound."""
    key = await get_key(tx, company_id, key_id)
    if await key_rows.revoke_key(tx, company_id, key_id, _as_json(actor), reason):
        data: dict[str, object] = {"keyId": key.id, "name": key.name, "prefix": key.prefix}
        data |= {"workspaceId": key.workspace_id, **({} if reason is None else {"reason": reason})}
        await outbox.announce(tx, "key.revoked", company_id=company_id, actor=actor, data=data)
        await cached.clear_company(tx, company_id)
        key = await get_key(tx, company_id, key_id)
    return key


async def change_key(
    tx: Tx,
    actor: Actor,
    company_id: str,
    key_id: str,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
) -> ApiKey:
    """The key has that name and those labels, as far as they are given; `key.changed` is announced where that is a
    change. KeyNotFound, Invalid."""
    key = await get_key(tx, company_id, key_id)
    wanted = {
        "name": key.name if name is None else check_name(name),
        "labels": list(key.labels) if labels is None else check_labels(labels),
    }
    if (key.name, list(key.labels)) == (wanted["name"], wanted["labels"]):
        return key
    await key_rows.change_key(tx, company_id, key_id, name=str(wanted["name"]), labels=list(wanted["labels"]))
    data = {"keyId": key.id, "prefix": key.prefix, "workspaceId": key.workspace_id, **wanted}
    await outbox.announce(tx, "key.changed", company_id=company_id, actor=actor, data=data)
    return await get_key(tx, company_id, key_id)


async def get_key(db: Connection, company_id: str, key_id: str) -> ApiKey:
    """The company's key; KeyNotFound (also where it belongs to another company)."""
    row = await key_rows.find_key(db, company_id, key_id) if ids.is_uuid(key_id) and ids.is_uuid(company_id) else None
    if row is None:
        raise KeyNotFound
    return key_of(row)


async def list_keys(
    db: Connection,
    company_id: str,
    *,
    workspace_id: str | None = None,
    state: State | None = None,
    after: str | None = None,
    limit: int = paging.DEFAULT_LIMIT,
) -> list[ApiKey]:
    """Up to `limit` keys of the company (or of one workspace, or in one state) after the given id, oldest first."""
    rows = await key_rows.list_keys(db, company_id, workspace_id=workspace_id, state=state, after=after, limit=limit)
    return [key_of(row) for row in rows]


def key_of(row: Record) -> ApiKey:
    """A key from the columns of its row."""
    return ApiKey(
        id=str(row["id"]),
        company_id=str(row["company_id"]),
        workspace_id=None if row["workspace_id"] is None else str(row["workspace_id"]),
        kind=row["kind"],
        name=row["name"],
        prefix=row["prefix"],
        read_only=row["read_only"],
        allow_list=tuple(row["allow_list"]),
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        created_by=msgspec.json.decode(row["created_by"], type=Actor),
        revoked_at=row["revoked_at"],
        replaces=None if row["replaces"] is None else str(row["replaces"]),
        overlap_ends_at=row["overlap_ends_at"],
        last_used_at=row["last_used_at"],
        labels=tuple(row["labels"]),
        revoked_reason=row["revoked_reason"],
        scopes=None if row["scopes"] is None else tuple(row["scopes"]),
        leaked_at=row["leaked_at"],
        leaked_source=row["leaked_source"],
        state=row["state"],
    )


async def _check_place(
    home: Connection, company_id: str, kind: KeyKind, workspace_id: str | None, read_only: bool
) -> None:
    if kind == "company":
        if workspace_id is not None:
            raise Invalid(faults=[Fault("a company key has no workspace", "#/workspaceId")])
        return
    if workspace_id is None:
        raise Invalid(faults=[Fault("a workspace key needs a workspace", "#/workspaceId")])
    workspace = await companies.get_workspace(home, company_id, workspace_id)
    if workspace.system and not read_only:
        raise Invalid(faults=[Fault("a key of the system workspace must be read-only", "#/readOnly")])


async def _check_expiry(tx: Tx, expires_at: datetime) -> None:
    if expires_at.tzinfo is None:
        raise Invalid(faults=[Fault("must have a time zone", "#/expiresAt")])
    if not await key_rows.is_future_everywhere(tx, expires_at):
        raise Invalid(faults=[Fault("must be in the future", "#/expiresAt")])


async def _insert(tx: Tx, actor: Actor, company_id: str, row: dict[str, object]) -> IssuedKey:
    key_id = ids.new_id()
    secret = new_key_token("workspace" if row["workspace_id"] is not None else "company")
    prefix = secret[:SHOWN_CHARACTERS]
    stored = {**row, "id": key_id, "prefix": prefix, "digest": digest_of(secret), "created_by": _as_json(actor)}
    await key_rows.insert_key(tx, company_id, stored)
    return IssuedKey(secret, await get_key(tx, company_id, key_id))


def _facts_of(key: ApiKey) -> dict[str, object]:
    return {
        "keyId": key.id,
        "kind": key.kind,
        "workspaceId": key.workspace_id,
        "name": key.name,
        "prefix": key.prefix,
        "readOnly": key.read_only,
        "allowList": list(key.allow_list),
        "scopes": None if key.scopes is None else list(key.scopes),
        "expiresAt": None if key.expires_at is None else clock.iso(key.expires_at),
    }


def _as_json(actor: Actor) -> str:
    return msgspec.json.encode(actor).decode()
