"""The tables of the members room, all at home: invitations, departments, and who is in them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mainstay.kernel.db import metadata

_NOW = text("mainstay.now()")
_HOME = {"scope": "home"}

invitations = Table(
    "invitations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, ForeignKey("mainstay.companies.id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("features", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("invited_by", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("sent_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("sent", Integer, nullable=False, server_default=text("1")),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("accepted_at", DateTime(timezone=True)),
    Column("accepted_by", Uuid),
    Column("withdrawn_at", DateTime(timezone=True)),
    CheckConstraint("role in ('owner', 'manager', 'staff')", name="role"),
    CheckConstraint("accepted_at is null or withdrawn_at is null", name="one_end"),
    Index(
        "invitations_one_open_idx",
        "company_id",
        "email_key",
        unique=True,
        postgresql_where=text("accepted_at is null and withdrawn_at is null"),
    ),
    Index("invitations_company_id_id_idx", "company_id", "id"),
    info=_HOME,
)

departments = Table(
    "departments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, ForeignKey("mainstay.companies.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    UniqueConstraint("company_id", "name_key"),
    UniqueConstraint("company_id", "id"),
    info=_HOME,
)

department_members = Table(
    "department_members",
    metadata,
    Column("department_id", Uuid, primary_key=True),
    Column("person_id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("joined_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    ForeignKeyConstraint(
        ["company_id", "department_id"],
        ["mainstay.departments.company_id", "mainstay.departments.id"],
        name="department_members_department_fkey",
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["company_id", "person_id"],
        ["mainstay.memberships.company_id", "mainstay.memberships.person_id"],
        name="department_members_member_fkey",
        ondelete="CASCADE",
    ),
    Index("department_members_member_idx", "company_id", "person_id"),
    info=_HOME,
)
