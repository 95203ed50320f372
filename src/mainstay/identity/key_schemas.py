"""Requests and answers of the routes by which keys make, rotate and revoke keys."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from pydantic import Field

from mainstay.identity.key_health_schemas import KeyAnswer
from mainstay.identity.key_tokens import KeyKind
from mainstay.identity.keys import ApiKey, IssuedKey
from mainstay.identity.schemas import WorkspaceShown
from mainstay.kernel.clock import SystemClock, iso
from mainstay.web.limiting import Verdict
from mainstay.web.scopes import Scope

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=36)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Labels = Annotated[list[Text], msgspec.Meta(max_length=20)]
Scopes = Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=20)]


class NewKey(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A key to be made; without addresses, an end or scopes it has those of the key that asks."""

    name: Name
    read_only: bool = False
    labels: Labels = []
    ip_allowlist: Annotated[list[Text], msgspec.Meta(max_length=100)] = []
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    scopes: Scopes | None = None


class NewKeyOfCompany(NewKey, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A key of the company, or of the workspace that is named."""

    workspace_id: _Id | None = None


class Rotation(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Which key is replaced (the one that asks, unless named), and for how long it works beside its successor."""

    key_id: _Id | None = None
    name: Name | None = None
    revoke_old: bool = False
    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=2_592_000)] | None = None


class Revocation(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Which key ends (the one that asks, unless named), and why."""

    key_id: _Id | None = None
    reason: Text | None = None


class KeyIssued(KeyAnswer):
    """A new key; `key` is its secret, which is shown this once."""

    id: str
    key: str
    name: str
    prefix: str
    kind: KeyKind
    workspace_id: str | None
    read_only: bool
    labels: list[str]
    ip_allowlist: list[str]
    scopes: list[str] | None
    expires_at: str | None
    created_at: str


class KeyRotated(KeyIssued):
    """The successor of a key; the old one works until `overlapEndsAt`, or not at all any more."""

    replaces: str
    old_key_revoked: bool
    overlap_ends_at: str


class KeyRevoked(KeyAnswer):
    """A key that has ended for good."""

    id: str
    revoked_at: str
    revoked_reason: str | None


class RateLimit(KeyAnswer):
    """How often the key may call; where nothing limits it the policy is `unlimited` and the figures are null."""

    policy: str = "unlimited"
    limit: int | None = Field(default=None, description="Calls a window")
    remaining: int | None = Field(default=None, description="Calls that are left after this one")
    reset_at: str | None = Field(default=None, description="When all of them are there again if nobody calls")
    window_seconds: int | None = None
    limited: bool = Field(default=False, description="Whether the next call is refused at this moment")


class LatestUsage(KeyAnswer):
    """Events of the current calendar month (UTC)."""

    period_start: str
    period_end: str
    events: int


class WorkspaceStats(KeyAnswer):
    """What a workspace holds: `events` is how many were ever stored, which is also the `seq` of its last one."""

    events: int
    latest_usage: LatestUsage


class WorkspaceDetail(KeyAnswer):
    """One workspace of the company with its figures."""

    workspace: WorkspaceShown
    stats: WorkspaceStats


def rate_shown(verdict: Verdict | None) -> RateLimit:
    """What the limits said of the call that asks; nothing, where none holds it."""
    if verdict is None:
        return RateLimit()
    return RateLimit(
        policy=verdict.policy,
        limit=verdict.allowance,
        remaining=verdict.remaining,
        reset_at=iso(SystemClock().now() + timedelta(seconds=verdict.frees_in_seconds)),
        window_seconds=verdict.window_seconds,
        limited=verdict.remaining == 0,
    )


def issued_shown(issued: IssuedKey) -> KeyIssued:
    """A new key with its secret."""
    return KeyIssued(**_members(issued))


def rotated_shown(issued: IssuedKey, old: ApiKey, *, ended: bool) -> KeyRotated:
    """The successor with its secret, and how long the old key works."""
    ends_at = old.overlap_ends_at
    assert ends_at is not None
    return KeyRotated(**_members(issued), replaces=old.id, old_key_revoked=ended, overlap_ends_at=iso(ends_at))


def revoked_shown(key: ApiKey) -> KeyRevoked:
    """A key that was revoked."""
    assert key.revoked_at is not None
    return KeyRevoked(id=key.id, revoked_at=iso(key.revoked_at), revoked_reason=key.revoked_reason)


def _members(issued: IssuedKey) -> dict[str, Any]:
    key = issued.record
    return {
        "id": key.id,
        "key": issued.secret,
        "name": key.name,
        "prefix": key.prefix,
        "kind": key.kind,
        "workspace_id": key.workspace_id,
        "read_only": key.read_only,
        "labels": list(key.labels),
        "ip_allowlist": list(key.allow_list),
        "scopes": None if key.scopes is None else list(key.scopes),
        "expires_at": None if key.expires_at is None else iso(key.expires_at),
        "created_at": iso(key.created_at),
    }
