"""Requests and answers of the routes by which people manage keys, and of those that tell of leaked ones."""

from typing import Annotated, Literal

import msgspec

from mainstay.identity.key_health import KeyHealth
from mainstay.identity.key_health_schemas import HealthShown, KeyAnswer, health_shown, iso_or_none
from mainstay.identity.key_schemas import Labels, Name, Text
from mainstay.identity.key_tokens import KeyKind
from mainstay.identity.keys import ApiKey, State
from mainstay.identity.leaks import Outcome
from mainstay.kernel.clock import iso


class KeyChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What is to change of a key; what is not there stays."""

    name: Name | None = None
    labels: Labels | None = None


class PersonsRotation(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """For how long a key that people replace works beside its successor."""

    name: Name | None = None
    revoke_old: bool = False
    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=2_592_000)] | None = None


class PersonsRevocation(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Why a key ends."""

    reason: Text | None = None


class LeakReport(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Keys that somebody found where they should not be, who found them and where."""

    tokens: Annotated[list[Annotated[str, msgspec.Meta(max_length=500)]], msgspec.Meta(min_length=1, max_length=100)]
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    url: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    act: Literal["revoke", "flag"] = "revoke"


class CreatedBy(KeyAnswer):
    """Who made a key."""

    kind: str
    id: str
    name: str


class KeyListed(KeyAnswer):
    """A key as people of its company see it. `ending` is one that was rotated, or expires within a week."""

    id: str
    name: str
    prefix: str
    kind: KeyKind
    workspace_id: str | None
    state: State
    read_only: bool
    labels: list[str]
    ip_allowlist: list[str]
    scopes: list[str] | None
    created_at: str
    created_by: CreatedBy
    expires_at: str | None
    replaces: str | None
    overlap_ends_at: str | None
    revoked_at: str | None
    revoked_reason: str | None
    leaked_at: str | None
    leaked_source: str | None
    health: HealthShown


class KeyListMeta(KeyAnswer):
    """Where this page stands."""

    limit: int
    next_cursor: str | None


class KeyList(KeyAnswer):
    """A page of keys, oldest first."""

    data: list[KeyListed]
    meta: KeyListMeta


class Leak(KeyAnswer):
    """What became of one of the tokens: `unknown` was never a key here, `ended` worked no more before."""

    prefix: str
    outcome: Outcome


class LeaksTold(KeyAnswer):
    """What became of each token, in the order in which they were told."""

    data: list[Leak]


def listed_shown(key: ApiKey, health: KeyHealth) -> KeyListed:
    """A key as people see it."""
    actor = key.created_by
    return KeyListed(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        kind=key.kind,
        workspace_id=key.workspace_id,
        state=key.state,
        read_only=key.read_only,
        labels=list(key.labels),
        ip_allowlist=list(key.allow_list),
        scopes=None if key.scopes is None else list(key.scopes),
        created_at=iso(key.created_at),
        created_by=CreatedBy(kind=actor.kind, id=actor.id or "", name=actor.name or ""),
        expires_at=iso_or_none(key.expires_at),
        replaces=key.replaces,
        overlap_ends_at=iso_or_none(key.overlap_ends_at),
        revoked_at=iso_or_none(key.revoked_at),
        revoked_reason=key.revoked_reason,
        leaked_at=iso_or_none(key.leaked_at),
        leaked_source=key.leaked_source,
        health=health_shown(health),
    )
