"""Requests of the incidents room's routes, and its answers."""

from typing import Annotated, Any

import msgspec

from mainstay.incidents.restricting import Restriction
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record


class RestrictionWanted(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Why people's routes are to be closed."""

    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500)]


def restriction_shown(held: Restriction | None) -> dict[str, Any]:
    """Whether people's routes are closed, and why, since when and by whom."""
    if held is None:
        return {"isRestricted": False, "since": None, "reason": None, "by": None}
    return {"isRestricted": True, "since": iso(held.since), "reason": held.reason, "by": dict(held.by)}


def entry_shown(row: Record) -> dict[str, Any]:
    """One entry of the authentication log."""
    ids = {
        name: None if row[column] is None else str(row[column])
        for name, column in (("personId", "person_id"), ("companyId", "company_id"), ("keyId", "key_id"))
    }
    return {
        "id": str(row["id"]), "at": iso(row["at"]), "kind": row["kind"], "reason": row["reason"],
        "times": row["times"], **ids, "hasEmail": row["has_email"], "address": row["address"],
        "userAgent": row["user_agent"], "method": row["method"], "route": row["route"], "traceId": row["trace_id"],
    }  # fmt: skip
