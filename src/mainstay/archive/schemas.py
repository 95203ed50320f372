"""The shapes of requests about archives and retention."""

from typing import Annotated, Literal

from msgspec import Meta, Struct


class RunIn(Struct, forbid_unknown_fields=True):
    """A step that is to run now."""

    step: Literal["mark", "archive", "verify", "cut"]


class RetentionIn(Struct, forbid_unknown_fields=True):
    """The grace, in days, before events that left the retention window may leave the database."""

    graceDays: Annotated[int, Meta(ge=0, le=3650)]
