"""`mainstay cache`: what is cached and how often that serves, and clearing it by hand."""

import os
from typing import Annotated, Any

import aiohttp
import typer

from mainstay import identity
from mainstay.cli import output
from mainstay.cli.calling import DEFAULT_URL, Url
from mainstay.cli.operating import OPERATOR, operators_database
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel import cache as caches
from mainstay.kernel.cache import Cache
from mainstay.kernel.cache_stores import InRedis
from mainstay.kernel.redis import Redis

cache = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What is cached; clearing it by hand.")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_PATIENCE_SECONDS = 15


@cache.command("clear")
def clear(
    prefix: Annotated[str, typer.Argument(help="What keys begin with: 'cache:' (every one), 'cache:user:', a key.")],
) -> None:
    """Drop entries in every process; the next read of each goes to the database. Works on DATABASE_URL, and on
    REDIS_URL where entries are there.

    \b
      mainstay cache clear cache:user:
      mainstay cache clear cache:
    """

    async def work() -> None:
        if not caches.is_prefix(prefix):
            hint = "It begins with 'cache:', with up to 200 of a-z, 0-9, ':' and '-'; 'mainstay cache show' lists keys."
            raise CommandFailed("this is no prefix of keys", hint, code=USAGE)
        async with operators_database() as db, db.begin() as tx:
            await caches.clear_by_hand(tx, OPERATOR, prefix)
        url = os.environ.get("REDIS_URL", "").strip()
        if url:
            store = InRedis(Redis(url, use="cache", timeout_seconds=_PATIENCE_SECONDS))
            await Cache(store, identity.cached.FAMILIES).clear([prefix + "*"])
            await store.close()

    output.run(work())
    output.tell(f"what begins with '{prefix}' is read anew")


@cache.command("show")
def show(*, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what one API process has cached and how often that served; needs INTERNAL_TOKEN.

    \b
      mainstay cache show --url https://audit.example.com
    """
    found = output.run(_asked(url))
    if as_json:
        output.show_json(found)
        return
    rows = [
        (one["key"], one["ttlSeconds"], one["entries"], one["bytes"], one["hits"] + one["shared"], one["misses"],
         one["bypasses"], "" if one["hitRatio"] is None else f"{one['hitRatio']:.1%}")
        for one in found["families"]
    ]  # fmt: skip
    columns = ("key", "seconds", "entries", "bytes", "served", "loaded", "bypassed", "ratio")
    output.show_table(columns, rows, empty="Nothing is cached.")
    output.tell(f"kept in {found['store']}; others are {'heard' if found['hearsOthers'] else 'not heard now'}")


async def _asked(url: str) -> dict[str, Any]:
    token = os.environ.get("INTERNAL_TOKEN", "").strip()
    if not token:
        raise CommandFailed("INTERNAL_TOKEN is missing", "It is the operators' token of the API.", code=USAGE)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"x-internal-token": token}) as session,
            session.get(url.rstrip("/") + "/internal/cache", allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise CommandFailed(f"{url} answers {answer.status}", "Are MAINSTAY_URL and INTERNAL_TOKEN right?")
            told: dict[str, Any] = (await answer.json())["data"]
            return told
    except (aiohttp.ClientError, TimeoutError, ValueError):
        raise CommandFailed(f"{url} does not answer as a Mainstay does", "Is MAINSTAY_URL right?") from None
