"""One-time links: good once, for one purpose, for a while, and only the newest."""

import asyncio
from datetime import timedelta

import pytest

from mainstay import accounts
from mainstay.accounts import LinkOver, links
from mainstay.kernel import ids
from mainstay.kernel.db import Database, Tx
from tests.conftest import SqlClock

SUBJECT = ids.new_id()


async def make(db: Database, purpose: links.Purpose = "password_reset", subject: str = SUBJECT) -> str:
    async with db.begin() as tx:
        return await accounts.links.make_link(tx, purpose, subject, data={"email": "ada@example.com"})


async def use(db: Database, token: str, purpose: links.Purpose = "password_reset") -> links.Link:
    async with db.begin() as tx:
        return await accounts.links.use_link(tx, purpose, token)


async def test_a_link_is_good_once_and_kept_as_a_digest(db: Database) -> None:
    token = await make(db)
    assert len(token) >= 46
    async with db.connection() as connection:
        assert token not in await connection.fetchval("select l::text from mainstay.one_time_links l")
    found = await accounts.links.find_link(db, "password_reset", token)
    assert found == await use(db, token)
    assert (found.subject, found.data) == (SUBJECT, {"email": "ada@example.com"})
    assert await accounts.links.find_link(db, "password_reset", token) is None
    with pytest.raises(LinkOver):
        await use(db, token)


async def test_of_many_uses_at_the_same_moment_one_succeeds(db: Database) -> None:
    token = await make(db)
    ends = await asyncio.gather(*(use(db, token) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, links.Link) for one in ends) == 1
    assert sum(isinstance(one, LinkOver) for one in ends) == 5


async def test_a_use_that_is_undone_leaves_the_link(db: Database) -> None:
    token = await make(db)
    async with db.connection() as connection:
        undone = connection.transaction()
        await undone.start()
        await accounts.links.use_link(Tx(connection), "password_reset", token)
        await undone.rollback()
    assert (await use(db, token)).subject == SUBJECT


@pytest.mark.parametrize("purpose", links.LIFETIMES)
async def test_a_link_ends_with_its_time_and_serves_its_purpose_alone(
    db: Database, sql_clock: SqlClock, purpose: links.Purpose
) -> None:
    await sql_clock.stop()
    token = await make(db, purpose)
    for other in links.LIFETIMES.keys() - {purpose}:
        with pytest.raises(LinkOver):
            await use(db, token, other)
    await sql_clock.move(links.LIFETIMES[purpose] - timedelta(seconds=1))
    assert await accounts.links.find_link(db, purpose, token) is not None
    await sql_clock.move(timedelta(seconds=1))
    with pytest.raises(LinkOver):
        await use(db, token, purpose)
    await sql_clock.move(links.KEPT + timedelta(seconds=1))
    assert await accounts.links.prune(db) == 1


async def test_a_newer_link_ends_the_older_of_its_purpose_and_subject(db: Database) -> None:
    first, other, elsewhere = await make(db), await make(db, "email_change"), await make(db, subject=ids.new_id())
    second = await make(db)
    with pytest.raises(LinkOver):
        await use(db, first)
    for token, purpose in ((second, "password_reset"), (other, "email_change"), (elsewhere, "password_reset")):
        await use(db, token, purpose)
    await make(db)
    async with db.begin() as tx:
        assert await accounts.links.end_links(tx, "password_reset", SUBJECT) == 1


async def test_what_is_no_link_is_refused_like_one_that_is_over(db: Database) -> None:
    for token in ("", "ml_", "ml_" + "a" * 43, "mk_ws_x", "ml_\u00e9", "ml_\x00", "ml_" + "a" * 10_000):
        with pytest.raises(LinkOver):
            await use(db, token)
