"""Metrics with their documented names, and the ids that tie a request, its job and its webhook together."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from mainstay.kernel import ids

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_part: ContextVar[str] = ContextVar("mainstay_part", default="")


def enter_part(name: str) -> None:
    """What the current task, and those it starts, tell parted gauges is about that part of the service (a region)."""
    _part.set(name)


def current_part() -> str:
    """The part that the current task entered; empty where it entered none."""
    return _part.get()


class _Sum(Gauge):
    """A gauge that several parts of a process set, each for itself: it shows them together."""

    combine: Callable[[Iterable[float]], float] = sum

    def _metric_init(self) -> None:
        super()._metric_init()
        self._of_part: dict[str, float] = {}

    def set(self, value: float) -> None:
        """The part of the current task stands at that value."""
        self._of_part[_part.get()] = float(value)
        super().set(type(self).combine(self._of_part.values()))


class _Most(_Sum):
    """The same, showing the highest of the parts."""

    combine: Any = max


class _Least(_Sum):
    """The same, showing the lowest of the parts."""

    combine: Any = min


HTTP_SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time from request line to last byte",
    ["method", "route", "status"],
    buckets=_FAST,
    registry=REGISTRY,
)
HTTP_REQUESTS = Counter("http_requests_total", "Requests answered", ["method", "route", "status"], registry=REGISTRY)
HTTP_ERRORS = Counter(
    "http_request_errors_total", "Requests answered with 400 or more", ["method", "route", "status"], registry=REGISTRY
)
HTTP_ACTIVE = Gauge("http_requests_active", "Requests being answered now", registry=REGISTRY)
QUERY_SECONDS = Histogram(
    "db_query_duration_seconds", "Time of one statement", ["operation"], buckets=_FAST, registry=REGISTRY
)
POOL_SIZE = Gauge("db_connection_pool_size", "Connections that the pool holds", registry=REGISTRY)
JOB_SECONDS = Histogram(
    "queue_job_duration_seconds", "Time of one attempt", ["queue"], buckets=_FAST, registry=REGISTRY
)
JOBS = Counter("queue_jobs_total", "Jobs that ended: completed or dead", ["queue", "outcome"], registry=REGISTRY)
JOB_ERRORS = Counter("queue_job_errors_total", "Attempts that failed", ["queue"], registry=REGISTRY)
JOB_FAILURES = Counter(
    "queue_job_failures_total", "Attempts that failed, by class of error", ["queue", "error_class"], registry=REGISTRY
)
KIND_ATTEMPTS = Counter(
    "job_kind_attempts_total", "Attempts: completed, retried or dead", ["kind", "outcome"], registry=REGISTRY
)
KIND_SUCCESS = _Least(
    "job_kind_success_ratio", "Jobs that completed, of those that ended in the last 15 min", ["kind"], registry=REGISTRY
)
KIND_RETRIES = _Sum("job_kind_retries", "Attempts of the last 15 min that are tried again", ["kind"], registry=REGISTRY)
QUEUE_SIZE = _Sum("queue_size", "Jobs waiting to be started", ["queue"], registry=REGISTRY)
QUEUE_DEPTH = _Sum("queue_depth", "Unfinished and dead jobs by state", ["queue", "state"], registry=REGISTRY)
QUEUE_OLDEST = _Most(
    "queue_oldest_ready_seconds", "How long the first job in line could have been started", ["queue"], registry=REGISTRY
)
SCHEDULE_LATENESS = Histogram(
    "schedule_lateness_seconds",
    "From the time a slot was due until its run began",
    ["family"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
    registry=REGISTRY,
)
SCHEDULE_RUNS = Counter(
    "schedule_runs_total", "Runs of schedules that ended", ["schedule", "outcome"], registry=REGISTRY
)
SCHEDULE_MISSED = Counter(
    "schedule_missed_total", "Slots that passed without a run because no worker ran", ["schedule"], registry=REGISTRY
)
EVENTS = Counter("events_ingested_total", "Events stored", ["outcome"], registry=REGISTRY)
EVENTS_PER_FLUSH = Histogram(
    "events_per_flush",
    "Events that share one transaction",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    registry=REGISTRY,
)
WEBHOOK_ATTEMPTS = Counter("webhook_attempts_total", "Attempts at deliveries", ["outcome"], registry=REGISTRY)
WEBHOOK_FIRST_SECONDS = Histogram(
    "webhook_first_attempt_seconds",
    "From acceptance of the event to the first attempt",
    buckets=_FAST,
    registry=REGISTRY,
)
ANNOUNCEMENT_LAG = _Most(
    "announcement_lag_seconds", "Age of the oldest announcement not yet reacted to", registry=REGISTRY
)
EMITTED = _Sum(
    "emitted_events", "Events that transactions emitted, not in their chain yet", ["state"], registry=REGISTRY
)
EMITTED_LAG = _Most("emitted_lag_seconds", "How long the oldest waiting emitted event has waited", registry=REGISTRY)
ANNOUNCEMENTS_STUCK = _Sum("announcements_stuck", "Announcements whose reaction keeps failing", registry=REGISTRY)
FUNCTION_RUNS = Counter(
    "function_runs_total", "Runs of functions that ended or were skipped", ["function", "outcome"], registry=REGISTRY
)
FUNCTION_STEPS = Counter(
    "function_steps_total", "Attempts at steps of functions", ["function", "outcome"], registry=REGISTRY
)
FUNCTION_OPEN = _Sum("function_runs_open", "Runs of functions that have not ended", ["state"], registry=REGISTRY)
LOOP_LAST_RUN = _Least(
    "loop_last_run_timestamp_seconds", "When each loop of this process last ended a round", ["loop"], registry=REGISTRY
)
LOOP_ERRORS = Counter("loop_errors_total", "Rounds of a loop that raised", ["loop"], registry=REGISTRY)

_query_meters: dict[str, Histogram] = {}


def observe_query(operation: str, seconds: float) -> None:
    """One more statement in `db_query_duration_seconds`."""
    meter = _query_meters.get(operation)
    if meter is None:
        meter = _query_meters[operation] = QUERY_SECONDS.labels(operation)
    meter.observe(seconds)


class RequestMeter:
    """The three request figures of one (method, route, status), looked up once."""

    __slots__ = ("_errors", "_requests", "_seconds")
    _known: ClassVar[dict[tuple[str, str, int], "RequestMeter"]] = {}

    def __init__(self, method: str, route: str, status: int) -> None:
        labels = (method, route, str(status))
        self._seconds = HTTP_SECONDS.labels(*labels)
        self._requests = HTTP_REQUESTS.labels(*labels)
        self._errors = HTTP_ERRORS.labels(*labels) if status >= 400 else None

    @classmethod
    def of(cls, method: str, route: str, status: int) -> "RequestMeter":
        """The meter of that method, route pattern and status."""
        key = (method, route, status)
        meter = cls._known.get(key)
        if meter is None:
            meter = cls._known[key] = cls(method, route, status)
        return meter

    def count(self, seconds: float) -> None:
        """One more request that took that long."""
        self._seconds.observe(seconds)
        self._requests.inc()
        if self._errors is not None:
            self._errors.inc()


@dataclass(frozen=True, slots=True)
class Trace:
    """The ids of one piece of work: W3C trace and span id, and the request id that its caller knows."""

    trace_id: str
    span_id: str
    request_id: str

    @property
    def traceparent(self) -> str:
        """The header value that continues this trace."""
        return f"00-{self.trace_id}-{self.span_id}-01"


_current: ContextVar[Trace | None] = ContextVar("mainstay_trace", default=None)
_HEX = frozenset("0123456789abcdef")
_REQUEST_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


def start_trace(traceparent: str | None, request_id: str | None) -> Trace:
    """A trace that continues a valid `traceparent` and keeps a well-formed request id (1 to 128 of [A-Za-z0-9-_.:])."""
    trace_id = _trace_id_of(traceparent) if traceparent else None
    if request_id and not (len(request_id) <= 128 and _REQUEST_ID_CHARACTERS.issuperset(request_id)):
        request_id = None
    trace_id = trace_id or ids.new_trace_id()
    return Trace(trace_id, trace_id[:16] if not traceparent else ids.new_span_id(), request_id or trace_id)


def _trace_id_of(traceparent: str) -> str | None:
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or parts[0] == "ff" or (parts[0] == "00" and len(parts) != 4):
        return None
    trace_id, span_id = parts[1], parts[2]
    if len(trace_id) != 32 or len(span_id) != 16 or not _HEX.issuperset(parts[0] + trace_id + span_id + parts[3]):
        return None
    return None if trace_id == "0" * 32 or span_id == "0" * 16 else trace_id


def enter_trace(trace: Trace | None) -> None:
    """The current task works under this trace."""
    _current.set(trace)


def current_trace() -> Trace:
    """The trace of the current task; a fresh one where none was entered."""
    trace = _current.get()
    if trace is None:
        trace = start_trace(None, None)
        _current.set(trace)
    return trace
