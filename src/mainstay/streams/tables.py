"""Tables of the streams room. All are regional: they live where the company's data lives."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata
from mainstay.kernel.tables import NOW

_TIME = DateTime(timezone=True)
_ZERO = text("0")

streams = Table(
    "streams",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("destination", JSONB, nullable=False),
    Column("secrets_sealed", LargeBinary, nullable=False),
    Column("form", Text, nullable=False),
    Column("filter", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'active'")),
    Column("reason", Text),
    Column("failures", Integer, nullable=False, server_default=_ZERO),
    Column("failing_since", _TIME),
    Column("next_turn_at", _TIME, nullable=False, server_default=NOW),
    Column("last_sent_at", _TIME),
    Column("sent", BigInteger, nullable=False, server_default=_ZERO),
    Column("probe", JSONB),
    Column("backfill_state", Text),
    Column("backfill_since", _TIME),
    Column("backfill_began_at", _TIME),
    Column("backfill_ended_at", _TIME),
    Column("backfill_sent", BigInteger, nullable=False, server_default=_ZERO),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("changed_at", _TIME, nullable=False, server_default=NOW),
    Column("on_refusal", Text, nullable=False, server_default=text("'stop'")),
    Column("batch_at_most", Integer),
    Column("blocked", JSONB),
    CheckConstraint("form in ('native', 'ocsf')", name="form"),
    CheckConstraint("state in ('active', 'paused', 'failing', 'disabled')", name="state"),
    CheckConstraint("on_refusal in ('stop', 'skip')", name="on_refusal"),
    CheckConstraint("backfill_state in ('running', 'done', 'cancelled')", name="backfill_state"),
    Index("streams_next_turn_at_idx", "next_turn_at", postgresql_where=text("state in ('active', 'failing')")),
    info={"scope": "regional"},
    postgresql_with={"fillfactor": 70},
)

stream_positions = Table(
    "stream_positions",
    metadata,
    Column("stream_id", Uuid, ForeignKey("mainstay.streams.id", ondelete="CASCADE"), primary_key=True),
    Column("part", Text, primary_key=True),
    Column("workspace_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger),
    Column("received_at", _TIME, nullable=False),
    CheckConstraint("part in ('live', 'backfill')", name="part"),
    info={"scope": "regional"},
    postgresql_with={"fillfactor": 70},
)

stream_refusals = Table(
    "stream_refusals",
    metadata,
    Column("stream_id", Uuid, ForeignKey("mainstay.streams.id", ondelete="CASCADE"), primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("refused_at", _TIME, nullable=False, server_default=NOW),
    Column("asked_at", _TIME),
    Index(
        "stream_refusals_asked_idx", "stream_id", "received_at", "seq", postgresql_where=text("asked_at is not null")
    ),
    info={"scope": "regional"},
)
