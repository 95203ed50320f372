"""The cache from the command line: cleared by hand, and shown as a process has it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from mainstay.kernel.db import Database, Sql
from tests.cli.running import Ran, called

_CLEARED = Sql("test.cleared", "select data->>'prefix' from mainstay.announcements where name = 'cache.cleared'")
_FAMILY = {
    "name": "user_profile", "key": "cache:user:{id}:profile", "ttlSeconds": 300, "entries": 2, "bytes": 700, "hits": 5,
    "misses": 2, "shared": 1, "bypasses": 0, "hitRatio": 0.75,
}  # fmt: skip
_SHOWN = {"store": "memory", "hearsOthers": True, "families": [_FAMILY]}


async def _ran(*arguments: str, **env: str) -> Ran:
    return await asyncio.to_thread(called, "cache", *arguments, env=env)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """An API that shows its cache to whoever has the token."""

    async def show(request: web.Request) -> web.Response:
        is_known = request.headers.get("x-internal-token") == "a-token"
        return web.json_response({"data": _SHOWN} if is_known else {}, status=200 if is_known else 401)

    app = web.Application()
    app.router.add_get("/internal/cache", show)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await runner.cleanup()


@pytest.mark.contract("NP-CA-06")
async def test_a_prefix_is_cleared_with_its_author_on_record(db: Database) -> None:
    ran = await _ran("clear", "cache:user:", DATABASE_URL=db.dsn)
    assert (ran.code, ran.err) == (0, "what begins with 'cache:user:' is read anew\n")
    assert [row[0] for row in await db.rows(_CLEARED)] == ["cache:user:"]
    for bad in ("throttle:", "cache:*", ""):
        assert (await _ran("clear", bad, DATABASE_URL=db.dsn)).code == 2


async def test_what_is_cached_is_shown(url: str) -> None:
    ran = await _ran("show", "--url", url, "--json", INTERNAL_TOKEN="a-token")
    assert (ran.code, json.loads(ran.out)) == (0, _SHOWN)
    ran = await _ran("show", "--url", url, INTERNAL_TOKEN="a-token")
    assert "cache:user:{id}:profile" in ran.out
    assert "75.0%" in ran.out
    assert (await _ran("show", "--url", url, INTERNAL_TOKEN="another")).code == 1
    assert (await _ran("show", "--url", url, INTERNAL_TOKEN="")).code == 2
