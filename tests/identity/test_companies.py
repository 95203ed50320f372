"""Companies and workspaces: slugs, system workspaces, the operator, tenancy."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from mainstay import identity
from mainstay.identity import errors, names
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Invalid
from tests.identity.conftest import ACTOR, announced


async def test_a_company_opens_with_its_system_workspace_and_says_so(db: Database) -> None:
    async with db.begin() as tx:
        company = await identity.open_company(tx, ACTOR, name="  Zoë & Sons  ", region="EU", plan="growth")
    assert (company.name, company.slug, company.data_region, company.plan) == ("Zoë & Sons", "zoe-sons", "EU", "growth")
    (system,) = await identity.list_workspaces(db, company.id)
    assert (system.slug, system.system, system.company_id) == ("system", True, company.id)
    (opened,) = await announced(db, "company.opened")
    assert opened["company_id"] == company.id
    assert orjson.loads(opened["actor"])["id"] == "operator"
    assert orjson.loads(opened["data"])["slug"] == "zoe-sons"
    (workspace_opened,) = await announced(db, "workspace.opened")
    assert orjson.loads(workspace_opened["data"])["workspaceId"] == system.id


async def test_the_operator_is_there_from_the_first_migration(db: Database) -> None:
    operator = await identity.get_company(db, identity.OPERATOR_COMPANY)
    workspace = await identity.get_workspace(db, operator.id, identity.OPERATOR_WORKSPACE)
    assert operator.slug == "operator"
    assert workspace.system


async def test_a_company_has_one_system_workspace_whoever_inserts(db: Database, company: identity.Company) -> None:
    async with db.connection() as connection:
        with pytest.raises(asyncpg.UniqueViolationError, match="workspaces_one_system_idx"):
            await connection.execute(
                """insert into mainstay.workspaces (id, company_id, name, slug, system)
                   values (mainstay.uuid7(), $1, 'Second', 'second', true)""",
                company.id,
            )


async def test_a_given_slug_is_taken_once_and_a_derived_one_makes_way(db: Database, company: identity.Company) -> None:
    async with db.begin() as tx:
        with pytest.raises(errors.SlugTaken):
            await identity.open_company(tx, ACTOR, name="Other", slug=company.slug)
        second = await identity.open_company(tx, ACTOR, name=company.name)
        assert second.slug.startswith(company.slug + "-")
        first = await identity.open_workspace(tx, ACTOR, company.id, name="Main", slug="main")
        with pytest.raises(errors.SlugTaken):
            await identity.open_workspace(tx, ACTOR, company.id, name="Main", slug="main")
        elsewhere = await identity.open_workspace(tx, ACTOR, second.id, name="Main", slug="main")
    assert first.slug == elsewhere.slug == "main"


async def test_the_same_name_at_the_same_moment_gives_two_companies(db: Database) -> None:
    async def open_one() -> identity.Company:
        async with db.begin() as tx:
            return await identity.open_company(tx, ACTOR, name="Twins")

    companies = await asyncio.gather(*(open_one() for _ in range(6)))
    assert len({company.slug for company in companies}) == 6


async def test_a_workspace_is_only_found_through_its_own_company(
    db: Database, company: identity.Company, other_company: identity.Company, workspace: identity.Workspace
) -> None:
    assert await identity.find_workspace(db, company.id, workspace.id) == workspace
    assert await identity.find_workspace(db, other_company.id, workspace.id) is None
    assert await identity.find_workspace(db, company.id, "not-a-uuid") is None
    with pytest.raises(errors.WorkspaceNotFound):
        await identity.get_workspace(db, other_company.id, workspace.id)
    assert workspace.id not in {one.id for one in await identity.list_workspaces(db, other_company.id)}


async def test_workspaces_need_a_company(db: Database) -> None:
    async with db.begin() as tx:
        with pytest.raises(errors.CompanyNotFound):
            await identity.open_workspace(tx, ACTOR, "00000000-0000-7000-8000-00000000dead", name="Lost")
    assert await identity.find_company(db, "?") is None


async def test_companies_are_listed_in_pages(db: Database, company: identity.Company) -> None:
    first = await identity.list_companies(db, limit=1)
    rest = await identity.list_companies(db, after=first[0].id)
    assert [one.id for one in (*first, *rest)] == [identity.OPERATOR_COMPANY, company.id]


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "tab\tin", "nul\x00", "rtl\u202e"])
def test_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        names.check_name(name)


def test_names_at_the_limit_pass() -> None:
    assert names.check_name("é" * 200) == "é" * 200


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a_b", "ä", "x" * 64, "system", "a\n"])
def test_slugs_are_refused(slug: str) -> None:
    with pytest.raises(Invalid):
        names.check_slug(slug)


@pytest.mark.parametrize("slug", ["a", "0", "a-b", "x" * 63])
def test_slugs_pass(slug: str) -> None:
    assert names.check_slug(slug) == slug


@pytest.mark.parametrize(
    ("name", "slug"), [("Acme Ltd.", "acme-ltd"), ("Čapek", "capek"), ("x" * 80, "x" * 50), ("a  -- b", "a-b")]
)
def test_slugs_resemble_names(name: str, slug: str) -> None:
    assert names.slug_from(name) == slug


@pytest.mark.parametrize("name", ["System", "北京", "!!!"])
def test_slugs_are_made_up_where_a_name_gives_none(name: str) -> None:
    assert names.check_slug(names.slug_from(name))


@pytest.mark.parametrize("change", [{"data_region": "MARS"}, {"plan": "gold"}], ids=["unknown region", "unknown plan"])
async def test_the_database_refuses(db: Database, change: dict[str, Any]) -> None:
    (column, value), *_ = change.items()
    async with db.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"update mainstay.companies set {column} = $1", value)
