"""Tables of the events room. All are regional: they live where the company's data lives."""

from datetime import timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
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
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata
from mainstay.kernel.partitions import Partitioned
from mainstay.kernel.tables import NOW

_FALSE = text("false")
_TIME = DateTime(timezone=True)

chain_heads = Table(
    "chain_heads",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("metered", Boolean, nullable=False),
    Column("seq", BigInteger, nullable=False, server_default=text("0")),
    Column("hash", LargeBinary, nullable=False, server_default=text("decode(repeat('00', 32), 'hex')")),
    Column("received_at", _TIME, nullable=False, server_default=text("'-infinity'")),
    info={"scope": "regional"},
)

events = Table(
    "events",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Uuid, nullable=False),
    Column("company_id", Uuid, nullable=False),
    Column("data_region", Text, nullable=False),
    Column("project_id", Text),
    Column("action", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("actor_id", Text),
    Column("actor_email", Text),
    Column("actor_name", Text),
    Column("target_id", Text),
    Column("target_type", Text),
    Column("payload", Text),
    Column("metadata", Text),
    Column("changes", Text),
    Column("salts", LargeBinary),
    Column("digests", JSONB),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("hash_version", SmallInteger, nullable=False, server_default=text("1")),
    Column("trace_id", Text, nullable=False),
    Column("occurred_at", _TIME, nullable=False),
    Column("received_at", _TIME, primary_key=True),
    Column("archived", Boolean, nullable=False, server_default=_FALSE),
    Column("archival_candidate", Boolean, nullable=False, server_default=_FALSE),
    Column("idempotency_key", LargeBinary),
    Column("fingerprint", LargeBinary),
    Index("events_id_idx", "id"),
    Index("events_company_idx", "company_id", "received_at", "workspace_id", "seq"),
    Index("events_action_idx", "workspace_id", "action", "seq"),
    Index("events_actor_idx", "workspace_id", "actor_id", "seq", postgresql_where=text("actor_id is not null")),
    Index("events_category_idx", "workspace_id", "category", "seq"),
    Index(
        "events_idempotency_idx",
        "workspace_id",
        "idempotency_key",
        postgresql_where=text("idempotency_key is not null"),
    ),
    info={"scope": "regional"},
    postgresql_partition_by="RANGE (received_at)",
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("company_id", Uuid, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", _TIME, nullable=False, server_default=NOW),
    info={"scope": "regional"},
)

chain_starts = Table(
    "chain_starts",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("at", _TIME, nullable=False, server_default=NOW),
    info={"scope": "regional"},
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("private_key_sealed", LargeBinary, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    info={"scope": "regional"},
)

event_samples = Table(
    "event_samples",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    info={"scope": "regional"},
)

event_minutes = Table(
    "event_minutes",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("minute", _TIME, primary_key=True),
    Column("events", BigInteger, nullable=False),
    info={"scope": "regional"},
    postgresql_partition_by="RANGE (minute)",
)

tail_streams = Table(
    "tail_streams",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False, index=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("key_id", Uuid, nullable=False),
    Column("node_id", Uuid, nullable=False, index=True),
    Column("opened_at", _TIME, nullable=False, server_default=NOW),
    Column("seen_at", _TIME, nullable=False, server_default=NOW),
    info={"scope": "regional"},
    postgresql_with={"fillfactor": 50},
)

emitted_events = Table(
    "emitted_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("company_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("event", JSONB, nullable=False),
    Column("emitted_at", _TIME, nullable=False, server_default=NOW),
    Column("refused_at", _TIME),
    Column("reason", Text),
    Column("detail", Text),
    Index("emitted_events_line_idx", "workspace_id", "id", postgresql_where=text("refused_at is null")),
    Index("emitted_events_refused_idx", "id", postgresql_where=text("refused_at is not null")),
    info={"scope": "regional"},
)

PARTITIONED = [
    Partitioned("events", "time", "month", ahead=3),
    Partitioned("event_minutes", "time", "week", ahead=4, keep=timedelta(days=3)),
]
"""Events are cut by month and never dropped by themselves; their counts per minute are kept for 3 to 10 days."""
