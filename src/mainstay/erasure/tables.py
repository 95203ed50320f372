"""Tables of the erasure room. All are regional: they stand beside the events they speak of."""

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
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mainstay.kernel.db import metadata
from mainstay.kernel.tables import NOW

_TIME = DateTime(timezone=True)
_ZERO = sql("0")
COUNTS = ("events", "actors", "targets", "payloads", "metadata", "changes", "kept", "unproven", "objects", "copies")
"""What an erasure counts."""

erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("is_dry_run", Boolean, nullable=False),
    Column("state", Text, nullable=False, server_default=sql("'waiting'")),
    Column("reason", Text, nullable=False),
    Column("parts", ARRAY(Text), nullable=False),
    Column("subject_digest", LargeBinary, nullable=False),
    Column("subject_sealed", LargeBinary),
    Column("requested_by", JSONB, nullable=False),
    Column("requested_at", _TIME, nullable=False, server_default=NOW),
    Column("started_at", _TIME),
    Column("completed_at", _TIME),
    Column("hold_id", Uuid),
    Column("failure", Text),
    *(Column(name, BigInteger, nullable=False, server_default=_ZERO) for name in COUNTS),
    CheckConstraint("state in ('waiting', 'running', 'held', 'failed', 'completed')", name="state"),
    Index("erasures_company_id_idx", "company_id", "id"),
    info={"scope": "regional"},
)

erasure_steps = Table(
    "erasure_steps",
    metadata,
    Column("erasure_id", Uuid, ForeignKey("mainstay.erasures.id", ondelete="CASCADE"), primary_key=True),
    Column("workspace_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("day", Date),
    Column("rewriting", Date),
    Column("done_at", _TIME),
    postgresql_with={"fillfactor": "70"},
    info={"scope": "regional"},
)

erased_events = Table(
    "erased_events",
    metadata,
    Column("workspace_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("erasure_id", Uuid, ForeignKey("mainstay.erasures.id"), primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("parts", ARRAY(Text), nullable=False),
    Column("at", _TIME, nullable=False, server_default=NOW),
    Index("erased_events_id_idx", "id"),
    info={"scope": "regional"},
)

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid),
    Column("subject_sealed", LargeBinary),
    Column("scope", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("set_by", JSONB, nullable=False),
    Column("set_at", _TIME, nullable=False, server_default=NOW),
    Column("lifted_by", JSONB),
    Column("lifted_at", _TIME),
    CheckConstraint("scope in ('company', 'workspace', 'subject')", name="scope"),
    CheckConstraint("(scope = 'workspace') = (workspace_id is not null)", name="workspace"),
    Index("legal_holds_company_id_idx", "company_id", "id"),
    info={"scope": "regional"},
)

company_jobs = Table(
    "company_jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=sql("'pending'")),
    Column("progress", SmallInteger, nullable=False, server_default=_ZERO),
    Column("run", Integer, nullable=False, server_default=_ZERO),
    Column("data_region", Text, nullable=False),
    Column("subject_sealed", LargeBinary),
    Column("object", Text),
    Column("rows", BigInteger, nullable=False, server_default=_ZERO),
    Column("failure", Text),
    Column("created_by", JSONB, nullable=False),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("completed_at", _TIME),
    Column("expires_at", _TIME),
    CheckConstraint("type in ('gdpr_export')", name="type"),
    CheckConstraint("status in ('pending', 'running', 'completed', 'failed')", name="status"),
    CheckConstraint("progress between 0 and 100", name="progress"),
    Index("company_jobs_company_id_idx", "company_id", "id"),
    Index("company_jobs_expires_at_idx", "expires_at", postgresql_where=sql("object is not null")),
    info={"scope": "regional"},
)
