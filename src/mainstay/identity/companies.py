"""Companies and their workspaces."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mainstay.identity import cached
from mainstay.identity.errors import CompanyNotFound, SlugTaken, WorkspaceNotFound
from mainstay.identity.names import check_name, check_slug, slug_from
from mainstay.identity.queries import tenants as tenant_rows
from mainstay.kernel import ids, outbox, paging
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Region

Plan = Literal["free", "starter", "growth", "scale", "enterprise"]

OPERATOR_COMPANY = "00000000-0000-7000-8000-000000000000"
"""The operator's own company, which every database has from its first migration."""
OPERATOR_WORKSPACE = "00000000-0000-7000-8000-000000000001"
"""The operator's system workspace, where acts that belong to no company are events."""

_SLUG_TRIES = 5
COUNT_EXACT_TO = 10_000


@dataclass(frozen=True, slots=True)
class Company:
    """A tenant."""

    id: str
    name: str
    slug: str
    data_region: Region
    plan: Plan
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a company's events belong; its system workspace holds the acts on Mainstay itself (D-04)."""

    id: str
    company_id: str
    name: str
    slug: str
    system: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SystemWorkspace:
    """Where a company's acts on Mainstay itself are events, and in which region."""

    id: str
    company_id: str
    region: Region


async def open_company(
    tx: Tx, actor: Actor, *, name: str, slug: str | None = None, region: Region = "US", plan: Plan = "free"
) -> Company:
    """A new company exists with its system workspace, and `company.opened` is announced; Invalid, SlugTaken."""
    name = check_name(name)
    slugs = [check_slug(slug, reserved=frozenset())] if slug is not None else _slugs_from(name)
    for one in slugs:
        row = {"id": ids.new_id(), "name": name, "slug": one, "data_region": region, "plan": plan}
        found = await tenant_rows.insert_company_everywhere(tx, row)
        if found is not None:
            break
    else:
        raise SlugTaken(f"Another company already has the slug '{slugs[0]}'.")
    company = company_of(found)
    data = {"companyId": company.id, "name": name, "slug": company.slug, "dataRegion": region, "plan": plan}
    await outbox.announce(tx, "company.opened", company_id=company.id, actor=actor, data=data)
    await _insert_workspace(tx, actor, company.id, name="System", slugs=["system"], system=True)
    return company


async def open_workspace(tx: Tx, actor: Actor, company_id: str, *, name: str, slug: str | None = None) -> Workspace:
    """The company has a new workspace and `workspace.opened` is announced; CompanyNotFound, Invalid, SlugTaken."""
    name = check_name(name)
    slugs = [check_slug(slug)] if slug is not None else _slugs_from(name)
    await get_company(tx, company_id)
    return await _insert_workspace(tx, actor, company_id, name=name, slugs=slugs, system=False)


async def _insert_workspace(
    tx: Tx, actor: Actor, company_id: str, *, name: str, slugs: list[str], system: bool
) -> Workspace:
    for slug in slugs:
        row = {"id": ids.new_id(), "name": name, "slug": slug, "system": system}
        found = await tenant_rows.insert_workspace(tx, company_id, row)
        if found is not None:
            break
    else:
        raise SlugTaken(f"The company already has a workspace with the slug '{slugs[0]}'.")
    workspace = workspace_of(found)
    data = {"workspaceId": workspace.id, "name": name, "slug": workspace.slug, "system": system}
    await outbox.announce(tx, "workspace.opened", company_id=company_id, actor=actor, data=data)
    await cached.clear_company(tx, company_id)
    return workspace


async def find_company(db: Connection, company_id: str) -> Company | None:
    """The company, or None."""
    row = await tenant_rows.find_company(db, company_id) if ids.is_uuid(company_id) else None
    return None if row is None else company_of(row)


async def get_company(db: Connection, company_id: str) -> Company:
    """The company; CompanyNotFound."""
    company = await find_company(db, company_id)
    if company is None:
        raise CompanyNotFound
    return company


async def list_companies(
    db: Connection, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT
) -> list[Company]:
    """Up to `limit` companies after the given id, oldest first; for operators, as it crosses tenants."""
    return [company_of(row) for row in await tenant_rows.list_companies_everywhere(db, after=after, limit=limit)]


async def find_workspace(db: Connection, company_id: str, workspace_id: str) -> Workspace | None:
    """The company's workspace, or None (also where it belongs to another company)."""
    if not (ids.is_uuid(company_id) and ids.is_uuid(workspace_id)):
        return None
    row = await tenant_rows.find_workspace(db, company_id, workspace_id)
    return None if row is None else workspace_of(row)


async def get_workspace(db: Connection, company_id: str, workspace_id: str) -> Workspace:
    """The company's workspace; WorkspaceNotFound (also where it belongs to another company)."""
    workspace = await find_workspace(db, company_id, workspace_id)
    if workspace is None:
        raise WorkspaceNotFound
    return workspace


async def list_workspaces(
    db: Connection, company_id: str, *, after: str | None = None, limit: int = paging.DEFAULT_LIMIT
) -> list[Workspace]:
    """Up to `limit` workspaces of the company after the given id, oldest first."""
    return [workspace_of(row) for row in await tenant_rows.list_workspaces(db, company_id, after=after, limit=limit)]


async def system_workspaces(db: Connection, company_ids: Sequence[str]) -> list[SystemWorkspace]:
    """The system workspaces of these companies, and always the operator's, in one question."""
    rows = await tenant_rows.system_workspaces_everywhere(db, [*company_ids, OPERATOR_COMPANY])
    return [SystemWorkspace(str(row["id"]), str(row["company_id"]), row["data_region"]) for row in rows]


async def count_workspaces(db: Connection, company_id: str) -> tuple[int, bool]:
    """How many workspaces the company has, and whether that is exact (beyond 10,000 it is a floor)."""
    count = await tenant_rows.count_workspaces(db, company_id, most=COUNT_EXACT_TO + 1)
    return min(count, COUNT_EXACT_TO), count <= COUNT_EXACT_TO


def _slugs_from(name: str) -> list[str]:
    first = slug_from(name)
    return [first, *(f"{first}-{secrets.token_hex(3)}" for _ in range(_SLUG_TRIES - 1))]


def company_of(row: Record) -> Company:
    """A company from the columns of its row."""
    return Company(str(row["id"]), row["name"], row["slug"], row["data_region"], row["plan"], row["created_at"])


def workspace_of(row: Record) -> Workspace:
    """A workspace from the columns of its row."""
    return Workspace(str(row["id"]), str(row["company_id"]), row["name"], row["slug"], row["system"], row["created_at"])
