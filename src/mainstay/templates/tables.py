"""Tables of the templates room. All are regional, so that storing an event asks one database."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
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
_ONE = text("1")
_REGIONAL = {"scope": "regional"}

rule_marks = Table(
    "rule_marks",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("version", BigInteger, nullable=False, server_default=_ONE),
    Column("changed_at", _TIME, nullable=False, server_default=NOW, index=True),
    info=_REGIONAL,
)

templates = Table(
    "templates",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("mode", Text, nullable=False),
    Column("rules", JSONB, nullable=False),
    Column("version", Integer, nullable=False, server_default=_ONE),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("changed_at", _TIME, nullable=False, server_default=NOW),
    CheckConstraint("mode in ('enforce', 'flag')", name="mode"),
    UniqueConstraint("company_id", "name"),
    info=_REGIONAL,
)

template_assignments = Table(
    "template_assignments",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("template_id", Uuid, ForeignKey("mainstay.templates.id", ondelete="CASCADE"), primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("assigned_at", _TIME, nullable=False, server_default=NOW),
    Index("template_assignments_template_id_idx", "template_id"),
    Index("template_assignments_company_id_idx", "company_id"),
    info=_REGIONAL,
)

event_schemas = Table(
    "event_schemas",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid),
    Column("action", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("description", Text),
    Column("version", Integer, nullable=False, server_default=_ONE),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("changed_at", _TIME, nullable=False, server_default=NOW),
    CheckConstraint("mode in ('off', 'warn', 'enforce')", name="mode"),
    UniqueConstraint("company_id", "workspace_id", "action", postgresql_nulls_not_distinct=True),
    info=_REGIONAL,
)

event_schema_versions = Table(
    "event_schema_versions",
    metadata,
    Column("schema_id", Uuid, ForeignKey("mainstay.event_schemas.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("company_id", Uuid, nullable=False),
    Column("schema", Text, nullable=False),
    Column("created_by", JSONB, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    info=_REGIONAL,
)

event_flags = Table(
    "event_flags",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("company_id", Uuid, nullable=False),
    Column("flags", JSONB, nullable=False),
    info=_REGIONAL,
)

template_checks = Table(
    "template_checks",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("template_id", Uuid, ForeignKey("mainstay.templates.id", ondelete="CASCADE"), primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Column("checked_at", _TIME, nullable=False, server_default=NOW),
    Index("template_checks_template_id_idx", "template_id"),
    info=_REGIONAL,
)

template_reports = Table(
    "template_reports",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid, nullable=False),
    Column("template_id", Uuid, nullable=False),
    Column("template_name", Text, nullable=False),
    Column("template_version", Integer, nullable=False),
    Column("day", Date, nullable=False),
    Column("rule", Text, nullable=False),
    Column("pointer", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("examples", JSONB, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("told_at", _TIME),
    UniqueConstraint(
        "workspace_id", "template_id", "template_version", "day", "pointer", name="template_reports_once_key"
    ),
    Index("template_reports_company_idx", "company_id", "id"),
    Index("template_reports_day_idx", "day"),
    info=_REGIONAL,
)
