"""Tables of the limits room."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata
from mainstay.kernel.tables import NOW

_TIME = DateTime(timezone=True)
_HOME = {"scope": "home"}

limit_overrides = Table(
    "limit_overrides",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("company_id", Uuid),
    Column("allowance", Integer, nullable=False),
    Column("window_seconds", Integer, nullable=False),
    Column("until", _TIME),
    Column("reason", Text, nullable=False),
    Column("set_by", JSONB, nullable=False),
    Column("set_at", _TIME, nullable=False, server_default=NOW),
    UniqueConstraint("policy", "company_id", postgresql_nulls_not_distinct=True),
    CheckConstraint("allowance >= 1", name="allowance"),
    CheckConstraint("window_seconds between 1 and 86400", name="window_seconds"),
    info=_HOME,
)
"""Figures that operators set for one company, or for everybody (no company)."""

limit_modes = Table(
    "limit_modes",
    metadata,
    Column("policy", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("set_by", JSONB, nullable=False),
    Column("set_at", _TIME, nullable=False, server_default=NOW),
    CheckConstraint("mode in ('enforced', 'shadow', 'off')", name="mode"),
    info=_HOME,
)

limit_refusals = Table(
    "limit_refusals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("hour", _TIME, nullable=False),
    Column("policy", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("company_id", Uuid),
    Column("calls", BigInteger, nullable=False),
    Column("first_at", _TIME, nullable=False),
    Column("last_at", _TIME, nullable=False),
    UniqueConstraint("hour", "policy", "mode", "company_id", postgresql_nulls_not_distinct=True),
    CheckConstraint("mode in ('enforced', 'shadow')", name="mode"),
    Index("limit_refusals_policy_hour_idx", "policy", "hour"),
    Index("limit_refusals_company_id_hour_idx", "company_id", "hour"),
    info=_HOME,
)
"""Calls that a limit refused (or, in shadow mode, would have), by hour; without a company where nobody was known."""

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("key", Text, primary_key=True),
    Column("hits_us", ARRAY(BigInteger), nullable=False),
    Column("numbers", ARRAY(Integer), nullable=False),
    Column("window_us", BigInteger, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    prefixes=["UNLOGGED"],
    info={"scope": "home"},
)
"""Hits by counter: when, in microseconds since 1970 by `mainstay.now()`, and how many; oldest first."""

api_nodes = Table(
    "api_nodes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("store", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    info={"scope": "home"},
)
"""API processes that live, and where each counts; by the server's real clock."""
