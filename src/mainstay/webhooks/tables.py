"""Endpoints, messages, deliveries and attempts; all but endpoints are cut by week and kept for 30 days."""

from datetime import timedelta

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
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
    Column("url", Text, nullable=False),
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
    CheckConstraint("retries between 0 and 4", name="retries"),
    CheckConstraint("cardinality(events) between 1 and 100", name="events"),
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

PARTITIONED = [
    Partitioned(table=name, key="uuid7", width="week", ahead=4, keep=KEPT)
    for name in ("messages", "deliveries", "attempts")
]
