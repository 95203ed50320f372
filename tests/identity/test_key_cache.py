"""The cache for the hottest path: leases of a second, bounds, one question for many askers."""

import asyncio
from datetime import timedelta

import pytest

from mainstay import identity
from mainstay.identity import callers as callers_module
from mainstay.identity import errors
from mainstay.identity.queries import keys as queries
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.crypto import new_token
from mainstay.kernel.db import Connection, Database, Record
from tests.conftest import SqlClock
from tests.identity.conftest import KeyMaker


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every digest that the database was asked for."""
    asked: list[bytes] = []
    real = queries.find_valid_key_everywhere

    async def counted(db: Connection, digest: bytes) -> Record | None:
        asked.append(digest)
        return await real(db, digest)

    monkeypatch.setattr(queries, "find_valid_key_everywhere", counted)
    return asked


async def test_a_key_is_trusted_for_a_second_and_no_longer(
    callers: identity.Identity, clock: MovableClock, workspace: identity.Workspace, workspace_key: KeyMaker
) -> None:
    issued = await workspace_key(read_only=True)
    assert callers.find_cached_key(issued.secret) is None
    loaded = await callers.load_key(issued.secret)
    assert (loaded.caller.kind, loaded.caller.workspace_id) == ("workspace_key", workspace.id)
    assert (loaded.caller.company_id, loaded.caller.read_only, loaded.region) == (workspace.company_id, True, "US")
    clock.move(timedelta(milliseconds=999))
    assert callers.find_cached_key(issued.secret) is loaded
    clock.move(timedelta(milliseconds=1))
    assert callers.find_cached_key(issued.secret) is None


async def test_a_key_is_not_trusted_beyond_its_own_end(
    callers: identity.Identity, clock: MovableClock, sql_clock: SqlClock, workspace_key: KeyMaker
) -> None:
    issued = await workspace_key(expires_at=await sql_clock.stop() + timedelta(seconds=0.7))
    assert await callers.load_key(issued.secret)
    clock.move(timedelta(seconds=0.7))
    assert callers.find_cached_key(issued.secret) is None


async def test_unknown_tokens_are_remembered_for_a_second(
    callers: identity.Identity, clock: MovableClock, questions: list[bytes]
) -> None:
    token = new_token("mk_ws_")
    assert callers.find_cached_key(token) is None
    with pytest.raises(errors.Unauthenticated):
        await callers.load_key(token)
    with pytest.raises(errors.Unauthenticated):
        callers.find_cached_key(token)
    clock.move(timedelta(seconds=1))
    assert callers.find_cached_key(token) is None
    assert len(questions) == 1


async def test_unknown_tokens_push_out_no_key_and_both_sides_are_bounded(
    callers: identity.Identity, workspace_key: KeyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers_module, "CACHED_KEYS", 3)
    issued = [await workspace_key() for _ in range(4)]
    for key in issued[:3]:
        await callers.load_key(key.secret)
    for _ in range(5):
        with pytest.raises(errors.Unauthenticated):
            await callers.load_key(new_token("mk_ws_"))
    assert callers.find_cached_key(issued[0].secret) is not None
    await callers.load_key(issued[3].secret)
    assert [callers.find_cached_key(key.secret) is None for key in issued] == [False, True, False, False]
    assert (len(callers._cache), len(callers._refused)) == (3, 3)


async def test_many_askers_share_one_question_and_one_may_give_up(
    callers: identity.Identity, workspace_key: KeyMaker, questions: list[bytes]
) -> None:
    issued = await workspace_key()
    asking = [asyncio.create_task(callers.load_key(issued.secret)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(result, callers_module.CachedKey) for result in results[1:])
    assert len(questions) == 1
    assert callers._loading == {}


async def test_ordinary_calls_ask_the_database_each_time(
    db: Database, callers: identity.Identity, workspace_key: KeyMaker, questions: list[bytes]
) -> None:
    issued = await workspace_key()
    await callers.load_key(issued.secret)
    for _ in range(2):
        await callers.key(issued.secret, "127.0.0.1")
    assert len(questions) == 3
