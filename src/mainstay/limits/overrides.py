"""What operators set of limits at run time, and what holds now: read again after a second at most."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import asyncpg
import msgspec

from mainstay.kernel import ids, outbox
from mainstay.kernel.clock import Clock, SystemClock, iso
from mainstay.kernel.db import Connection, Database, Tx
from mainstay.kernel.errors import Fault, Invalid, MainstayError
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.limits.errors import CompanyUnknown, PolicyUnknown
from mainstay.limits.policies import Policy, name_of, rule_of
from mainstay.limits.queries import overrides as queries
from mainstay.limits.store import Rule

Mode = Literal["enforced", "shadow", "off"]

KEPT_SECONDS = 1.0
"""The longest that a figure is held to after it was changed, on every node."""
PLAN_SECONDS = 10.0
MOST_PLANS = 10_000
MOST_ALLOWANCE = 1_000_000_000
MOST_WINDOW_SECONDS = 86_400
MOST_REASON = 500
_READ_SECONDS = 0.5
_LAST_YEAR = 9_000
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """What holds for somebody under one policy; `rule` is None where nothing does."""

    policy: Policy
    rule: Rule | None
    mode: Mode = "enforced"
    of_company: bool = False
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What operators set, as the database had it at one moment; good until that monotonic second."""

    policies: Mapping[str, Policy]
    figures: Mapping[tuple[str, str], tuple[int, int, datetime | None]] = field(default_factory=dict)
    modes: Mapping[str, Mode] = field(default_factory=dict)
    good_until: float = 0.0
    _made: dict[tuple[str, str], Figures] = field(default_factory=dict)

    def of(self, name: str, company_id: str) -> Figures:
        """What holds: the company's own figures, else everybody's that were set, else settings or the default."""
        key = (name, company_id) if (name, company_id) in self.figures else (name, "")
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(*key)
        return found

    def _make(self, name: str, company_id: str) -> Figures:
        policy, mode = self.policies[name], self.modes.get(name, "enforced")
        given = self.figures.get((name, company_id))
        until = None
        if given is not None:
            allowance, seconds, ends_at = given
            until = None if ends_at is None else iso(ends_at)
            window = timedelta(seconds=seconds)
            policy = replace(policy, allowance=allowance, window=window, set_by="operator")
        return Figures(policy, None if mode == "off" else rule_of(policy), mode, company_id != "", until)


class Current:
    """What holds now, from memory for up to a second; where the database does not answer, what held last goes on."""

    def __init__(self, db: Database, policies: Mapping[str, Policy], *, clock: Clock | None = None) -> None:
        self.policies = policies
        self._db = db
        self._clock = clock or SystemClock()
        self._snapshot = Snapshot(policies)
        self._reading: asyncio.Task[Snapshot] | None = None
        self._plans: OrderedDict[str, tuple[float, str | None]] = OrderedDict()

    async def now(self, *, for_seconds: float = 0.0) -> Snapshot:
        """What holds; with `for_seconds` it stays good that long. Simultaneous calls share one question."""
        if self._clock.monotonic() + for_seconds < self._snapshot.good_until:
            return self._snapshot
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._end_reading)
        return await asyncio.shield(self._reading)

    async def plan_of(self, company_id: str) -> str | None:
        """The plan of the company as it was within the last ten seconds; None where nobody can tell."""
        known = self._plans.get(company_id)
        now = self._clock.monotonic()
        if known is not None and now < known[0]:
            return known[1]
        plan = None if known is None else known[1]
        try:
            async with asyncio.timeout(_READ_SECONDS):
                plan = await queries.find_plan(self._db, company_id)
        except (MainstayError, asyncpg.PostgresError, TimeoutError):
            _log.warning(
                "the plan of a company cannot be read; its keys are held to what they were", company=company_id
            )
        self._plans[company_id] = (now + PLAN_SECONDS, plan)
        self._plans.move_to_end(company_id)
        if len(self._plans) > MOST_PLANS:
            self._plans.popitem(last=False)
        return plan

    def _end_reading(self, _: asyncio.Task[Snapshot]) -> None:
        self._reading = None

    async def _read(self) -> Snapshot:
        asked_at = self._clock.monotonic()
        figures: dict[tuple[str, str], tuple[int, int, datetime | None]] = {}
        modes: dict[str, Mode] = {}
        try:
            async with asyncio.timeout(_READ_SECONDS):
                rows = await queries.current_everywhere(self._db)
        except (MainstayError, asyncpg.PostgresError, TimeoutError) as error:
            _log.warning("what operators set of limits cannot be read; what held goes on", error=type(error).__name__)
            self._snapshot = replace(self._snapshot, good_until=self._clock.monotonic() + KEPT_SECONDS)
            return self._snapshot
        for row in rows:
            if row["policy"] not in self.policies:
                continue
            if row["what"] == "mode":
                modes[row["policy"]] = row["mode"]
            else:
                company_id = "" if row["company_id"] is None else str(row["company_id"])
                figures[row["policy"], company_id] = (row["allowance"], row["window_seconds"], row["until"])
        self._snapshot = Snapshot(self.policies, figures, modes, asked_at + KEPT_SECONDS)
        return self._snapshot


