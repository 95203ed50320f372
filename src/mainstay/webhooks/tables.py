"""Endpoints and what is known of their health; messages, deliveries and attempts, cut by week and kept for 30 days."""

from datetime import timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mainstay.kernel.db import metadata
from mainstay.kernel.partitions import Partitioned

KEPT = timedelta(days=30)
NOW = text("mainstay.now()")
_TIME = DateTime(timezone=True)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid),
    Column("url", Text),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("events", ARRAY(Text), nullable=False),
    Column("retries", SmallInteger, nullable=False, server_default=text("4")),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_at", _TIME),
    Column("disabled_reason", Text),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("previous_secret_sealed", LargeBinary),
    Column("previous_secret_until", _TIME),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("created_by", JSONB, nullable=False),
    Column("updated_at", _TIME, nullable=False, server_default=NOW),
    Column("deleted_at", _TIME),
    Column("kind", Text, nullable=False, server_default=text("'push'")),
    Column("retry_profile", Text, nullable=False, server_default=text("'standard'")),
    Column("signing", Text, nullable=False, server_default=text("'hmac'")),
    Column("is_fifo", Boolean, nullable=False, server_default=text("false")),
    Column("rate_limit_per_second", Integer),
    Column("concurrency", SmallInteger),
    Column("headers_sealed", LargeBinary),
    Column("header_names", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("trace_context", Text, nullable=False, server_default=text("'propagate'")),
    Column("payload_version", SmallInteger, nullable=False, server_default=text("1")),
    Column("filter", JSONB),
    Column("filter_path", Text),
    CheckConstraint("retries between 0 and 10", name="retries"),
    CheckConstraint("cardinality(events) between 1 and 100", name="events"),
    CheckConstraint("kind in ('push', 'pull') and (kind = 'push') = (url is not null)", name="kind"),
    CheckConstraint("retry_profile in ('standard', 'three_days')", name="retry_profile"),
    CheckConstraint("signing in ('hmac', 'ed25519')", name="signing"),
    CheckConstraint("rate_limit_per_second between 1 and 10000", name="rate_limit"),
    CheckConstraint("concurrency between 1 and 10", name="concurrency"),
    CheckConstraint("trace_context in ('propagate', 'restart', 'off')", name="trace_context"),
    CheckConstraint("payload_version between 1 and 2", name="payload_version"),
    CheckConstraint("(filter is null) = (filter_path is null)", name="filter"),
    Index("endpoints_company_id_id_idx", "company_id", "id", postgresql_where=text("deleted_at is null")),
    Index(
        "endpoints_previous_secret_until_idx",
        "previous_secret_until",
        postgresql_where=text("previous_secret_until is not null"),
    ),
    info={"scope": "regional"},
)

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Index("messages_company_id_id_idx", "company_id", "id"),
    postgresql_partition_by="range (id)",
    info={"scope": "regional"},
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("message_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("company_id", Uuid, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'PENDING'")),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("next_attempt_at", _TIME),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("updated_at", _TIME, nullable=False, server_default=NOW),
    Column("last_status_code", SmallInteger),
    Column("last_error", Text),
    Column("delivered_at", _TIME),
    Column("replay_of", Uuid),
    CheckConstraint("status in ('PENDING', 'RETRYING', 'DELIVERED', 'FAILED', 'DISCARDED')", name="status"),
    Index("deliveries_endpoint_id_id_idx", "endpoint_id", "id"),
    Index(
        "deliveries_next_attempt_at_idx",
        "next_attempt_at",
        postgresql_where=text("status in ('PENDING', 'RETRYING')"),
    ),
    Index(
        "deliveries_replayed_idx",
        "endpoint_id",
        "message_id",
        postgresql_where=text("replay_of is not null"),
    ),
    postgresql_partition_by="range (id)",
    info={"scope": "regional"},
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("number", SmallInteger, primary_key=True),
    Column("started_at", _TIME, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status_code", SmallInteger),
    Column("error", Text),
    Column("response_headers", JSONB, nullable=False),
    Column("response_body", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("worker", Text, nullable=False),
    postgresql_partition_by="range (delivery_id)",
    info={"scope": "regional"},
)

endpoint_health = Table(
    "endpoint_health",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", _TIME),
    Column("days", SmallInteger, nullable=False, server_default=text("1")),
    Column("day_at", _TIME, nullable=False, server_default=NOW),
    Column("warned", SmallInteger, nullable=False, server_default=text("0")),
    Column("trips", SmallInteger, nullable=False, server_default=text("0")),
    Column("open_until", _TIME),
    Column("updated_at", _TIME, nullable=False, server_default=NOW),
    postgresql_with={"fillfactor": "70"},
    info={"scope": "regional"},
)

endpoint_paces = Table(
    "endpoint_paces",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("next_at", _TIME, nullable=False),
    postgresql_with={"fillfactor": "50"},
    info={"scope": "regional"},
)

endpoint_slots = Table(
    "endpoint_slots",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("company_id", Uuid, nullable=False),
    Column("until", _TIME, nullable=False),
    Index("endpoint_slots_endpoint_id_idx", "endpoint_id"),
    info={"scope": "regional"},
)

fifo_lines = Table(
    "fifo_lines",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    Column("pos", BigInteger, Identity(always=True), primary_key=True),
    Column("delivery_id", Uuid, nullable=False),
    Column("company_id", Uuid, nullable=False),
    Index("fifo_lines_delivery_id_idx", "delivery_id"),
    info={"scope": "regional"},
)

pull_items = Table(
    "pull_items",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    Column("txid", BigInteger, primary_key=True, server_default=text("pg_current_xact_id()::text::bigint")),
    Column("id", Uuid, primary_key=True),
    Column("message_id", Uuid, nullable=False),
    Column("company_id", Uuid, nullable=False),
    postgresql_partition_by="range (id)",
    info={"scope": "regional"},
)

event_types = Table(
    "event_types",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("schema", JSONB),
    Column("example", JSONB),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("deprecated_at", _TIME),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("created_by", JSONB, nullable=False),
    Column("updated_at", _TIME, nullable=False, server_default=NOW),
    info={"scope": "regional"},
)

replays = Table(
    "replays",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("scope", Text, nullable=False),
    Column("wanted", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("matched", BigInteger, nullable=False, server_default=text("0")),
    Column("is_floor", Boolean, nullable=False, server_default=text("false")),
    Column("made", BigInteger, nullable=False, server_default=text("0")),
    Column("looked_to", Uuid),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("created_by", JSONB, nullable=False),
    Column("finished_at", _TIME),
    Column("error", Text),
    CheckConstraint("scope in ('deliveries', 'messages', 'missed')", name="scope"),
    CheckConstraint("state in ('running', 'done', 'cancelled', 'failed')", name="state"),
    Index("replays_endpoint_id_id_idx", "endpoint_id", "id"),
    info={"scope": "regional"},
)

attempt_batches = Table(
    "attempt_batches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", _TIME, nullable=False, server_default=NOW),
    Column("endpoint_ids", ARRAY(Uuid), nullable=False),
    Column("codes", ARRAY(SmallInteger), nullable=False),
    Column("durations_ms", ARRAY(Integer), nullable=False),
    info={"scope": "regional"},
)

endpoint_minutes, endpoint_hours = (
    Table(
        name,
        metadata,
        Column("company_id", Uuid, primary_key=True),
        Column("endpoint_id", Uuid, primary_key=True),
        Column("bucket", _TIME, primary_key=True),
        Column("code", SmallInteger, primary_key=True, autoincrement=False),
        Column("attempts", BigInteger, nullable=False),
        Column("latencies", ARRAY(BigInteger), nullable=False),
        postgresql_partition_by="range (bucket)",
        info={"scope": "regional"},
    )
    for name in ("endpoint_minutes", "endpoint_hours")
)

PARTITIONED = [
    *(
        Partitioned(table=name, key="uuid7", width="week", ahead=4, keep=KEPT)
        for name in ("messages", "deliveries", "attempts", "pull_items")
    ),
    Partitioned(table="endpoint_minutes", key="time", width="week", ahead=4, keep=timedelta(days=7)),
    Partitioned(table="endpoint_hours", key="time", width="month", ahead=2, keep=timedelta(days=396)),
]
