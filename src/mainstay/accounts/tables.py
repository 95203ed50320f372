"""The tables of the accounts room: letters that wait for a sender, and one-time links; all at home."""

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, Index, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata

_NOW = text("mainstay.now()")
_HOME = {"scope": "home"}

letters = Table(
    "letters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("person_id", Uuid, ForeignKey("mainstay.people.id", ondelete="CASCADE")),
    Column("company_id", Uuid, ForeignKey("mainstay.companies.id", ondelete="CASCADE")),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("expires_at", DateTime(timezone=True)),
    CheckConstraint("length(recipient) between 3 and 254", name="recipient_length"),
    Index("letters_created_at_idx", "created_at"),
    Index("letters_person_id_idx", "person_id"),
    Index("letters_company_id_idx", "company_id"),
    info=_HOME,
)

one_time_links = Table(
    "one_time_links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("subject", Uuid, nullable=False),
    Column("person_id", Uuid, ForeignKey("mainstay.people.id", ondelete="CASCADE")),
    Column("company_id", Uuid, ForeignKey("mainstay.companies.id", ondelete="CASCADE")),
    Column("data", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("length(digest) = 32", name="digest_length"),
    Index("one_time_links_open_idx", "purpose", "subject", unique=True, postgresql_where=text("used_at is null")),
    Index("one_time_links_expires_at_idx", "expires_at"),
    Index("one_time_links_person_id_idx", "person_id"),
    Index("one_time_links_company_id_idx", "company_id"),
    info=_HOME,
)