def known_policy(policies: Mapping[str, Policy], name: str) -> Policy:
    """The policy of that name, or of that name in the documents; PolicyUnknown."""
    found = policies.get(name_of(name))
    if found is None:
        raise PolicyUnknown
    return found


async def set_override(
    tx: Tx,
    actor: Actor,
    policy: Policy,
    company_id: str | None,
    *,
    allowance: int,
    window_seconds: int | None = None,
    until: datetime | None = None,
    reason: str,
) -> None:
    """The figures hold for the company, or for everybody, until then; `limit.changed` is announced. Home database.

    Allowances from 1 to 1,000,000,000 in windows of 1 s to a day (the policy's own unless given). Invalid,
    CompanyUnknown.
    """
    seconds = int(policy.window.total_seconds()) if window_seconds is None else window_seconds
    _check(allowance, seconds, reason)
    if until is not None and (until.year >= _LAST_YEAR or await queries.is_past_everywhere(tx, until)):
        raise Invalid(faults=[Fault(f"must lie ahead, before the year {_LAST_YEAR}", "#/until")])
    await _check_company(tx, company_id)
    await queries.set_override(
        tx,
        company_id,
        ids.new_id(),
        policy=policy.name,
        figures=(allowance, seconds),
        until=until,
        reason=reason.strip(),
        set_by=msgspec.json.encode(actor).decode(),
    )
    data = {
        "policy": policy.name,
        "allowance": allowance,
        "windowSeconds": seconds,
        "until": None if until is None else iso(until),
        "reason": reason.strip(),
    }
    await outbox.announce(tx, "limit.changed", company_id=company_id, actor=actor, data=data)


async def drop_override(tx: Tx, actor: Actor, policy: Policy, company_id: str | None) -> bool:
    """What settings or the default say holds again; whether something else did (then `limit.changed` is announced).

    Home database; CompanyUnknown.
    """
    await _check_company(tx, company_id)
    if not await queries.drop_override(tx, company_id, policy=policy.name):
        return False
    data = {"policy": policy.name, "allowance": None, "windowSeconds": None, "until": None, "reason": ""}
    await outbox.announce(tx, "limit.changed", company_id=company_id, actor=actor, data=data)
    return True


async def set_mode(tx: Tx, actor: Actor, policy: Policy, *, mode: Mode, reason: str) -> None:
    """The policy refuses (enforced), only counts whom it would refuse (shadow), or is off; `limit.mode_changed` is
    announced. Home database; Invalid."""
    _check_reason(reason)
    set_by = msgspec.json.encode(actor).decode()
    await queries.set_mode_everywhere(tx, policy.name, mode=mode, reason=reason.strip(), set_by=set_by)
    data = {"policy": policy.name, "mode": mode, "reason": reason.strip()}
    await outbox.announce(tx, "limit.mode_changed", company_id=None, actor=actor, data=data)


async def drop_mode(tx: Tx, actor: Actor, policy: Policy) -> bool:
    """The policy is enforced, as usual; whether that is new (then `limit.mode_changed` is announced)."""
    if not await queries.drop_mode_everywhere(tx, policy.name):
        return False
    data = {"policy": policy.name, "mode": "enforced", "reason": ""}
    await outbox.announce(tx, "limit.mode_changed", company_id=None, actor=actor, data=data)
    return True


async def plan_of(db: Connection, company_id: str) -> str:
    """The plan that the company is on; CompanyUnknown."""
    plan = await queries.find_plan(db, company_id) if ids.is_uuid(company_id) else None
    if plan is None:
        raise CompanyUnknown
    return plan


async def prune(db: Connection) -> int:
    """Overrides that ended 30 days ago are gone; how many."""
    return await queries.prune_everywhere(db)


async def _check_company(tx: Tx, company_id: str | None) -> None:
    if company_id is not None:
        await plan_of(tx, company_id)


def _check(allowance: int, seconds: int, reason: str) -> None:
    faults = []
    if not 1 <= allowance <= MOST_ALLOWANCE:
        faults.append(Fault(f"must be from 1 to {MOST_ALLOWANCE}", "#/allowance"))
    if not 1 <= seconds <= MOST_WINDOW_SECONDS:
        faults.append(Fault(f"must be from 1 to {MOST_WINDOW_SECONDS}", "#/windowSeconds"))
    if faults:
        raise Invalid(faults=faults)
    _check_reason(reason)


def _check_reason(reason: str) -> None:
    if not 1 <= len(reason.strip()) <= MOST_REASON or not reason.strip().isprintable():
        raise Invalid(
            faults=[Fault(f"must have 1 to {MOST_REASON} characters, without control characters", "#/reason")]
        )
