"""The authentication log: what was refused to whom, gathered in memory and written once a second."""

import asyncio
import hmac
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import Counter

from mainstay import identity
from mainstay.incidents import queries
from mainstay.incidents.kinds import KINDS, Kind, kind_of
from mainstay.kernel import ids, telemetry
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database, Record
from mainstay.kernel.logs import logger
from mainstay.web.callers import address_of
from mainstay.web.refusals import Refusal

_log = logger(__name__)
FLUSH_SECONDS = 1.0
MOST_WAITING = 2_000
MOST_OF_AN_ADDRESS = 20
"""Different entries of one kind from one address between two writings; the others are counted in one."""
KEPT = timedelta(days=90)
_PRUNED_AT_ONCE = 5_000
_AGENT_CHARACTERS, _TEXT_CHARACTERS = 200, 200
_DIGEST = "auth-log email"
_ANY = "several"

REFUSALS = Counter("auth_refusals_total", "Requests refused for who is calling", ["kind"], registry=telemetry.REGISTRY)
LOST = Counter("auth_log_lost_total", "Refusals that the log has no entry for", registry=telemetry.REGISTRY)
for _kind in KINDS:
    REFUSALS.labels(_kind)


@dataclass(frozen=True, slots=True)
class Entry:
    """What was refused, as far as it is told apart: equal ones are counted in one."""

    kind: Kind
    reason: str
    address: str
    method: str = ""
    route: str = ""
    person_id: str | None = None
    email_digest: str | None = None
    company_id: str | None = None
    key_id: str | None = None
    user_agent: str = ""


@dataclass(slots=True)
class _Waiting:
    times: int
    first_at: float
    trace_id: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries are asked for; None is for all."""

    kind: str | None = None
    person_id: str | None = None
    company_id: str | None = None
    email: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuthLog:
    """The entries of one process that are not written yet."""

    def __init__(self, keyring: Keyring, clock: Clock | None = None) -> None:
        self._key = keyring.derive(_DIGEST)
        self._clock = clock or SystemClock()
        self._waiting: dict[Entry, _Waiting] = {}
        self._different: dict[tuple[Kind, str], int] = {}

    def note(self, refusal: Refusal) -> None:
        """The refusal is counted, and will be in the log; one that says nothing about who is calling is not."""
        kind = kind_of(refusal)
        if kind is None:
            return
        REFUSALS.labels(kind).inc()
        entry = self._entry_of(kind, refusal)
        if entry not in self._waiting and self._different.get((kind, entry.address), 0) >= MOST_OF_AN_ADDRESS:
            entry = Entry(kind, _ANY, entry.address)
        self._add(entry, _Waiting(1, self._clock.monotonic(), telemetry.current_trace().trace_id))

    def _add(self, entry: Entry, more: _Waiting) -> None:
        waiting = self._waiting.get(entry)
        if waiting is not None:
            waiting.times += more.times
        elif len(self._waiting) >= MOST_WAITING:
            LOST.inc(more.times)
        else:
            self._waiting[entry] = more
            place = (entry.kind, entry.address)
            self._different[place] = self._different.get(place, 0) + 1

    def _entry_of(self, kind: Kind, refusal: Refusal) -> Entry:
        error, subject = refusal.error, refusal.subject
        told = error.detail if error.code in ("unauthenticated", "forbidden") else error.code
        agents = [value for name, value in refusal.headers if name == b"user-agent"]
        return Entry(
            kind,
            _plain(told, _TEXT_CHARACTERS),
            _plain(address_of(refusal.client), _TEXT_CHARACTERS),
            _plain(refusal.method, 20),
            _plain(refusal.route, _TEXT_CHARACTERS),
            _id(subject.person_id),
            email_digest(self._key, subject.email).hex() if subject.email else None,
            _id(subject.company_id),
            _id(subject.key_id),
            _plain(agents[0].decode("latin-1"), _AGENT_CHARACTERS) if agents else "",
        )

    async def flush_once(self, db: Database) -> int:
        """What waited is in the log; how many entries. On an error they wait on, as long as there is room."""
        taken, self._waiting, self._different = self._waiting, {}, {}
        if not taken:
            return 0
        now = self._clock.monotonic()
        rows = [
            {**asdict(entry), "times": one.times, "trace_id": one.trace_id, "waited": max(0.0, now - one.first_at)}
            for entry, one in taken.items()
        ]
        try:
            await queries.add_entries_everywhere(db, rows)
        except BaseException:
            newer, self._waiting, self._different = self._waiting, {}, {}
            for entry, one in (*taken.items(), *newer.items()):
                self._add(entry, one)
            raise
        return len(rows)

    async def run(self, db: Database, stopping: asyncio.Event) -> None:
        """Writes each second until `stopping` is set, and once more then."""
        while not stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), FLUSH_SECONDS)
            try:
                await self.flush_once(db)
                telemetry.LOOP_LAST_RUN.labels("auth_log").set_to_current_time()
            except Exception:
                telemetry.LOOP_ERRORS.labels("auth_log").inc()
                _log.warning("refusals not written; they are kept", exc_info=True)


async def read_log(
    db: Connection, keyring: Keyring, filters: Filters, *, before: int | None = None, limit: int
) -> list[Record]:
    """Entries that match every filter, newest first, older than the id `before`."""
    given: dict[str, Any] = {
        "kind": filters.kind, "person_id": filters.person_id, "company_id": filters.company_id,
        "address": filters.address, "since": filters.since, "until": filters.until, "email_digests": None,
    }  # fmt: skip
    if filters.email is not None:
        given["email_digests"] = _digests(keyring, filters.email)
    return await queries.list_entries_everywhere(db, given, before=before, limit=limit)


def email_digest(key: bytes, email: str) -> bytes:
    """What the log holds in place of an email, letter case aside."""
    known = identity.names.find_email_key(email) or email.strip().lower()
    return hmac.digest(key, known.encode("utf-8", "replace"), "sha256")


def _digests(keyring: Keyring, email: str) -> Sequence[bytes]:
    return [email_digest(key, email) for key in keyring.derive_all(_DIGEST)]


async def prune(db: Connection) -> int:
    """Entries older than 90 days are gone; how many went."""
    gone = 0
    while (some := await queries.prune_entries_everywhere(db, KEPT, most=_PRUNED_AT_ONCE)) > 0:
        gone += some
    return gone


def _plain(text: Any, most: int) -> str:
    return "".join(one for one in str(text) if one.isprintable())[:most]


def _id(text: str) -> str | None:
    return text if ids.is_uuid(text) else None
