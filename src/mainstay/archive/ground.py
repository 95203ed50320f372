"""What the jobs of this room stand on, and how long which events are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mainstay import events, plans
from mainstay.archive import queries
from mainstay.archive.objects import Stores
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor

DEFAULT_GRACE_DAYS = 30
MOST_DAYS: Final = 36_500
ARCHIVIST = Actor(kind="job", id="archive", name="Archive and retention")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one workspace's events are kept; `window_days` None keeps them for ever."""

    window_days: int | None
    grace_days: int
    is_archived: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """One database's events and its name, the home database, plans, stores, and what settings let leave the table."""

    retirement: events.Retirement
    home: Database
    book: plans.Book
    stores: Stores
    deletes: bool = False
    cuts: bool = False
    name: str = "home"

    @property
    def db(self) -> Database:
        """The database of the events."""
        return self.retirement.db

    async def rules_of(self, heads: Sequence[Mapping[str, Any]]) -> dict[str, Rule]:
        """The rule of each workspace: a template's days, else the company's own, else its plan's.

        A workspace whose company is not known at home has no rule.
        """
        companies = sorted({str(head["company_id"]) for head in heads})
        standings = await self.book.standings(self.home, companies)
        overrides = await queries.overrides_everywhere(self.home, [str(head["workspace_id"]) for head in heads])
        graces = await queries.graces_everywhere(self.home, companies)
        found = {}
        for head in heads:
            workspace_id, company_id = str(head["workspace_id"]), str(head["company_id"])
            standing = standings.get(company_id)
            if standing is not None:
                days = overrides.get(workspace_id, standing.retention_days)
                found[workspace_id] = Rule(
                    None if days is None else min(days, MOST_DAYS),
                    graces.get(company_id, DEFAULT_GRACE_DAYS),
                    standing.has(plans.RETENTION_S3_ARCHIVE),
                )
        return found
