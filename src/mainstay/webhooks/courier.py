"""Takes deliveries to their endpoints: loaded together, sent with no connection held, recorded together."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import orjson

from mainstay.kernel import outbox, telemetry
from mainstay.kernel.clock import Clock
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Answer, Outbound
from mainstay.kernel.outbox import Actor
from mainstay.kernel.telemetry import WEBHOOK_ATTEMPTS, WEBHOOK_FIRST_SECONDS
from mainstay.kernel.work import Discard, Job, Outcome, Snooze
from mainstay.webhooks import ladder, signing
from mainstay.webhooks.queries import sending

BODY_BYTES_KEPT: Final = 4_096
SECRETS_REMEMBERED: Final = 10_000
GONE: Final = "the receiver answered 410 Gone"
UNWANTED: Final = "the webhook was switched off or deleted before this could be sent"

_log = logger(__name__)
_RULE = Actor(kind="rule", id="webhooks.gone", name="410 Gone")
_counters: dict[ladder.Outcome, Any] = {}


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """One delivery with all that sending it needs."""

    delivery_id: str
    endpoint_id: str
    url: str
    secrets: tuple[str, ...]
    message_id: str
    event_type: str
    trace_id: str
    body: bytes
    attempts_made: int
    retries: int
    accepted_at: float | None


class Nothing(msgspec.Struct, frozen=True, gc=False):
    """A job whose delivery is over, or must not be sent (`delivery_id` set): no request is made."""

    delivery_id: str | None = None


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try, and where it leaves its delivery, in the order in which it is recorded. `started` is monotonic."""

    delivery_id: str
    number: int
    started: float
    duration_ms: int
    outcome: ladder.Outcome
    status_code: int | None
    error: str | None
    headers: str
    body: str
    address: str
    standing: str
    wait_seconds: float | None
    endpoint_id: str


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

    async def load(self, jobs: Sequence[Job]) -> Mapping[int, Parcel | Nothing]:
        """A parcel for every job whose delivery is open and wanted."""
        rows = await sending.load_everywhere(self._db, [job.payload for job in jobs])
        now = self._clock.monotonic()
        found = {row["id"]: self._pack(row, now) for row in rows}
        nothing = Nothing()
        return {job.id: found.get(job.payload, nothing) for job in jobs}

    def _pack(self, row: Any, now: float) -> Parcel | Nothing:
        if not row["is_wanted"] or row["message_id"] is None:
            return Nothing(row["id"])
        endpoint_id = row["endpoint_id"]
        secrets: tuple[str, ...] = (self._open(row["secret_sealed"], endpoint_id),)
        if row["previous_sealed"] is not None:
            secrets += (self._open(row["previous_sealed"], endpoint_id),)
        return Parcel(
            row["id"],
            endpoint_id,
            row["url"],
            secrets,
            row["message_id"],
            row["type"],
            row["trace_id"],
            row["body"].encode(),
            row["attempts"],
            row["max_attempts"] - 1,
            now - row["age_seconds"] if row["is_first"] else None,
        )

    def _open(self, sealed: bytes, endpoint_id: str) -> str:
        """The secret's text; empty where it cannot be opened."""
        secret = self._opened.get(sealed)
        if secret is None:
            try:
                secret = self._keyring.open(sealed, endpoint_id.encode()).decode()
            except Unsealable:
                _log.exception("a webhook's secret cannot be opened", webhook=endpoint_id)
                return ""
            if len(self._opened) >= SECRETS_REMEMBERED:
                self._opened.clear()
            self._opened[sealed] = secret
        return secret

    async def act(self, job: Job, parcel: Parcel | Nothing) -> tuple[Outcome, Attempt | Nothing]:
        """One try was made, or none where there is nothing to send; what becomes of the job."""
        if isinstance(parcel, Nothing):
            return None, parcel
        started, now = self._clock.monotonic(), self._clock.now()
        try:
            headers = self._headers(parcel, now)
        except ValueError as problem:
            refusal = Answer(None, "", {}, b"", False, 0.0, "", None, str(problem))
            return self._judge(parcel, started, now, "unsendable", refusal)
        if parcel.accepted_at is not None:
            WEBHOOK_FIRST_SECONDS.observe(max(0.0, started - parcel.accepted_at))
        answer = await self._outbound.post(parcel.url, parcel.body, headers)
        return self._judge(parcel, started, now, ladder.outcome_of(answer.status, answer.error), answer)

    def _headers(self, parcel: Parcel, now: datetime) -> dict[str, str]:
        if "" in parcel.secrets:
            raise ValueError("the webhook's secret cannot be opened: rotate it, or restore MAINSTAY_SECRET_PREVIOUS")
        return signing.headers_for(
            brand=self._brand,
            webhook_id=parcel.endpoint_id,
            message_id=parcel.message_id,
            event_type=parcel.event_type,
            trace_id=parcel.trace_id,
            span_id=telemetry.current_trace().span_id,
            timestamp_seconds=int(now.timestamp()),
            secrets=parcel.secrets,
            body=parcel.body,
        )

    def _judge(
        self, parcel: Parcel, started: float, now: datetime, outcome: ladder.Outcome, answer: Answer
    ) -> tuple[Outcome, Attempt]:
        number = parcel.attempts_made + 1
        verdict = ladder.after(
            outcome,
            status=answer.status,
            attempts_made=number,
            retries=parcel.retries,
            retry_after=answer.headers.get("retry-after"),
            now=now,
        )
        error = _explain(outcome, answer)
        ending: Outcome = None
        standing, wait_seconds = "FAILED", None
        if isinstance(verdict, ladder.Delivered):
            standing = "DELIVERED"
        elif isinstance(verdict, ladder.RetryAfter):
            standing, wait_seconds = "RETRYING", verdict.wait.total_seconds()
            ending = Snooze(verdict.wait, error or "")
        else:
            ending = Discard(error or "")
        _count(outcome)
        return ending, Attempt(
            parcel.delivery_id,
            number,
            started,
            round(answer.duration_seconds * 1_000),
            outcome,
            answer.status,
            error,
            orjson.dumps(answer.headers).decode().replace("\\u0000", "\\ufffd"),
            answer.body[:BODY_BYTES_KEPT].decode("utf-8", "replace").replace("\0", "\ufffd"),
            answer.address,
            standing,
            wait_seconds,
            parcel.endpoint_id,
        )

    async def record(self, tx: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        """Every try is in the log and every delivery stands where its try left it."""
        attempts = [result for _, result, _ in results if isinstance(result, Attempt)]
        if attempts:
            *columns, _ = zip(*map(msgspec.structs.astuple, attempts), strict=True)
            await sending.record_everywhere(tx, columns, worker=self._worker, now=self._clock.monotonic())
            await self._disable_gone(tx, attempts)
        unwanted = [r.delivery_id for _, r, _ in results if isinstance(r, Nothing) and r.delivery_id is not None]
        if unwanted:
            await sending.discard_everywhere(tx, unwanted, reason=UNWANTED)

    async def _disable_gone(self, tx: Tx, attempts: Sequence[Attempt]) -> None:
        gone = sorted({attempt.endpoint_id for attempt in attempts if attempt.outcome == "gone"})
        if not gone:
            return
        for row in await sending.disable_endpoints_everywhere(tx, gone, reason=GONE):
            await outbox.announce(
                tx,
                "endpoint.disabled",
                company_id=row["company_id"],
                actor=_RULE,
                data={"endpointId": row["id"], "url": row["url"], "reason": GONE},
            )


def _explain(outcome: ladder.Outcome, answer: Answer) -> str | None:
    """Why the try failed, in words; None where it did not."""
    if outcome == "delivered":
        return None
    if outcome in ("status", "gone"):
        return f"the receiver answered {answer.status} {answer.reason}".rstrip()
    if outcome == "redirect":
        return f"the receiver answered {answer.status}: redirects are not followed"
    return f"{outcome}: {answer.error_detail}"


def _count(outcome: ladder.Outcome) -> None:
    counter = _counters.get(outcome)
    if counter is None:
        counter = _counters[outcome] = WEBHOOK_ATTEMPTS.labels(outcome)
    counter.inc()
