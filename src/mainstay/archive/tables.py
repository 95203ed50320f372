"""Tables of the archive room: days beside the events they speak of, what they come to, and settings at home."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata
from mainstay.kernel.tables import NOW

_TIME = DateTime(timezone=True)
_ZERO = sql("0")

archive_days = Table(
    "archive_days",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("data_region", Text, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("marked_at", _TIME, nullable=False, server_default=NOW),
    Column("archived_seq", BigInteger, nullable=False, server_default=_ZERO),
    Column("flagged_seq", BigInteger, nullable=False, server_default=_ZERO),
    Column("archived_at", _TIME),
    Column("sha256", LargeBinary),
    Column("bytes", BigInteger),
    Column("failed_at", _TIME),
    Column("failure", Text),
    Column("verified_at", _TIME),
    Column("outcome", Text),
    Column("finding", JSONB),
    Column("cut_at", _TIME),
    Column("renewals", Integer, nullable=False, server_default=_ZERO),
    CheckConstraint("outcome in ('sound', 'damaged', 'missing')", name="outcome"),
    Index("archive_days_company_idx", "company_id", "day", "workspace_id"),
    Index(
        "archive_days_waiting_idx",
        "day",
        "workspace_id",
        postgresql_where=sql("flagged_seq < last_seq and cut_at is null"),
    ),
    info={"scope": "regional"},
)

archive_totals = Table(
    "archive_totals",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("waiting", BigInteger, nullable=False),
    Column("waiting_events", BigInteger, nullable=False),
    Column("failing", BigInteger, nullable=False),
    Column("archived_events", BigInteger, nullable=False),
    Column("unsound", BigInteger, nullable=False),
    info={"scope": "regional"},
    postgresql_with={"fillfactor": 50},
)
"""A trigger on archive_days counts here."""

workspace_retention = Table(
    "workspace_retention",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("days", Integer, nullable=False),
    Column("updated_at", _TIME, nullable=False, server_default=NOW),
    CheckConstraint("days between 0 and 36500", name="days"),
    info={"scope": "home"},
)

company_retention = Table(
    "company_retention",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("grace_days", Integer, nullable=False),
    Column("updated_at", _TIME, nullable=False, server_default=NOW),
    CheckConstraint("grace_days between 0 and 3650", name="grace"),
    info={"scope": "home"},
)
