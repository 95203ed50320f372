"""All that one API process does about limits: it counts, writes down what it refused, and gives back at its end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI

from mainstay.kernel.db import Database
from mainstay.kernel.settings import Settings
from mainstay.limits import routes
from mainstay.limits.choosing import Limits
from mainstay.limits.enforcing import Enforcement, keep_counts
from mainstay.limits.leasing import KeyLeases
from mainstay.limits.overrides import Current
from mainstay.limits.policies import Policy, policies_of
from mainstay.limits.report import Tally


@dataclass(frozen=True, slots=True)
class Keeping:
    """The parts of one process that hold calls to limits."""

    home: Database
    policies: Mapping[str, Policy]
    counting: Limits
    tally: Tally
    limiter: Enforcement
    rates: KeyLeases

    @classmethod
    def of(cls, settings: Settings, home: Database) -> "Keeping":
        """The parts as settings ask for them; SettingsError where those name what is no limit."""
        policies = policies_of(settings)
        counting, current, tally = Limits(settings, home), Current(home, policies), Tally(home)
        limiter, rates = Enforcement(counting, current, tally), KeyLeases(counting, current, tally)
        return cls(home, policies, counting, tally, limiter, rates)

    def join(self, app: FastAPI) -> APIRouter:
        """The guards of the application hold callers to limits; the room's routes."""
        app.state.limiter, app.state.key_rates = self.limiter, self.rates
        return routes.router(self.home, self.policies, self.tally)

    async def open(self) -> None:
        """Calls are counted where they should be."""
        await self.counting.open()

    async def run(self, stop: asyncio.Event) -> None:
        """Counts are kept until `stop` is set; then what was leased is given back and everything closed."""
        end_counting = asyncio.Event()
        counters = asyncio.create_task(self.counting.run(end_counting))
        await keep_counts(stop, self.tally.flush, self.rates.sweep)
        await self.rates.close()
        end_counting.set()
        await counters
