"""What a company demands of its members: a second factor from a day on, with who would be locked out told before."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mainstay.kernel import outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.mfa.errors import NotOn
from mainstay.mfa.factors import is_on
from mainstay.mfa.queries import people as rows
from mainstay.web.callers import Caller

FURTHEST = timedelta(days=366)
MOST_NAMED = 100
_FURTHEST_FAULT = Fault(f"may lie at most {FURTHEST.days} days ahead", "#/from")


@dataclass(frozen=True, slots=True)
class Without:
    """Somebody who may act for the company and has no second factor."""

    id: str
    name: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class Demand:
    """From when a company demands a second factor, and whom that locks out; at most 100 of them are named."""

    since: datetime | None
    members: int
    without: int
    people: list[Without]


async def forecast(db: Connection, company_id: str) -> Demand:
    """What the company demands, and who has no second factor."""
    members, without = await rows.count_members(db, company_id)
    named = await rows.members_without(db, company_id, limit=MOST_NAMED)
    people = [Without(str(one["id"]), one["name"], one["email"], one["role"]) for one in named]
    return Demand(await rows.demanded_from(db, company_id), members, without, people)


async def demand(db: Database, caller: Caller, *, since: datetime | None) -> Demand:
    """The company demands a second factor from then on (at once where nothing is given or the moment has passed).

    `company.secured` is announced. NotOn where the caller has none; Invalid for a day over 366 days ahead.
    """
    if not await is_on(db, caller.id):
        raise NotOn("Set up your own second factor first, or you would lock yourself out.")
    async with db.begin() as tx:
        found = await rows.demand(tx, caller.company_id, since, within=FURTHEST)
        if found is None:
            raise Invalid(faults=[_FURTHEST_FAULT])
        _, without = await rows.count_members(tx, caller.company_id)
        data = {"mfaRequired": True, "mfaRequiredFrom": iso(found), "withoutFactor": without}
        await outbox.announce(tx, "company.secured", company_id=caller.company_id, actor=caller.actor, data=data)
    return await forecast(db, caller.company_id)


async def relent(db: Database, caller: Caller) -> Demand:
    """The company demands no second factor, and `company.secured` is announced."""
    async with db.begin() as tx:
        await rows.relent(tx, caller.company_id)
        data = {"mfaRequired": False, "mfaRequiredFrom": None}
        await outbox.announce(tx, "company.secured", company_id=caller.company_id, actor=caller.actor, data=data)
    return await forecast(db, caller.company_id)


def moment_of(text: str) -> datetime:
    """The moment that a day (its first, in UTC) or a time with its offset names; Invalid."""
    fault = Fault("must be a day such as 2026-12-01, or a time with its offset", "#/from")
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            if len(text) != len("2026-12-01"):
                raise Invalid(faults=[fault])
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(faults=[fault]) from None
