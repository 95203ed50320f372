"""What a company may do at this moment: its plan, add-ons, own limits and choices, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Record
from mainstay.kernel.settings import Settings, SettingsError
from mainstay.plans.catalogue import LIMIT_NAMES, PLANS, QUOTA_OF, LimitName, Plan, is_at_least
from mainstay.plans.errors import CompanyUnknown
from mainstay.plans.queries import limits as queries


@dataclass(frozen=True, slots=True)
class Standing:
    """What one company may do; None is no limit, `own_limits` says which limits are not its plan's."""

    company_id: str
    region: str
    plan: str
    add_ons: frozenset[str]
    export_rows: int | None
    retention_days: int | None
    event_quota: int | None
    blocks_at_limit: bool
    own_limits: frozenset[str] = frozenset()

    def is_at_least(self, plan: str) -> bool:
        """Whether the company's plan is that one or a greater one."""
        return is_at_least(self.plan, plan)

    def has(self, add_on: str) -> bool:
        """Whether the company holds the add-on."""
        return add_on in self.add_ons

    def quota_of(self, meter: str) -> int | None:
        """How much of a meter a month includes; None for no limit."""
        name = QUOTA_OF.get(meter)
        return None if name is None else self.limit(name)

    def limit(self, name: LimitName) -> int | None:
        """One limit by its name."""
        return {
            "export_rows": self.export_rows,
            "retention_days": self.retention_days,
            "event_quota": self.event_quota,
        }[name]


class Book:
    """The plans as this deployment sells them."""

    def __init__(self, plans: Mapping[str, Plan] = PLANS) -> None:
        self.plans = plans

    @classmethod
    def of(cls, settings: Settings) -> "Book":
        """The plans with the amounts that the settings name; SettingsError for what is no plan."""
        given: dict[LimitName, Mapping[str, int | None]] = {
            "export_rows": settings.plan_export_rows,
            "retention_days": settings.plan_retention_days,
            "event_quota": settings.plan_event_quotas,
        }
        unknown = sorted({plan for amounts in given.values() for plan in amounts} - set(PLANS))
        if unknown:
            raise SettingsError(f"PLAN_ settings name what is no plan: {', '.join(unknown)}")

        def amount(plan: Plan, name: LimitName) -> int | None:
            usual: int | None = getattr(plan, name)
            return given[name].get(plan.name, usual)

        return cls(
            {
                name: Plan(name, plan.rank, **{limit: amount(plan, limit) for limit in LIMIT_NAMES})
                for name, plan in PLANS.items()
            }
        )

    async def standing(self, home_db: Connection, company_id: str) -> Standing:
        """What the company may do, as its row, add-ons, own limits and choices say now; CompanyUnknown."""
        found = await self.standings(home_db, [company_id]) if ids.is_uuid(company_id) else {}
        if company_id not in found:
            raise CompanyUnknown
        return found[company_id]

    async def standings(self, home_db: Connection, company_ids: Sequence[str]) -> dict[str, Standing]:
        """The same for many companies in one question; what is no company is left out."""
        rows = await queries.standings_everywhere(home_db, company_ids)
        return {str(row["id"]): self._standing(row) for row in rows}

    def _standing(self, row: Record) -> Standing:
        plan = self.plans[row["plan"]]
        own: dict[str, Any] = orjson.loads(row["limits"])
        amounts = {name: own[name] if name in own else getattr(plan, name) for name in LIMIT_NAMES}
        return Standing(
            company_id=str(row["id"]),
            region=row["data_region"],
            plan=plan.name,
            add_ons=frozenset(row["add_ons"]),
            blocks_at_limit=row["blocks_at_limit"],
            own_limits=frozenset(own),
            **amounts,
        )
