"""Endpoints: where a customer's messages go, what it subscribes to, how it is sent to, and its secret."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson

from mainstay.kernel import ids, outbox
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import Keyring, Unsealable, digest_of, new_token
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.web import json_checks
from mainstay.web.bodies import MAX_BODY_BYTES
from mainstay.webhooks import filters, schemas, signing
from mainstay.webhooks.errors import EndpointBusy, EndpointNotFound, TooManyEndpoints
from mainstay.webhooks.ladder import PROFILES
from mainstay.webhooks.queries import endpoints as rows
from mainstay.webhooks.queries import sending
from mainstay.webhooks.schemas import EndpointChange, NewEndpoint

ENDPOINTS_AT_MOST: Final = 1_000
SWITCHED_OFF: Final = "switched off"
PULL_PREFIX: Final = "whpull_"

FindWorkspace = Callable[[Connection, str, str], Awaitable[object | None]]
"""The company's (first id) workspace (second id), or None: the identity room's answer, which `main` hands in."""

_ANNOUNCED = {
    "url": "url",
    "events": "events",
    "retries": "retries",
    "is_active": "isActive",
    "workspace_id": "workspaceId",
    "description": "description",
    "kind": "kind",
    "retry_profile": "retryProfile",
    "signing": "signing",
    "ordering": "ordering",
    "rate_limit_per_second": "rateLimitPerSecond",
    "concurrency": "concurrency",
    "headers": "headers",
    "trace_context": "traceContext",
    "payload_version": "payloadVersion",
    "filter": "filter",
}
_FIXED = ("kind", "signing")
DEFAULT_BRAND: Final = "NovaPulse"


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """Endpoints as their owner reads them, and the id to go on after (None at the end)."""

    endpoints: list[dict[str, Any]]
    next_after: str | None


async def register(
    tx: Tx,
    actor: Actor,
    wanted: NewEndpoint,
    *,
    company_id: str,
    keyring: Keyring,
    allow: AllowList,
    brand: str = DEFAULT_BRAND,
) -> tuple[Record, str]:
    """The company has the endpoint; its row, and its secret for the only time (empty where nobody needs one)."""
    given = wanted.given()
    kind, profile = given.get("kind", "push"), given.get("retry_profile", "standard")
    schemas.check(given, kind=kind, profile=profile, brand=brand, allow=allow)
    if kind == "push" and "url" not in given:
        raise Invalid(faults=[Fault("is required of a webhook of the kind push", "#/url")])
    if await rows.count_endpoints(tx, company_id=company_id) >= ENDPOINTS_AT_MOST:
        raise TooManyEndpoints(f"A company may have {ENDPOINTS_AT_MOST:,} webhooks; delete one first.")
    given.setdefault("retries", len(PROFILES[profile]))
    endpoint_id, secret = ids.new_id(), _new_secret(kind)
    values = _columns(given, endpoint_id, keyring) | {
        "id": endpoint_id,
        "secret_sealed": _kept(secret, kind, endpoint_id, keyring),
        "created_by": msgspec.json.encode(actor).decode(),
        **_switched(on=given.get("is_active", True)),
    }
    row = await rows.add_endpoint(tx, company_id=company_id, values=values)
    data = {public: _told(name, given[name]) for name, public in _ANNOUNCED.items() if name in given}
    await _announce(tx, actor, "endpoint.created", row, data)
    return row, _shown_secret(secret, row)


async def get(connection: Connection, *, company_id: str, endpoint_id: str, deleted_too: bool = False) -> Record:
    """The company's endpoint; EndpointNotFound where it has none of that id."""
    row = None
    if ids.is_uuid(endpoint_id):
        row = await rows.find_endpoint(
            connection, company_id=company_id, endpoint_id=endpoint_id, deleted_too=deleted_too
        )
    if row is None:
        raise EndpointNotFound
    return row


async def show(
    connection: Connection, found: Sequence[Record], *, company_id: str, keyring: Keyring
) -> list[dict[str, Any]]:
    """These endpoints as their owner reads them, with their health and lines."""
    standings = await rows.standings_of(connection, company_id=company_id, endpoint_ids=[row["id"] for row in found])
    by_id = {row["endpoint_id"]: row for row in standings}
    return [
        schemas.show_endpoint(
            row,
            given_headers=_opened_headers(row, keyring),
            public_keys=_public_keys(row, keyring),
            standing=by_id.get(row["id"]),
        )
        for row in found
    ]


