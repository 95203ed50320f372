"""The shapes of events as clients send them; the flat shape of answers is written in `shape.py`."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec import field as member

Short = Annotated[str, Meta(min_length=1, max_length=128)]
Long = Annotated[str, Meta(min_length=1, max_length=512)]

MAX_BATCH = 1_000
MAX_BATCH_BYTES = 16_777_216
MAX_KEY_CHARACTERS = 256


class ActorIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Who did it; at least one member is present."""

    id: Long | None = None
    email: Annotated[str, Meta(min_length=1, max_length=320)] | None = None
    name: Long | None = None


class TargetIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What it was done to; at least one member is present."""

    id: Long | None = None
    type: Short | None = None


class ChangeIn(Struct, forbid_unknown_fields=True):
    """One changed field with its value before and after."""

    field: Long
    old: Raw = member(default_factory=Raw)
    new: Raw = member(default_factory=Raw)


class EventIn(Struct, forbid_unknown_fields=True):
    """One event. `payload` and `metadata` are objects, `changes` up to 1,000 changes; times carry a zone."""

    action: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*$(?!\n)", min_length=1, max_length=128)]
    category: Short | None | UnsetType = UNSET
    actor: ActorIn | None | UnsetType = UNSET
    target: TargetIn | None | UnsetType = UNSET
    projectId: Short | None | UnsetType = UNSET
    payload: Raw = member(default_factory=Raw)
    metadata: Raw = member(default_factory=Raw)
    changes: Raw = member(default_factory=Raw)
    occurredAt: str | None | UnsetType = UNSET
    idempotencyKey: Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARACTERS)] | None | UnsetType = UNSET


class BatchIn(Struct, forbid_unknown_fields=True):
    """Up to 1,000 events, each judged on its own."""

    events: list[Raw]


EVENT = msgspec.json.Decoder(EventIn)
BATCH = msgspec.json.Decoder(BatchIn)
CHANGES = msgspec.json.Decoder(Annotated[list[ChangeIn], Meta(max_length=1_000)])
