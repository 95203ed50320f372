"""One archived day for the demonstration: events that leave their window at once, marked and archived by the worker."""

import asyncio
from datetime import timedelta
from typing import Final

import aiohttp

from mainstay import archive
from mainstay.cli.demo_company import WORKSPACES
from mainstay.cli.demo_traffic import Trickle
from mainstay.kernel.db import GONE, Database
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.logs import logger

_log = logger(__name__)
EVENTS: Final = 24
_WITHIN: Final = timedelta(minutes=2)
_LOOK_SECONDS: Final = 0.5


async def keep_a_day(trickle: Trickle, db: Database) -> None:
    """The company has a day in its archive, unless trouble comes between: then there is none until the next start."""
    company = trickle.company
    try:
        if len(company.workspaces) < len(WORKSPACES) or await archive.list_days(db, company.company_id, limit=1):
            return
        async with asyncio.timeout(_WITHIN.total_seconds()):
            if await trickle.send_batch(len(WORKSPACES) - 1, EVENTS):
                await _archive(db, company.company_id)
    except (aiohttp.ClientError, TimeoutError, MainstayError, *GONE) as error:
        _log.warning("the demonstration has no archived day", error=type(error).__name__)


async def _archive(db: Database, company_id: str) -> None:
    async with db.begin() as tx:
        await archive.ask(tx, "mark")
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        for day in await archive.list_days(db, company_id, limit=1):
            async with db.begin() as tx:
                await archive.ask_day(tx, archive.Day(company_id, day.workspace_id, day.day))
            return
