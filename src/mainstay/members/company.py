"""The company itself: its name, how long its sessions last, and how much it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mainstay import identity
from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Forbidden, Invalid, NotFound, StepUpRequired
from mainstay.members.queries import company as rows
from mainstay.members.queries import members as member_rows
from mainstay.web.callers import Caller
from mainstay.web.roles import ACTS

IDLE_MINUTES: Final = range(5, 721)
LIFETIME_HOURS: Final = range(1, 721)
_LIMITS: Final = {"session_idle_minutes": IDLE_MINUTES, "session_lifetime_hours": LIFETIME_HOURS}
_POINTERS: Final = {"session_idle_minutes": "#/sessionIdleMinutes", "session_lifetime_hours": "#/sessionLifetimeHours"}


@dataclass(frozen=True, slots=True)
class Company:
    """A company as its members see it; a limit of sessions that it does not set (None) is the service's."""

    id: str
    name: str
    slug: str
    data_region: str
    plan: str
    created_at: datetime
    updated_at: datetime
    mfa_required_from: datetime | None
    session_idle_minutes: int | None
    session_lifetime_hours: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """How much a company has."""

    owners: int
    managers: int
    staff: int
    suspended: int
    departments: int
    open_invitations: int
    workspaces: int
    keys: int


async def read_company(db: Connection, company_id: str) -> Company:
    """The company; NotFound where it is gone."""
    return _company_of(await rows.find_company(db, company_id))


async def change_company(tx: Tx, caller: Caller, wanted: Mapping[str, Any]) -> Company:
    """The company has the name and the limits of sessions that are given (None: the service's), for sessions that are
    open too; `company.changed` and `company.secured` are announced for what differs.

    Invalid with pointers; Forbidden and StepUpRequired where limits are given by whom may not secure the company.
    """
    given = dict(wanted)
    if "name" in given:
        given["name"] = identity.names.check_name(given["name"])
    if given.keys() & _LIMITS.keys():
        _check_securing(caller)
        _check_limits(given)
    before = _values_of(await rows.lock_whole_company(tx, caller.company_id))
    after = {**before, **given}
    if after == before:
        return await read_company(tx, caller.company_id)
    changed = await rows.change_company(tx, caller.company_id, after)
    if after["name"] != before["name"]:
        told = {"companyId": caller.company_id, "name": after["name"], "nameBefore": before["name"]}
        await outbox.announce(tx, "company.changed", company_id=caller.company_id, actor=caller.actor, data=told)
    if any(after[one] != before[one] for one in _LIMITS):
        limits = {_POINTERS[one][2:]: after[one] for one in _LIMITS}
        limits |= {_POINTERS[one][2:] + "Before": before[one] for one in _LIMITS}
        await outbox.announce(tx, "company.secured", company_id=caller.company_id, actor=caller.actor, data=limits)
        await rows.shorten_sessions(tx, caller.company_id, lifetime_of(_company_of(changed)))
    return _company_of(changed)


async def read_stats(home: Connection, db: Connection, company_id: str) -> Stats:
    """How much the company has now; its keys are asked for in `db`, which is where its data live."""
    row = await rows.read_stats(home, company_id)
    return Stats(**dict(row), keys=await member_rows.count_keys(db, company_id))


def idle_of(company: Company) -> timedelta:
    """After which time without use a session of the company is over."""
    return identity.SESSION_IDLE if (own := company.session_idle_minutes) is None else timedelta(minutes=own)


def lifetime_of(company: Company) -> timedelta:
    """How long a session of the company lasts at most."""
    return identity.SESSION_LIFETIME if (own := company.session_lifetime_hours) is None else timedelta(hours=own)


def _check_securing(caller: Caller) -> None:
    if not ACTS["company.secure"].allows(caller.role, caller.features):
        raise Forbidden(f"Your role may not do this: {ACTS['company.secure'].title}.")
    if not caller.is_fresh:
        raise StepUpRequired


def _check_limits(given: Mapping[str, Any]) -> None:
    faults = [
        Fault(f"must be from {allowed.start} to {allowed.stop - 1}, or null", _POINTERS[name])
        for name, allowed in _LIMITS.items()
        if given.get(name) is not None and given[name] not in allowed
    ]
    if faults:
        raise Invalid(faults=faults)


def _values_of(row: Record | None) -> dict[str, Any]:
    if row is None:
        raise NotFound
    return {name: row[name] for name in ("name", *_LIMITS)}


def _company_of(row: Record | None) -> Company:
    if row is None:
        raise NotFound
    return Company(**{**dict(row), "id": str(row["id"])})
