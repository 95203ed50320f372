"""Operators look at the cache and clear it by hand."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from mainstay.kernel import cache as caches
from mainstay.kernel.cache import Cache, Figures
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid, Unavailable
from mainstay.kernel.redis import Away
from mainstay.web.callers import Operator
from mainstay.web.json import Answer, refuse_unknown_query

_AT = "/internal/cache"
_Prefix = Annotated[str, Query(description="What keys begin with: `cache:` (every one), `cache:user:`, a whole key")]


def cache_router(home: Database, cache: Cache) -> APIRouter:
    """The routes of the cache."""
    routes = APIRouter(tags=["operations"])

    @routes.get(_AT)
    async def show_cache(_: Operator, request: Request) -> Answer:
        """Where entries are kept, how many there are, and how this process has read them since it began."""
        refuse_unknown_query(request, frozenset())
        try:
            figures = await cache.figures()
        except Away:
            raise Unavailable("Redis does not answer; what is cached is read from the database.") from None
        return Answer({"data": shown(cache, figures)})

    @routes.delete(_AT)
    async def clear_cache(caller: Operator, request: Request, prefix: _Prefix = "") -> Answer:
        """Every entry whose key begins so is gone from every process; the next read of each goes to the database."""
        refuse_unknown_query(request, frozenset({"prefix"}))
        if not caches.is_prefix(prefix):
            raise Invalid(faults=[Fault("must begin with 'cache:', with up to 200 of a-z, 0-9, ':' and '-'", "prefix")])
        async with home.begin() as tx:
            await caches.clear_by_hand(tx, caller.actor, prefix)
        return Answer({"data": {"prefix": prefix}})

    return routes


def shown(cache: Cache, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """The cache as operators see it; `hitRatio` is null before the first read."""
    families = []
    for family in cache.families:
        one = figures[family.name]
        reads = sum(one.outcomes.values())
        families.append(
            {
                "name": family.name,
                "key": family.key("{id}"),
                "ttlSeconds": round(family.ttl.total_seconds()),
                "entries": one.entries,
                "bytes": one.bytes,
                "hits": one.outcomes["hit"],
                "misses": one.outcomes["miss"],
                "shared": one.outcomes["shared"],
                "bypasses": one.outcomes["bypass"],
                "hitRatio": round((one.outcomes["hit"] + one.outcomes["shared"]) / reads, 4) if reads else None,
            }
        )
    return {"store": cache.kind, "hearsOthers": cache.hears, "families": families}
