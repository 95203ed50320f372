"""The tables of the engine, as the migration makes them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    Interval,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from mainstay.kernel.db import metadata

_NOW = text("mainstay.now()")
_REGIONAL = {"scope": "regional"}
_ID = Sequence("jobs_id_seq", metadata=metadata, schema="mainstay")
_POS = Sequence("jobs_pos_seq", metadata=metadata, schema="mainstay")
_WAITING = text("state = 'waiting'")


def _word(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    server_default = None if default is None else text(f"'{default}'")
    return Column(name, Text(collation="C"), nullable=nullable, server_default=server_default)


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=_NOW if now else None)


queues = Table(
    "queues",
    metadata,
    Column("name", Text, primary_key=True),
    Column("priority", SmallInteger, nullable=False),
    _moment("paused_at", nullable=True),
    Column("paused_by", Text),
    Column("concurrency", Integer),
    Column("concurrency_by", Text),
    _moment("concurrency_at", nullable=True),
    CheckConstraint("concurrency between 1 and 10000", name="concurrency"),
    CheckConstraint("name <> '' and length(name) <= 100", name="name"),
    info=_REGIONAL,
)

workers = Table(
    "workers",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    _moment("started_at"),
    _moment("heartbeat_at"),
    _moment("ended_at", nullable=True),
    Column("end_reason", Text),
    Column("kinds", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("memory_share", REAL),
    _moment("memory_high_at", nullable=True),
    Column("slots", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    info=_REGIONAL,
)

job_kinds = Table(
    "job_kinds",
    metadata,
    Column("kind", Text(collation="C"), primary_key=True),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("backoff", Text),
    Column("is_public", Boolean, nullable=False),
    _moment("seen_at"),
    info=_REGIONAL,
)

kind_pauses = Table(
    "kind_pauses",
    metadata,
    Column("kind", Text(collation="C"), primary_key=True),
    Column("share", SmallInteger, nullable=False),
    _moment("paused_at", now=True),
    Column("paused_by", Text, nullable=False),
    CheckConstraint("share between 0 and 99", name="share"),
    info=_REGIONAL,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, server_default=_ID.next_value()),
    Column("pos", BigInteger, nullable=False, server_default=_POS.next_value()),
    Column("worker_id", BigInteger),
    _moment("enqueued_at", now=True),
    _moment("due_at", nullable=True),
    _moment("started_at", nullable=True),
    Column("company_id", Uuid),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("priority", SmallInteger, nullable=False, server_default=text("5")),
    Column("attempt", SmallInteger, nullable=False, server_default=text("0")),
    Column("max_attempts", SmallInteger, nullable=False, server_default=text("3")),
    _word("state", default="waiting"),
    _word("queue"),
    _word("kind"),
    _word("lane", default=""),
    _word("trace_id", default=""),
    _word("dedupe_key", nullable=True),
    _word("backoff", nullable=True),
    Column("payload", JSONB, nullable=False),
    CheckConstraint("state in ('waiting', 'delayed', 'active', 'retrying', 'parked')", name="state"),
    CheckConstraint("priority between 0 and 10", name="priority"),
    CheckConstraint("max_attempts between 1 and 1000", name="max_attempts"),
    CheckConstraint("due_at is not null or state not in ('delayed', 'retrying')", name="due"),
    Index("jobs_arrival_idx", "queue", "pos", postgresql_where=_WAITING),
    Index("jobs_line_idx", "queue", "priority", "lane", "pos", postgresql_where=_WAITING),
    Index("jobs_due_idx", "due_at", postgresql_where=text("state in ('delayed', 'retrying')")),
    Index("jobs_resting_idx", "queue", "state", "id", postgresql_where=text("state in ('delayed', 'retrying')")),
    Index("jobs_parked_idx", "queue", "kind", "pos", postgresql_where=text("state = 'parked'")),
    Index("jobs_active_idx", "worker_id", postgresql_where=text("state = 'active'")),
    Index("jobs_dedupe_key_key", "kind", "dedupe_key", unique=True, postgresql_where=text("dedupe_key is not null")),
    info=_REGIONAL,
)

finished_jobs = Table(
    "finished_jobs",
    metadata,
    Column("id", BigInteger, nullable=False),
    Column("worker_id", BigInteger),
    _moment("enqueued_at"),
    _moment("started_at", nullable=True),
    _moment("finished_at", now=True),
    Column("company_id", Uuid),
    Column("duration_ms", REAL),
    Column("attempt", SmallInteger, nullable=False),
    _word("outcome"),
    _word("queue"),
    _word("kind"),
    _word("lane"),
    _word("trace_id"),
    Column("payload", JSONB, nullable=False),
    CheckConstraint("outcome in ('completed', 'cancelled')", name="outcome"),
    Index(
        "finished_jobs_id_idx",
        "id",
        postgresql_using="brin",
        postgresql_ops={"id": "int8_minmax_multi_ops"},
        postgresql_with={"autosummarize": "on"},
    ),
    Index(
        "finished_jobs_finished_at_idx", "finished_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}
    ),
    postgresql_partition_by="range (finished_at)",
    info=_REGIONAL,
)

job_attempts = Table(
    "job_attempts",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("worker_id", BigInteger),
    _moment("started_at"),
    _moment("finished_at", now=True),
    Column("duration_ms", REAL),
    Column("attempt", SmallInteger, nullable=False),
    _word("outcome"),
    _word("queue"),
    _word("kind"),
    Column("error", Text, nullable=False),
    CheckConstraint("outcome in ('failed', 'timeout', 'lost', 'discarded')", name="outcome"),
    Index("job_attempts_job_id_idx", "job_id"),
    Index("job_attempts_kind_idx", "kind", "finished_at"),
    postgresql_partition_by="range (finished_at)",
    info=_REGIONAL,
)

dead_jobs = Table(
    "dead_jobs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("worker_id", BigInteger),
    _moment("enqueued_at"),
    _moment("started_at", nullable=True),
    _moment("died_at", now=True),
    Column("company_id", Uuid),
    Column("epoch", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("max_attempts", SmallInteger, nullable=False),
    _word("reason"),
    _word("queue"),
    _word("kind"),
    _word("lane"),
    _word("trace_id"),
    _word("dedupe_key", nullable=True),
    _word("backoff", nullable=True),
    Column("error", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    CheckConstraint("reason in ('failed', 'timeout', 'lost', 'discarded')", name="reason"),
    Index("dead_jobs_queue_died_at_idx", "queue", "died_at", "id"),
    Index("dead_jobs_died_at_idx", "died_at"),
    Index("dead_jobs_delivery_idx", "payload", postgresql_where=text("kind = 'webhooks.deliver'")),
    info=_REGIONAL,
)

queue_tallies = Table(
    "queue_tallies",
    metadata,
    Column("queue", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("completed", BigInteger, nullable=False),
    info=_REGIONAL,
)

queue_minutes = Table(
    "queue_minutes",
    metadata,
    _word("queue"),
    _moment("minute"),
    Column("waiting", Integer, nullable=False),
    Column("active", Integer, nullable=False),
    Column("retrying", Integer, nullable=False),
    Column("dead", Integer, nullable=False),
    PrimaryKeyConstraint("minute", "queue"),
    info=_REGIONAL,
)

kind_minutes = Table(
    "kind_minutes",
    metadata,
    _moment("minute"),
    _word("queue"),
    _word("kind"),
    _word("outcome"),
    _word("error_class"),
    Column("attempts", BigInteger, nullable=False),
    CheckConstraint("outcome in ('completed', 'retried', 'dead')", name="outcome"),
    PrimaryKeyConstraint("minute", "queue", "kind", "outcome", "error_class"),
    info=_REGIONAL,
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text(collation="C"), primary_key=True),
    _word("family"),
    Column("title", Text, nullable=False),
    _word("kind"),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("slots", Text, nullable=False),
    _word("missed"),
    Column("late_after", Interval, nullable=False),
    _moment("seen_at"),
    CheckConstraint("missed in ('latest', 'skip')", name="missed"),
    info=_REGIONAL,
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("schedule", Text),
    _moment("due_at"),
    Column("job_id", BigInteger),
    _moment("recorded_at", now=True),
    Column("is_covered", Boolean),
    Column("missed", Integer),
    PrimaryKeyConstraint("schedule", "due_at"),
    info=_REGIONAL,
)

schedule_jobs = Table(
    "schedule_jobs",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    _word("schedule"),
    _moment("due_at", nullable=True),
    Column("asked_by", Text),
    _moment("enqueued_at", now=True),
    _moment("started_at", nullable=True),
    _moment("late_at", nullable=True),
    _moment("ended_at", nullable=True),
    Column("duration_ms", REAL),
    Column("attempt", SmallInteger),
    _word("outcome", nullable=True),
    CheckConstraint("outcome in ('completed', 'dead', 'cancelled')", name="outcome"),
    Index("schedule_jobs_schedule_idx", "schedule", "job_id"),
    Index("schedule_jobs_unended_idx", "job_id", postgresql_where=text("ended_at is null")),
    info=_REGIONAL,
)

bulk_acts = Table(
    "bulk_acts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job_id", BigInteger),
    _moment("created_at", now=True),
    _moment("started_at", nullable=True),
    _moment("finished_at", nullable=True),
    Column("counted", Integer, nullable=False),
    Column("done", BigInteger, nullable=False, server_default=text("0")),
    Column("is_floor", Boolean, nullable=False),
    _word("act"),
    _word("queue"),
    _word("state"),
    Column("filter", JSONB, nullable=False),
    Column("asked_by", JSONB, nullable=False),
    Column("position", JSONB),
    Column("error", Text),
    CheckConstraint("act in ('redrive', 'clear', 'cancel', 'promote')", name="act"),
    CheckConstraint("state in ('waiting', 'running', 'done', 'cancelled')", name="state"),
    info=_REGIONAL,
)

test_runs = Table(
    "test_runs",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    _moment("asked_at", now=True),
    _word("kind"),
    Column("asked_by", JSONB, nullable=False),
    info=_REGIONAL,
)

enqueue_requests = Table(
    "enqueue_requests",
    metadata,
    Column("id", Uuid, primary_key=True),
    _moment("at", now=True),
    Column("job_ids", ARRAY(BigInteger), nullable=False),
    info=_REGIONAL,
)
