"""Add-ons are a closed set, held by companies; what HyreLog called them is carried over, or the migration stops."""

import asyncpg
import pytest

from mainstay import main, plans
from mainstay.kernel import ids, migrations
from mainstay.kernel.db import Database, Sql
from tests.conftest import database_url, drop_database
from tests.tenancy import OPERATOR, Tenancy

_HELD = "select company_id::text, code from mainstay.add_ons order by 1"
_TOLD = Sql("test.told", "select name, data::text from mainstay.announcements where name like 'add_on%' order by id")


@pytest.mark.contract("HL-R-11")
async def test_codes_are_a_closed_set(db: Database, tenancy: Tenancy) -> None:
    assert plans.ADD_ONS == ("RETENTION_S3_ARCHIVE",)
    for code in ("retention_plus", "retention_s3_archive", "", "x" * 500):
        async with db.begin() as tx:
            for verb in (plans.grant_add_on, plans.remove_add_on):
                with pytest.raises(Exception, match="no add-on") as refusal:
                    await verb(tx, OPERATOR, tenancy.company_id, code=code)
                assert refusal.value.status == 404  # type: ignore[attr-defined]
    with pytest.raises(asyncpg.CheckViolationError):
        await db.run(
            Sql("t", "insert into mainstay.add_ons (company_id, code, granted_by) values ($1, 'retention_plus', '{}')"),
            tenancy.company_id,
        )


async def test_an_add_on_is_granted_and_removed_once_each(db: Database, tenancy: Tenancy) -> None:
    book, company, code = plans.Book(), tenancy.company_id, plans.RETENTION_S3_ARCHIVE
    async with db.begin() as tx:
        assert await plans.grant_add_on(tx, OPERATOR, company, code=code) is True
        assert await plans.grant_add_on(tx, OPERATOR, company, code=code) is False
    assert (await book.standing(db, company)).has(code)
    assert [one.code for one in await plans.list_add_ons(db, company)] == [code]
    async with db.begin() as tx:
        assert await plans.remove_add_on(tx, OPERATOR, company, code=code) is True
        assert await plans.remove_add_on(tx, OPERATOR, company, code=code) is False
        with pytest.raises(plans.CompanyUnknown):
            await plans.grant_add_on(tx, OPERATOR, ids.new_id(), code=code)
    assert not (await book.standing(db, company)).has(code)
    assert [row["name"] for row in await db.rows(_TOLD)] == ["add_on.granted", "add_on.removed"]


async def _old_database(server_url: str, *rows: tuple[str, str, str]) -> str:
    """An empty database beside which HyreLog keeps its add-ons under the names of old."""
    url = database_url(server_url, f"old_{ids.new_id().replace('-', '')}")
    for address, statement in (
        (server_url, f'create database "{url.rpartition("/")[2]}"'),
        (url, 'create table "AddOn" (id text primary key, "companyId" text not null, code text not null)'),
    ):
        connection = await asyncpg.connect(address)
        await connection.execute(statement)
        if address == url:
            await connection.executemany('insert into "AddOn" values ($1, $2, $3)', rows)
        await connection.close()
    return url


async def _read(url: str, statement: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.mark.contract("HL-R-12")
async def test_the_old_code_is_read_as_the_new_one_and_a_second_upgrade_changes_nothing(server_url: str) -> None:
    first, second = sorted(ids.new_id() for _ in range(2))
    url = await _old_database(
        server_url, ("a1", first, "retention_plus"), ("a2", second.upper(), "RETENTION_S3_ARCHIVE"),
        ("a3", first, "RETENTION_S3_ARCHIVE"),
    )  # fmt: skip
    wanted = [(first, "RETENTION_S3_ARCHIVE"), (second, "RETENTION_S3_ARCHIVE")]
    await migrations.migrate(url, main.partitioned())
    assert await _read(url, _HELD) == wanted
    await migrations.migrate(url, main.partitioned())
    assert await _read(url, _HELD) == wanted
    assert ("a1", first, "retention_plus") in await _read(url, 'select * from "AddOn"')
    await drop_database(server_url, url)


@pytest.mark.contract("HL-R-13")
async def test_an_unknown_old_code_stops_the_migration_and_is_named(server_url: str) -> None:
    company = ids.new_id()
    url = await _old_database(server_url, ("a1", company, "retention_plus"), ("a2", company, "gold_support"))
    with pytest.raises(Exception, match=f'add-on a2 of company {company} has the unknown code "gold_support"'):
        await migrations.migrate(url, main.partitioned())
    assert await _read(url, "select version_num from mainstay.migrations") == [("0013",)]
    connection = await asyncpg.connect(url)
    await connection.execute("""update "AddOn" set code = 'retention_plus', "companyId" = 'c1' where id = 'a2'""")
    with pytest.raises(Exception, match='add-on a2 belongs to company "c1", which is no UUID'):
        await migrations.migrate(url, main.partitioned())
    await connection.execute("""delete from "AddOn" where id = 'a2'""")
    await connection.close()
    await migrations.migrate(url, main.partitioned())
    assert await _read(url, _HELD) == [(company, "RETENTION_S3_ARCHIVE")]
    await drop_database(server_url, url)


def test_the_migration_names_the_one_that_it_stands_for() -> None:
    (path,) = migrations.directory().glob("versions/0014_*.py")
    assert "20251201210935_phase2_foundation" in path.read_text(encoding="utf-8")
