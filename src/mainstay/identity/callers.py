"""Credentials into callers: the identity room's side of `web.callers.Callers`, with the cache for the hottest path."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mainstay.identity.allow_lists import Network, is_allowed, networks_of
from mainstay.identity.errors import AddressNotAllowed
from mainstay.identity.key_tokens import is_token
from mainstay.identity.key_use import KeyUse
from mainstay.identity.queries import keys as key_rows
from mainstay.identity.queries import sessions as session_rows
from mainstay.identity.sessions import FRESH, SESSION_IDLE, caller_of
from mainstay.identity.tokens import AccessTokens, RefreshTokens
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.crypto import digest_of, same
from mainstay.kernel.db import Database, Record
from mainstay.kernel.errors import KeyRefused, Unauthenticated, Unavailable
from mainstay.kernel.regions import Regions
from mainstay.web import refusals
from mainstay.web.callers import Caller

T = TypeVar("T")

CACHED_KEYS = 10_000
CACHE_SECONDS = 1.0
"""The longest that a cached key may be trusted (C-36); what writes re-checks the key in its own statement."""
_UNKNOWN = "The API key is unknown, expired or revoked."


@dataclass(frozen=True, slots=True)
class CachedKey:
    """A key that worked when it was last read, at most one second ago."""

    caller: Caller
    region: str
    networks: tuple[Network, ...]

    def admit(self, address: str) -> Caller:
        """The caller, where the address is within the key's allow-list; AddressNotAllowed."""
        if not is_allowed(self.networks, address):
            refusals.about(key_id=self.caller.id, company_id=self.caller.company_id)
            raise AddressNotAllowed
        return self.caller