async def read_one(connection: Connection, *, company_id: str, endpoint_id: str, keyring: Keyring) -> dict[str, Any]:
    """The company's endpoint as its owner reads it; EndpointNotFound where it has none of that id."""
    row = await get(connection, company_id=company_id, endpoint_id=endpoint_id)
    (shown,) = await show(connection, [row], company_id=company_id, keyring=keyring)
    return shown


async def read(
    connection: Connection, *, company_id: str, keyring: Keyring, after_id: str | None = None, limit: int = 50
) -> EndpointPage:
    """One page of the company's endpoints, the oldest first."""
    found = await rows.list_endpoints(connection, company_id=company_id, after_id=after_id, limit=limit + 1)
    page = found[:limit]
    shown = await show(connection, page, company_id=company_id, keyring=keyring)
    return EndpointPage(shown, str(page[-1]["id"]) if len(found) > limit else None)


async def change(
    tx: Tx,
    actor: Actor,
    wanted: EndpointChange,
    *,
    company_id: str,
    endpoint_id: str,
    allow: AllowList,
    keyring: Keyring | None = None,
    brand: str = DEFAULT_BRAND,
) -> Record:
    """The given fields have their new values; what changed is announced, with old and new.

    Headers change only where the keyring is given.
    """
    before = await get(tx, company_id=company_id, endpoint_id=endpoint_id)
    old = _as_given(before, keyring)
    given = wanted.given()
    _refuse_fixed(given, before)
    if given.get("headers"):
        given["headers"] = schemas.unmasked(given["headers"], old["headers"])
    _follow_profile(given, old)
    schemas.check(
        given,
        kind=before["kind"],
        profile=given.get("retry_profile", old["retry_profile"]),
        brand=brand,
        allow=allow,
    )
    changed = {name: value for name, value in given.items() if _plain(value) != _plain(old[name])}
    if not changed:
        return before
    values = _columns(changed, str(before["id"]), keyring)
    if "is_active" in changed:
        values |= _switched(on=changed["is_active"])
    if "ordering" in changed and await rows.has_open(tx, company_id=company_id, endpoint_id=str(before["id"])):
        raise EndpointBusy
    row = await rows.change_endpoint(tx, company_id=company_id, endpoint_id=endpoint_id, values=values)
    if row is None:
        raise EndpointNotFound
    if changed.get("is_active"):
        await sending.forget_health(tx, company_id=company_id, endpoint_id=str(row["id"]))
    changes = [
        {"field": _ANNOUNCED[name], "old": _told(name, old[name]), "new": _told(name, value)}
        for name, value in changed.items()
    ]
    await _announce(tx, actor, "endpoint.changed", row, {"url": row["url"], "changes": changes})
    return row


async def delete(tx: Tx, actor: Actor, *, company_id: str, endpoint_id: str) -> None:
    """The endpoint is in no list and gets nothing more; its log stays readable for as long as logs are kept."""
    before = await get(tx, company_id=company_id, endpoint_id=endpoint_id)
    if not await rows.delete_endpoint(tx, company_id=company_id, endpoint_id=endpoint_id):
        raise EndpointNotFound
    await _announce(tx, actor, "endpoint.deleted", before, {"url": before["url"]})


async def rotate_secret(
    tx: Tx, actor: Actor, *, company_id: str, endpoint_id: str, keyring: Keyring, overlap_seconds: int
) -> tuple[Record, str]:
    """A new secret is in force, beside the old one for the overlap; the row, and the secret for the only time."""
    before = await get(tx, company_id=company_id, endpoint_id=endpoint_id)
    endpoint_id, secret = str(before["id"]), _new_secret(before["kind"])
    row = await rows.rotate_secret(
        tx,
        company_id=company_id,
        endpoint_id=endpoint_id,
        sealed=_kept(secret, before["kind"], endpoint_id, keyring),
        overlap_seconds=overlap_seconds,
    )
    if row is None:
        raise EndpointNotFound
    await _announce(tx, actor, "endpoint.secret_rotated", row, {"overlapSeconds": overlap_seconds})
    return row, _shown_secret(secret, row)


async def require_workspace(
    connection: Connection, find_workspace: FindWorkspace, *, company_id: str, workspace_id: object
) -> None:
    """Passes no workspace and the company's own ones; Invalid for any other."""
    if isinstance(workspace_id, str) and await find_workspace(connection, company_id, workspace_id) is None:
        raise Invalid(faults=[schemas.no_such_workspace()])


