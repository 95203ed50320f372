"""The kernel's own tables."""

from sqlalchemy import Column, DateTime, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata

NOW = text("mainstay.now()")

announcements = Table(
    "announcements",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("company_id", Uuid),
    Column("actor", JSONB, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=NOW),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Index("announcements_due_at_idx", "due_at"),
    info={"scope": "regional"},
)

made_once = Table(
    "made_once",
    metadata,
    Column("company_id", Uuid, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("key_digest", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("made_id", Uuid),
    Column("at", DateTime(timezone=True), nullable=False, server_default=NOW),
    Index("made_once_at_idx", "at"),
    info={"scope": "regional"},
)
