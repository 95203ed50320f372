"""Takes deliveries to their endpoints: loaded together, sent with no connection held, recorded together."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from mainstay.kernel import telemetry
from mainstay.kernel.clock import Clock
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Answer, Outbound
from mainstay.kernel.telemetry import WEBHOOK_FIRST_SECONDS
from mainstay.kernel.work import Hold, Job, Outcome
from mainstay.webhooks import ladder, operational, pacing, signing, versions
from mainstay.webhooks.operational import Attempt
from mainstay.webhooks.pacing import ORDINARY, Gated, Held, Parcel, Policy, Turn
from mainstay.webhooks.queries import sending

SECRETS_REMEMBERED: Final = 10_000
LIMITS_REMEMBERED: Final = 10_000
UNWANTED: Final = "the webhook was switched off or deleted before this could be sent"
RESTORE: Final = "or restore MAINSTAY_SECRET_PREVIOUS"

_TICK_SECONDS: Final = 0.0005
_log = logger(__name__)


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """No request is made: the delivery is over, must not be sent (`delivery_id` set), or missed its turn (`slot`)."""

    delivery_id: str | None = None
    slot: int | None = None


class Courier:
    """Sends deliveries from one worker process; remembers opened secrets so that each is decrypted once."""

    def __init__(
        self, db: Database, *, keyring: Keyring, outbound: Outbound, brand: str, clock: Clock, worker: str
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._outbound = outbound
        self._brand = brand
        self._clock = clock
        self._worker = worker
        self._opened: dict[bytes, str] = {}
        self._limits: dict[str, int] = {}

    def lane_limit(self, lane: str) -> int:
        """How many deliveries of an endpoint this worker takes on at once, as far as it knows the endpoint."""
        return self._limits.get(lane, pacing.LANE_LIMIT)

    async def load(self, jobs: Sequence[Job]) -> Mapping[int, Parcel | Gated | Nothing]:
        """A parcel for every job whose delivery is open and wanted, gated where its endpoint asks for it."""
        rows = await sending.load_everywhere(self._db, [job.payload for job in jobs])
        now = self._clock.monotonic()
        found = {row["id"]: self.pack(row, now) for row in rows}
        nothing = Nothing()
        contexts: dict[int, Parcel | Gated | Nothing] = {job.id: found.get(job.payload, nothing) for job in jobs}
        gated = {row["id"] for row in rows if row["is_gated"]}
        if gated:
            asking = {
                job.id: parcel
                for job in jobs
                if job.payload in gated and isinstance(parcel := found[job.payload], Parcel)
            }
            contexts.update(await self.admit(asking))
        return contexts

    async def admit(self, asking: Mapping[int, Parcel]) -> dict[int, Gated]:
        """Each parcel, by job, with its turn, or the time after which to ask again."""
        asked = self._clock.monotonic()
        endpoint_ids = [parcel.endpoint_id for parcel in asking.values()]
        rows = await sending.admit_everywhere(self._db, endpoint_ids, list(asking)) if asking else []
        answered = self._clock.monotonic()
        gated = {}
        for job_id, is_admitted, wait_seconds in rows:
            parcel = asking[job_id]
            if not is_admitted and wait_seconds >= pacing.BREAKER_SECONDS:
                self._limits[parcel.endpoint_id] = 1
            is_paced = parcel.policy.rate is not None
            gated[job_id] = Gated(
                parcel,
                pacing.turn_of(wait_seconds, asked=asked, answered=answered, is_paced=is_paced)
                if is_admitted
                else Held(wait_seconds),
            )
        return gated

    def pack(self, row: Any, now: float) -> Parcel | Nothing:
        """What is sent for a loaded row; `now` is monotonic."""
        endpoint_id, text = row["endpoint_id"], row["policy"]
        policy = ORDINARY if text is None else pacing.policy_of(text)
        if policy is not ORDINARY or self._limits:
            self._learn_limit(endpoint_id, policy)
        if not row["is_wanted"] or row["message_id"] is None:
            return Nothing(row["id"])
        secrets: tuple[str, ...] = (self._open(row["secret_sealed"], endpoint_id),)
        if row["previous_sealed"] is not None:
            secrets += (self._open(row["previous_sealed"], endpoint_id),)
        fault = f"the webhook's secret cannot be opened: rotate it, {RESTORE}" if "" in secrets else None
        headers, trace_id, body = None, row["trace_id"], row["body"].encode()
        if row["headers_sealed"] is not None:
            opened = self._open(row["headers_sealed"], endpoint_id)
            headers = orjson.loads(opened) if opened else None
            if headers is None:
                fault = fault or f"the webhook's headers cannot be opened: set them again, {RESTORE}"
        if policy is not ORDINARY:
            body = versions.render(body, policy.version)
            if policy.trace != "propagate":
                trace_id = row["id"].replace("-", "") if policy.trace == "restart" else None
        return Parcel(
            row["id"],
            endpoint_id,
            row["url"],
            secrets,
            row["message_id"],
            row["type"],
            trace_id,
            body,
            row["attempts"],
            row["max_attempts"] - 1,
            now - row["age_seconds"] if row["is_first"] else None,
            policy,
            headers,
            fault,
        )

    def _learn_limit(self, endpoint_id: str, policy: Policy) -> None:
        if policy.lane_limit == pacing.LANE_LIMIT:
            self._limits.pop(endpoint_id, None)
            return
        if len(self._limits) >= LIMITS_REMEMBERED:
            self._limits.clear()
        self._limits[endpoint_id] = policy.lane_limit

    def _open(self, sealed: bytes, endpoint_id: str) -> str:
        """The sealed text; empty where it cannot be opened."""
        text = self._opened.get(sealed)
        if text is None:
            try:
                text = self._keyring.open(sealed, endpoint_id.encode()).decode()
            except Unsealable:
                _log.exception("a webhook's secret or headers cannot be opened", webhook=endpoint_id)
                return ""
            if len(self._opened) >= SECRETS_REMEMBERED:
                self._opened.clear()
            self._opened[sealed] = text
        return text

    async def act(self, job: Job, parcel: Parcel | Gated | Nothing) -> tuple[Outcome, Attempt | Nothing]:
        """One try was made, or none where there is nothing to send or it is not its turn; what becomes of the job."""
        if isinstance(parcel, Parcel):
            return await self.send(parcel)
        if isinstance(parcel, Nothing):
            return None, parcel
        if isinstance(parcel.turn, Held):
            return Hold(timedelta(seconds=parcel.turn.seconds), "the endpoint's limit or breaker"), Nothing()
        if not await self.reaches(parcel.turn):
            return Hold(timedelta(0), "too late for its place in the pace"), Nothing(slot=job.id)
        return await self.send(parcel.parcel, slot=job.id)

    async def reaches(self, turn: Turn) -> bool:
        """The turn has come, and is not over."""
        ahead = turn.earliest - self._clock.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead + _TICK_SECONDS)
        return self._clock.monotonic() <= turn.latest

    async def send(self, parcel: Parcel, *, slot: int | None = None) -> tuple[Outcome, Attempt]:
        """One try was made; what becomes of the delivery's job."""
        started, now = self._clock.monotonic(), self._clock.now()
        try:
            headers = self._headers(parcel, now)
        except ValueError as problem:
            refusal = Answer(None, "", {}, b"", False, 0.0, "", None, str(problem))
            return operational.judge(parcel, refusal, "unsendable", started=started, now=now, slot=slot)
        if parcel.accepted_at is not None:
            WEBHOOK_FIRST_SECONDS.observe(max(0.0, started - parcel.accepted_at))
        answer = await self._outbound.post(parcel.url, parcel.body, headers)
        outcome = ladder.outcome_of(answer.status, answer.error)
        return operational.judge(parcel, answer, outcome, started=started, now=now, slot=slot)

    def _headers(self, parcel: Parcel, now: datetime) -> dict[str, str]:
        if parcel.fault is not None:
            raise ValueError(parcel.fault)
        headers = signing.headers_for(
            brand=self._brand,
            webhook_id=parcel.endpoint_id,
            message_id=parcel.message_id,
            event_type=parcel.event_type,
            trace_id=parcel.trace_id,
            span_id=telemetry.current_trace().span_id,
            timestamp_seconds=int(now.timestamp()),
            secrets=parcel.secrets,
            body=parcel.body,
            scheme=parcel.policy.signing,
        )
        return headers if parcel.headers is None else {**parcel.headers, **headers}

    async def record(self, tx: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        """Every try is in the log and every delivery stands where its try left it."""
        attempts = [result for _, result, _ in results if isinstance(result, Attempt)]
        if attempts:
            await self.record_tries(tx, attempts)
        if len(attempts) < len(results):
            idle = [result for _, result, _ in results if isinstance(result, Nothing)]
            unwanted = [result.delivery_id for result in idle if result.delivery_id is not None]
            if unwanted:
                await sending.discard_everywhere(tx, unwanted, reason=UNWANTED)
            unused = [result.slot for result in idle if result.slot is not None]
            if unused:
                await sending.free_slots_everywhere(tx, unused)

    async def record_tries(self, tx: Tx, attempts: Sequence[Attempt]) -> None:
        """These tries are recorded, and what follows for their endpoints has followed."""
        columns = list(zip(*map(msgspec.structs.astuple, attempts), strict=True))
        failing = await sending.record_everywhere(
            tx,
            columns[: operational.RECORDED],
            slots=[slot for slot in columns[-1] if slot is not None],
            worker=self._worker,
            now=self._clock.monotonic(),
        )
        if failing or any(attempt.stop is not None or attempt.standing == "FAILED" for attempt in attempts):
            await operational.follow_up(tx, attempts, failing)
