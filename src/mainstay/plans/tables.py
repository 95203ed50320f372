"""Tables of the plans room: what companies may do lives at home, what they used where their data live."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
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
_REGIONAL = {"scope": "regional"}

add_ons = Table(
    "add_ons",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("granted_at", _TIME, nullable=False, server_default=NOW),
    Column("granted_by", JSONB, nullable=False),
    CheckConstraint("code in ('RETENTION_S3_ARCHIVE')", name="code"),
    info=_HOME,
)

company_limits = Table(
    "company_limits",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("amount", BigInteger),
    CheckConstraint("name in ('export_rows', 'retention_days', 'event_quota')", name="name"),
    CheckConstraint("amount >= 1", name="amount"),
    info=_HOME,
)

company_choices = Table(
    "company_choices",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("blocks_at_limit", Boolean, nullable=False),
    Index("company_choices_blocking_idx", "company_id", postgresql_where=text("blocks_at_limit")),
    info=_HOME,
)

meter_counts = Table(
    "meter_counts",
    metadata,
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    Column("capped", Boolean, nullable=False, server_default=text("false")),
    Column("closed_at", _TIME),
    CheckConstraint("extract(day from period_start) = 1", name="period_start"),
    CheckConstraint("quantity >= 0", name="quantity"),
    Index("meter_counts_company_id_meter_period_start_idx", "company_id", "meter", "period_start"),
    Index("meter_counts_open_idx", "period_start", "company_id", postgresql_where=text("closed_at is null")),
    info=_REGIONAL,
    postgresql_with={"fillfactor": 50},
)

meter_closings = Table(
    "meter_closings",
    metadata,
    Column("period_start", Date, primary_key=True),
    Column("closed_at", _TIME, nullable=False, server_default=NOW),
    info=_REGIONAL,
)

meter_openings = Table(
    "meter_openings",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    info=_REGIONAL,
)

meter_caps = Table(
    "meter_caps",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("allowance", BigInteger, nullable=False),
    info=_REGIONAL,
)

usage_snapshots = Table(
    "usage_snapshots",
    metadata,
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    Column("closed_at", _TIME, nullable=False),
    Index("usage_snapshots_company_id_period_start_idx", "company_id", "period_start"),
    info=_REGIONAL,
)

thresholds = Table(
    "thresholds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("meter", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    CheckConstraint("kind in ('soft', 'hard')", name="kind"),
    CheckConstraint("unit in ('absolute', 'percentage')", name="unit"),
    CheckConstraint("amount >= 1", name="amount"),
    Index("thresholds_company_id_id_idx", "company_id", "id"),
    info=_REGIONAL,
)

threshold_targets = Table(
    "threshold_targets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("threshold_id", Uuid, ForeignKey(thresholds.c.id, ondelete="CASCADE"), nullable=False),
    Column("company_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    CheckConstraint("kind in ('email', 'slack', 'webhook')", name="kind"),
    Index("threshold_targets_threshold_id_idx", "threshold_id"),
    info=_REGIONAL,
)

threshold_alerts = Table(
    "threshold_alerts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("threshold_id", Uuid, nullable=False),
    Column("meter", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("period_start", Date, nullable=False),
    Column("limit_quantity", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("raised_at", _TIME, nullable=False, server_default=NOW),
    Column("settled_at", _TIME),
    UniqueConstraint("threshold_id", "period_start"),
    Index("threshold_alerts_company_id_id_idx", "company_id", "id"),
    Index("threshold_alerts_unsettled_idx", "id", postgresql_where=text("settled_at is null")),
    info=_REGIONAL,
)

alert_sends = Table(
    "alert_sends",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("alert_id", Uuid, ForeignKey(threshold_alerts.c.id, ondelete="CASCADE"), nullable=False),
    Column("company_id", Uuid, nullable=False),
    Column("target_id", Uuid, nullable=False),
    Column("target_kind", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", _TIME, nullable=False, server_default=NOW),
    Column("ended_at", _TIME),
    Column("outcome", Text),
    Column("last_error", Text),
    CheckConstraint("outcome in ('sent', 'recorded', 'failed')", name="outcome"),
    CheckConstraint("(ended_at is null) = (outcome is null)", name="ended"),
    Index("alert_sends_alert_id_idx", "alert_id"),
    Index("alert_sends_due_at_idx", "due_at", postgresql_where=text("ended_at is null")),
    info=_REGIONAL,
)
