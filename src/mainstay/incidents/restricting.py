"""Restricted mode: people's routes closed by operators, known to every process within a second."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson
from prometheus_client import Gauge

from mainstay.incidents import queries
from mainstay.incidents.errors import Restricted
from mainstay.kernel import ids, outbox, telemetry
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.web.asgi import Scope

_log = logger(__name__)
FRESH_SECONDS = 0.5
"""How long an answer of the database is trusted; with the time of asking, less than a second."""
PATIENCE_SECONDS = 0.4
"""How long a request waits for a database that is slow before what was known last holds."""
SHORTEST_REASON, LONGEST_REASON = 3, 500
GOES_ON = ("/api/v1/health", "/api/v1/metrics")
STATS = "/api/v1/queue/stats"
RESTRICTED = Gauge("restricted_mode", "1 while people's routes are closed", registry=telemetry.REGISTRY)


@dataclass(frozen=True, slots=True)
class Restriction:
    """Why people's routes are closed, since when, and who closed them."""

    id: str
    reason: str
    since: datetime
    by: Mapping[str, Any]


class Mode:
    """What this process knows: asks the database at most each half second, for all requests together."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()
        self._known: Restriction | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._is_told = False

    async def current(self) -> Restriction | None:
        """The restriction that holds, or None; where the database does not answer, as was known last."""
        if self._clock.monotonic() >= self._asked_at + FRESH_SECONDS:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            await asyncio.wait([self._asking], timeout=PATIENCE_SECONDS)
        return self._known

    async def is_on(self) -> bool:
        """Whether people's routes are closed."""
        return await self.current() is not None

    async def check(self, scope: Scope) -> None:
        """Restricted where the request is for a person's route of the API and those are closed."""
        if is_of_people(scope["path"], is_operators=_has_operators_token(scope)) and await self.current() is not None:
            raise Restricted

    def forget(self) -> None:
        """The next to ask hears from the database: something was changed by this process."""
        self._asked_at = float("-inf")

    async def _ask(self) -> None:
        try:
            asked_at = self._clock.monotonic()
            self._known = await find_restriction(self._db)
            self._asked_at = asked_at
            self._is_told = False
            RESTRICTED.set(self._known is not None)
        except Exception:
            self._asked_at = self._clock.monotonic()
            if not self._is_told:
                _log.warning("whether people's routes are closed could not be read; the last known state holds")
            self._is_told = True
        finally:
            self._asking = None


def is_of_people(path: str, *, is_operators: bool = False) -> bool:
    """Whether the path is one of the API's for people: all of `/api/v1` but health, metrics, and the figures of
    queues for operators. Pages of the console ask for themselves."""
    if not path.startswith("/api/v1/"):
        return False
    return not (path.startswith(GOES_ON) or (path == STATS and is_operators))


def _has_operators_token(scope: Scope) -> bool:
    return any(name == b"x-internal-token" for name, _ in scope["headers"])


async def find_restriction(db: Connection) -> Restriction | None:
    """The restriction that holds now, or None."""
    row = await queries.find_open_everywhere(db)
    return None if row is None else _restriction_of(row)


async def restrict(tx: Tx, actor: Actor, *, reason: str) -> Restriction:
    """People's routes are closed everywhere within a second, and `restriction.set` is announced; where they were
    already the reason is another one. Invalid for a reason that is none."""
    reason = " ".join(reason.split())
    if not (SHORTEST_REASON <= len(reason) <= LONGEST_REASON and reason.isprintable()):
        detail = f"must have {SHORTEST_REASON} to {LONGEST_REASON} printable characters"
        raise Invalid(faults=[Fault(detail, "#/reason")])
    made = _restriction_of(await queries.restrict_everywhere(tx, ids.new_id(), reason, _shown(actor)))
    await outbox.announce(tx, "restriction.set", company_id=None, actor=actor, data={"id": made.id, "reason": reason})
    return made


async def lift(tx: Tx, actor: Actor) -> Restriction | None:
    """People's routes are open everywhere within a second, and `restriction.lifted` is announced; what held until
    now, or None where nothing did."""
    row = await queries.lift_everywhere(tx, _shown(actor))
    if row is None:
        return None
    held = _restriction_of(row)
    data = {"id": held.id, "reason": held.reason}
    await outbox.announce(tx, "restriction.lifted", company_id=None, actor=actor, data=data)
    return held


def _restriction_of(row: Record) -> Restriction:
    return Restriction(str(row["id"]), row["reason"], row["since"], orjson.loads(row["set_by"]))


def _shown(actor: Actor) -> str:
    return msgspec.json.encode(actor).decode()
