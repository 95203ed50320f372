"""The shapes of requests about erasure, holds and the export of a person's events."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Email = Annotated[str, Meta(min_length=3, max_length=320, pattern="@")]
Name = Annotated[str, Meta(min_length=3, max_length=256)]
Reason = Annotated[str, Meta(min_length=3, max_length=500)]
Part = Literal["actor", "target", "payload", "metadata", "changes"]


class ErasureIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Who is to be erased, from which parts (all), and why; a dry run counts and changes nothing."""

    reason: Reason
    actorId: Id | None = None
    actorEmail: Email | None = None
    alsoKnownAs: Annotated[list[Name], Meta(max_length=10)] = []
    parts: Annotated[list[Part], Meta(min_length=1, max_length=5)] | None = None
    dryRun: bool = False


class HoldIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be kept, and why: the company's events, one workspace's, or all in which a person occurs."""

    reason: Reason
    workspaceId: str | None = None
    actorId: Id | None = None
    actorEmail: Email | None = None


class GdprExportIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Whose events are to be gathered."""

    actorId: Id | None = None
    actorEmail: Email | None = None
