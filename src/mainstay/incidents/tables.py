"""The tables of the incidents room, all at home."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata

_HOME = {"scope": "home"}
_NOW = text("mainstay.now()")
_EMPTY = text("''")

restrictions = Table(
    "restrictions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("closes", Text, nullable=False, server_default=text("'people'")),
    Column("reason", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("set_by", JSONB, nullable=False),
    Column("lifted_at", DateTime(timezone=True)),
    Column("lifted_by", JSONB),
    Index("restrictions_one_open_idx", "closes", unique=True, postgresql_where=text("lifted_at is null")),
    info=_HOME,
)

# No foreign keys: what was refused is remembered whatever became of those whom it concerns.
auth_log = Table(
    "auth_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("times", Integer, nullable=False, server_default=text("1")),
    Column("person_id", Uuid),
    Column("email_digest", LargeBinary),
    Column("company_id", Uuid),
    Column("key_id", Uuid),
    Column("address", Text, nullable=False, server_default=_EMPTY),
    Column("user_agent", Text, nullable=False, server_default=_EMPTY),
    Column("method", Text, nullable=False, server_default=_EMPTY),
    Column("route", Text, nullable=False, server_default=_EMPTY),
    Column("trace_id", Text, nullable=False, server_default=_EMPTY),
    Index("auth_log_at_idx", "at"),
    Index("auth_log_address_idx", "address", "id"),
    Index("auth_log_person_id_idx", "person_id", "id", postgresql_where=text("person_id is not null")),
    info=_HOME,
)