class Identity:
    """Fulfils `Callers`. Each question asks the database, except `find_cached_key`; a key is where its region is."""

    def __init__(
        self,
        db: Database,
        *,
        access_secret: str,
        previous_secrets: Sequence[str] = (),
        refresh_secrets: Sequence[str] = (),
        internal_token: str | None = None,
        clock: Clock | None = None,
        regions: Regions | None = None,
    ) -> None:
        self._db = db
        self._regions = regions or Regions(db, {})
        self._clock = clock or SystemClock()
        self._internal_token = internal_token
        self.tokens = AccessTokens((access_secret, *previous_secrets), self._clock)
        self.refresh_tokens = RefreshTokens(refresh_secrets, self._clock)
        self._are_one = self._regions.are_one
        self.key_use = KeyUse()
        self._uses = self._regions.each(lambda one: self.key_use if one is self._regions.home else KeyUse())
        self._cache: OrderedDict[bytes, tuple[float, CachedKey]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._seen_in: OrderedDict[bytes, Database] = OrderedDict()
        self._loading: dict[bytes, asyncio.Task[CachedKey]] = {}

    async def person(self, token: str) -> Caller:
        """The person of an access token, where its session still stands and neither the person nor the membership is
        suspended, all in one question; being asked for keeps the session from going idle. Unauthenticated."""
        claims = self.tokens.read(token)
        refusals.about(person_id=claims.person_id, company_id=claims.company_id)
        row = await session_rows.find_api_session(
            self._db, claims.company_id, claims.person_id, claims.session_id, idle=SESSION_IDLE, fresh=FRESH
        )
        if row is None:
            raise Unauthenticated("The session is over, or this person has no access to the company any more.")
        if row["is_stale"]:
            await session_rows.touch_session_everywhere(self._db, claims.session_id)
        return caller_of(row)

    def is_csrf_of(self, session_id: str, token: str) -> bool:
        """Whether the token is what requests by that session's cookie must show."""
        return self.tokens.is_csrf_of(session_id, token)

    async def key(self, token: str, address: str) -> Caller:
        """The caller of an API key that works now, from that address; Unauthenticated, AddressNotAllowed. A use of it
        is counted by who lets it in."""
        row = await self._find_key(digest_of(token)) if is_token(token) else None
        if row is None:
            raise Unauthenticated(_UNKNOWN)
        key = _cached_of(row)
        try:
            return key.admit(address)
        except AddressNotAllowed as refusal:
            self.count_refusal(key.caller.id, key.region, refusal, address)
            raise

    def count_use(self, key_id: str, region: str, address: str) -> None:
        """One more use of the key, from that address."""
        self._uses[region].count(key_id, address)

    def count_refusal(self, key_id: str, region: str, refusal: KeyRefused, address: str) -> None:
        """One more refusal of a key that works."""
        self._uses[region].count_refusal(key_id, refusal.why, address)

    async def run(self, stopping: asyncio.Event) -> None:
        """Stores uses each second until `stopping` is set, and once more then; a region that is away holds up none."""
        kept = [(self._uses[region], db) for region, db in self._regions.all() if region in self._uses]
        await asyncio.gather(*(use.run(db, stopping) for use, db in kept))

    async def operator(self, token: str) -> Caller:
        """The operator, where the token is the internal one; Unauthenticated."""
        if self._internal_token is None or not same(token, self._internal_token):
            raise Unauthenticated("The operators' token is wrong.")
        return Caller(kind="operator", id="operator", name="Operator", company_id="")

    def find_cached_key(self, token: str) -> CachedKey | None:
        """A key read within the last second, or None where `load_key` must be asked; no use is counted.
        Unauthenticated where the token cannot be a key or was unknown within the last second."""
        if not is_token(token):
            raise Unauthenticated(_UNKNOWN)
        digest, now = digest_of(token), self._clock.monotonic()
        entry = self._cache.get(digest)
        if entry is not None and now < entry[0]:
            self._cache.move_to_end(digest)
            return entry[1]
        if now < self._refused.get(digest, 0.0):
            raise Unauthenticated(_UNKNOWN)
        return None

    async def load_key(self, token: str) -> CachedKey:
        """The key as the database has it now, cached for up to a second; Unauthenticated. Simultaneous calls share
        one question."""
        digest = digest_of(token)
        task = self._loading.get(digest)
        if task is None:
            task = self._loading[digest] = asyncio.create_task(self._load(digest))
            task.add_done_callback(lambda _: self._loading.pop(digest, None))
        return await asyncio.shield(task)

    async def _load(self, digest: bytes) -> CachedKey:
        asked_at = self._clock.monotonic()
        row = await self._find_key(digest)
        if row is None:
            self._cache.pop(digest, None)
            _remember(self._refused, digest, asked_at + CACHE_SECONDS)
            raise Unauthenticated(_UNKNOWN)
        left = row["seconds_left"]
        lease = CACHE_SECONDS if left is None else min(left, CACHE_SECONDS)
        key = _cached_of(row)
        _remember(self._cache, digest, (asked_at + lease, key))
        return key

    async def _find_key(self, digest: bytes) -> Record | None:
        """The key, asked for where it was seen last, then in every other region's database at once.

        Unavailable where none has it that answers and one does not: nobody knows that it is no key.
        """
        if self._are_one:
            return await key_rows.find_valid_key_everywhere(self._db, digest)
        first = self._seen_in.get(digest, self._db)
        others = [db for _, db in self._regions.all() if db is not first]
        away: Unavailable | None = None
        for several in ([first], others):
            asked = (key_rows.find_valid_key_everywhere(db, digest) for db in several)
            for db, found in zip(several, await asyncio.gather(*asked, return_exceptions=True), strict=True):
                if isinstance(found, Unavailable):
                    away = found
                elif isinstance(found, BaseException):
                    raise found
                elif found is not None:
                    _remember(self._seen_in, digest, db)
                    return found
        if away is not None:
            raise away
        return None


def _remember(cache: OrderedDict[bytes, T], digest: bytes, value: T) -> None:
    """The value is the newest of at most CACHED_KEYS."""
    cache[digest] = value
    cache.move_to_end(digest)
    if len(cache) > CACHED_KEYS:
        cache.popitem(last=False)


def _cached_of(row: Record) -> CachedKey:
    caller = Caller(
        kind="workspace_key" if row["kind"] == "workspace" else "company_key",
        id=str(row["id"]),
        name=row["name"],
        company_id=str(row["company_id"]),
        workspace_id="" if row["workspace_id"] is None else str(row["workspace_id"]),
        read_only=row["read_only"],
        region=row["data_region"],
        scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
    )
    return CachedKey(caller, row["data_region"], networks_of(row["allow_list"]))
