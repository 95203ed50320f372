"""Working straight on the database as the operator: connecting, and finding companies and workspaces by name."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from mainstay import identity
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel import paging
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Regions, own_urls

OPERATOR: Final = Actor(kind="operator", id="cli")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@asynccontextmanager
async def operators_database() -> AsyncIterator[Database]:
    """A small pool on DATABASE_URL."""
    async with operators_regions() as regions:
        yield regions.home


@asynccontextmanager
async def operators_regions() -> AsyncIterator[Regions]:
    """A small pool on DATABASE_URL, and on each DATABASE_URL_<REGION>."""
    url = os.environ.get("DATABASE_URL", "").strip()
    if not url.startswith(("postgresql://", "postgres://")):
        raise CommandFailed(
            "DATABASE_URL is missing" if not url else "DATABASE_URL must begin with postgresql://",
            "This command works on the database itself: set DATABASE_URL to Mainstay's database.",
            code=USAGE,
        )
    regions = Regions.at(url, own_urls(os.environ), size=2, statement_cache=0, name="mainstay cli")
    try:
        yield regions
    finally:
        await regions.close()


async def company_named(db: Connection, wanted: str) -> identity.Company:
    """The company of that slug or id; CommandFailed."""
    found = await identity.find_company(db, wanted)
    after = None
    while found is None:
        companies = await identity.list_companies(db, after=after, limit=paging.MAX_LIMIT)
        if not companies:
            raise CommandFailed(f"there is no company '{wanted}'", "'mainstay companies list' shows every slug.")
        found = next((one for one in companies if one.slug == wanted), None)
        after = companies[-1].id
    return found


async def workspace_named(db: Connection, company: identity.Company, wanted: str) -> identity.Workspace:
    """The company's workspace of that slug or id; CommandFailed."""
    found = await identity.find_workspace(db, company.id, wanted)
    if found is None:
        found = next((one for one in await all_workspaces(db, company) if one.slug == wanted), None)
    if found is None:
        hint = f"'mainstay workspaces list --company {company.slug}' shows every slug."
        raise CommandFailed(f"{company.slug} has no workspace '{wanted}'", hint)
    return found


async def all_workspaces(db: Connection, company: identity.Company) -> list[identity.Workspace]:
    """Every workspace of the company, the system workspace too, oldest first."""
    found: list[identity.Workspace] = []
    while True:
        after = found[-1].id if found else None
        page = await identity.list_workspaces(db, company.id, after=after, limit=paging.MAX_LIMIT)
        if not page:
            return found
        found += page


def moment_of(text: str, *, now: datetime | None = None) -> datetime:
    """The moment that a duration from now (90d, 12h, 30m, 2w) or an ISO time names; CommandFailed."""
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and unit in _UNITS and len(number) <= 6:
        return (now or datetime.now(UTC)) + timedelta(**{_UNITS[unit]: int(number)})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandFailed(f"'{text}' is not a duration such as 90d or 12h, nor a time", code=USAGE) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