async def try_filter(connection: Connection, wanted: Mapping[str, Any], example: Mapping[str, Any]) -> bool:
    """Whether a message like the example passes the filter; Invalid for a filter or message that could not be."""
    faults = filters.faults_of(wanted) or json_checks.faults_of(example, "#/example", most_bytes=MAX_BODY_BYTES)
    if faults:
        raise Invalid(faults=faults)
    text = orjson.dumps(example).decode()
    return await rows.is_match_everywhere(connection, body=text, path=filters.compile_filter(wanted))


def _switched(*, on: bool) -> dict[str, Any]:
    if on:
        return {"disabled_at": None, "disabled_reason": None}
    return {"disabled_at": rows.now(), "disabled_reason": SWITCHED_OFF}


def _new_secret(kind: str) -> str:
    return signing.new_secret() if kind == "push" else new_token(PULL_PREFIX)


def _kept(secret: str, kind: str, endpoint_id: str, keyring: Keyring) -> bytes:
    """What is stored of a secret: sealed where we sign with it, a digest where others show it to us."""
    return keyring.seal(secret.encode(), endpoint_id.encode()) if kind == "push" else digest_of(secret)


def _shown_secret(secret: str, row: Record) -> str:
    return "" if row["kind"] == "push" and row["signing"] == "ed25519" else secret


def _columns(given: Mapping[str, Any], endpoint_id: str, keyring: Keyring | None) -> dict[str, Any]:
    """Given fields as the columns that hold them."""
    values = dict(given)
    if "ordering" in values:
        values["is_fifo"] = values.pop("ordering") == "fifo"
    if "headers" in values:
        wanted = values.pop("headers") or {}
        assert keyring is not None
        sealed = keyring.seal(orjson.dumps(wanted), endpoint_id.encode()) if wanted else None
        values |= {"headers_sealed": sealed, "header_names": list(wanted)}
    if "filter" in values:
        wanted = values["filter"]
        values["filter"] = None if wanted is None else orjson.dumps(wanted).decode()
        values["filter_path"] = None if wanted is None else filters.compile_filter(wanted)
    return values


def _as_given(row: Record, keyring: Keyring | None) -> dict[str, Any]:
    """A row's settings as a caller gives them."""
    return {name: row[name] for name in _ANNOUNCED if name not in ("ordering", "headers", "filter")} | {
        "workspace_id": row["workspace_id"] and str(row["workspace_id"]),
        "ordering": "fifo" if row["is_fifo"] else "none",
        "headers": _opened_headers(row, keyring),
        "filter": row["filter"] and orjson.loads(row["filter"]),
    }


def _refuse_fixed(given: dict[str, Any], before: Record) -> None:
    for name in _FIXED:
        if given.pop(name, before[name]) != before[name]:
            raise Invalid(faults=[Fault("is fixed when the webhook is made", f"#/{name}")])


def _follow_profile(given: dict[str, Any], old: Mapping[str, Any]) -> None:
    """`retries` that were the most of the old profile become the most of the new one, unless they are given too."""
    profile = given.get("retry_profile")
    if profile is not None and "retries" not in given:
        is_most = old["retries"] == len(PROFILES[old["retry_profile"]])
        given["retries"] = len(PROFILES[profile]) if is_most else old["retries"]


def _opened_headers(row: Record, keyring: Keyring | None) -> dict[str, str]:
    if row["headers_sealed"] is None or keyring is None:
        return {}
    try:
        return dict(orjson.loads(keyring.open(row["headers_sealed"], str(row["id"]).encode())))
    except Unsealable:
        return dict.fromkeys(row["header_names"], schemas.MASK)


def _public_keys(row: Record, keyring: Keyring) -> list[str]:
    """The keys in force by which anybody checks the signatures, the newest first; none with shared secrets."""
    if row["signing"] != "ed25519" or row["deleted_at"] is not None:
        return []
    sealed = [row["secret_sealed"], row["previous_in_force"]]
    try:
        opened = [keyring.open(one, str(row["id"]).encode()).decode() for one in sealed if one is not None]
    except Unsealable:
        return []
    return [signing.public_key(secret) for secret in opened]


async def _announce(tx: Tx, actor: Actor, name: str, row: Record, data: dict[str, Any]) -> None:
    await outbox.announce(
        tx,
        name,
        company_id=str(row["company_id"]),
        actor=actor,
        data={"endpointId": str(row["id"]), **data},
    )


def _plain(value: Any) -> bytes:
    """A setting as text that is equal for equal settings: `1` and `true` are not, none and empty are."""
    return orjson.dumps(value or None, option=orjson.OPT_SORT_KEYS)


def _told(name: str, value: Any) -> Any:
    """A setting as announcements tell it: of headers only their names."""
    return sorted(value or {}) if name == "headers" else value
