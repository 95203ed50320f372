"""Keys that make, rotate and revoke keys: within their own tenancy, and never with more rights than they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network

from mainstay.identity import allow_lists, keys
from mainstay.identity.errors import BeyondOwnRights, KeyAlreadyIssued, KeyNotFound
from mainstay.identity.keys import ApiKey, IssuedKey
from mainstay.identity.queries import keys as key_rows
from mainstay.kernel import ids, once
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import Fault, Unauthenticated
from mainstay.web.callers import Caller

ALLOW_LIST, EXPIRES_AT, SCOPES = "#/ipAllowlist", "#/expiresAt", "#/scopes"


@dataclass(frozen=True, slots=True)
class Wish:
    """The key that is asked for."""

    name: str
    workspace_id: str | None = None
    read_only: bool = False
    labels: Sequence[str] = ()
    allow_list: Sequence[str] = ()
    expires_at: datetime | None = None
    scopes: Sequence[str] | None = None


async def issue(
    tx: Tx, caller: Caller, wish: Wish, *, home: Connection | None = None, request: once.Request | None = None
) -> IssuedKey:
    """A new key works: of the caller's workspace, of the one that a company key names, or of the company itself.

    It comes from the addresses, ends when and is narrowed as it is asked to, or as the caller's key is.

    BeyondOwnRights, KeyAlreadyIssued where the request was carried out before, and what `issue_key` refuses.
    """
    own = await _own_key(tx, caller, [caller.id])
    allow_list = narrowed_list(own, allow_lists.check_allow_list(wish.allow_list, ALLOW_LIST))
    expires_at = narrowed_end(own, wish.expires_at)
    scopes = narrowed_scopes(own, wish.scopes)
    workspace_id = own.workspace_id or wish.workspace_id
    await _claim(tx, caller, request)
    issued = await keys.issue_key(
        tx,
        caller.actor,
        caller.company_id,
        kind="company" if workspace_id is None else "workspace",
        name=wish.name,
        workspace_id=workspace_id,
        read_only=wish.read_only,
        allow_list=allow_list,
        expires_at=expires_at,
        labels=wish.labels,
        scopes=scopes,
        home=home,
    )
    await _made(tx, caller, request, issued)
    return issued


async def rotate(
    tx: Tx,
    caller: Caller,
    key_id: str | None,
    *,
    overlap: timedelta,
    name: str | None = None,
    home: Connection | None = None,
    request: once.Request | None = None,
) -> IssuedKey:
    """A successor of the caller's own key, or of one that has no more rights, works as `rotate_key` tells.

    KeyNotFound (also outside the caller's tenancy), BeyondOwnRights, KeyAlreadyIssued, KeyNotRotatable, Invalid.
    """
    wanted = key_id or caller.id
    own = await _own_key(tx, caller, [caller.id, wanted])
    old = await _reachable(tx, own, wanted)
    await _claim(tx, caller, request)
    if old.id != own.id:
        narrowed_list(own, old.allow_list, inherits=False)
        narrowed_end(own, old.expires_at, inherits=False)
        narrowed_scopes(own, old.scopes, inherits=False)
    issued = await keys.rotate_key(tx, caller.actor, caller.company_id, old.id, overlap=overlap, name=name, home=home)
    await _made(tx, caller, request, issued)
    return issued


async def revoke(tx: Tx, caller: Caller, key_id: str | None, *, reason: str | None = None) -> ApiKey:
    """The caller's own key, or another one of its tenancy, is revoked; KeyNotFound."""
    wanted = key_id or caller.id
    own = await _own_key(tx, caller, [caller.id, wanted])
    key = await _reachable(tx, own, wanted)
    return await keys.revoke_key(tx, caller.actor, caller.company_id, key.id, reason=reason)


def narrowed_list(own: ApiKey, wished: Sequence[str], *, inherits: bool = True) -> list[str]:
    """The addresses of a key that `own` gives: those wished for, or its own; BeyondOwnRights where some lie outside."""
    if not own.allow_list or (inherits and not wished):
        return list(wished or own.allow_list)
    ours = allow_lists.networks_of(own.allow_list)
    outside = [
        index
        for index, entry in enumerate(wished)
        if not any(_contains(network, ip_network(entry)) for network in ours)
    ]
    if outside or not wished:
        faults = [Fault("lies outside the allow-list of your key", f"{ALLOW_LIST}/{index}") for index in outside]
        raise BeyondOwnRights("Your key's allow-list is narrower.", faults=faults)
    return list(wished)


def narrowed_end(own: ApiKey, wished: datetime | None, *, inherits: bool = True) -> datetime | None:
    """When a key that `own` gives ends: as wished for, or with it; BeyondOwnRights where that is later."""
    if own.ends_at is None or (inherits and wished is None):
        return wished or own.ends_at
    if wished is None or wished > own.ends_at:
        raise BeyondOwnRights("Your key ends before.", faults=[Fault("is later than your own key ends", EXPIRES_AT)])
    return wished


def narrowed_scopes(own: ApiKey, wished: Sequence[str] | None, *, inherits: bool = True) -> Sequence[str] | None:
    """What a key that `own` gives is narrowed to: what is wished for, or its own scopes; BeyondOwnRights where some are
    not among these."""
    if own.scopes is None or (inherits and wished is None):
        return own.scopes if wished is None else wished
    beyond = [] if wished is None else [index for index, scope in enumerate(wished) if scope not in own.scopes]
    if beyond or wished is None:
        faults = [Fault("is not a scope of your key", f"{SCOPES}/{index}") for index in beyond]
        raise BeyondOwnRights("Your key has fewer scopes.", faults=faults)
    return wished


def _contains(network: allow_lists.Network, other: allow_lists.Network) -> bool:
    return (
        network.version == other.version
        and network.network_address <= other.network_address  # type: ignore[operator]
        and network.broadcast_address >= other.broadcast_address  # type: ignore[operator]
    )


async def _own_key(tx: Tx, caller: Caller, key_ids: Sequence[str]) -> ApiKey:
    """The caller's key, which cannot be revoked or rotated while it acts; Unauthenticated where it has just ended."""
    asked = sorted({one for one in key_ids if ids.is_uuid(one)})
    if caller.id not in await key_rows.lock_working_keys(tx, caller.company_id, asked):
        raise Unauthenticated
    return await keys.get_key(tx, caller.company_id, caller.id)


async def _reachable(tx: Tx, own: ApiKey, key_id: str) -> ApiKey:
    key = await keys.get_key(tx, own.company_id, key_id)
    if own.workspace_id not in (None, key.workspace_id):
        raise KeyNotFound
    return key


async def _claim(tx: Tx, caller: Caller, request: once.Request | None) -> None:
    earlier = None if request is None else await once.claim(tx, caller.company_id, request)
    if earlier is not None:
        raise KeyAlreadyIssued(
            "This request has made its key before. The secret was shown then and is not kept: where it was lost, "
            "revoke that key and send the request with another idempotency key.",
            extra={"keyId": earlier},
        )


async def _made(tx: Tx, caller: Caller, request: once.Request | None, issued: IssuedKey) -> None:
    if request is not None:
        await once.made(tx, caller.company_id, request, issued.record.id)
