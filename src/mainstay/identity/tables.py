"""The tables of the identity room: home rows of tenants, people and sessions, and the regional copy of API keys."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mainstay.kernel.db import metadata

_NOW = text("mainstay.now()")
_HOME = {"scope": "home"}
_REGIONAL = {"scope": "regional"}


def _moment(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=_NOW)


companies = Table(
    "companies",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False, unique=True),
    Column("data_region", Text, nullable=False, server_default=text("'US'")),
    Column("plan", Text, nullable=False, server_default=text("'free'")),
    _moment("created_at"),
    _moment("updated_at"),
    Column("mfa_required_from", DateTime(timezone=True)),
    Column("session_idle_minutes", Integer),
    Column("session_lifetime_hours", Integer),
    CheckConstraint("session_idle_minutes between 5 and 720", name="session_idle_minutes"),
    CheckConstraint("session_lifetime_hours between 1 and 720", name="session_lifetime_hours"),
    CheckConstraint("data_region in ('US', 'EU', 'APAC')", name="data_region"),
    CheckConstraint("plan in ('free', 'starter', 'growth', 'scale', 'enterprise')", name="plan"),
    Index("companies_created_at_idx", "created_at"),
    Index("companies_updated_at_idx", "updated_at"),
    info=_HOME,
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, ForeignKey(companies.c.id), nullable=False),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("system", Boolean, nullable=False, server_default=text("false")),
    _moment("created_at"),
    UniqueConstraint("company_id", "slug"),
    Index("workspaces_one_system_idx", "company_id", unique=True, postgresql_where=text("system")),
    info=_HOME,
)

people = Table(
    "people",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
    Column("suspended_at", DateTime(timezone=True)),
    Column("email_confirmed_at", DateTime(timezone=True)),
    Column("password_changed_at", DateTime(timezone=True)),
    Column("mfa_enabled_at", DateTime(timezone=True)),
    Column("profile", JSONB, nullable=False, server_default=text("'{}'")),
    CheckConstraint('email_key = lower(email_key collate "C")', name="email_key_folded"),
    Index("people_email_lower_idx", func.lower(text('email collate "C"')), unique=True),
    Index("people_created_at_idx", "created_at"),
    Index("people_updated_at_idx", "updated_at"),
    info=_HOME,
)

memberships = Table(
    "memberships",
    metadata,
    Column("company_id", Uuid, ForeignKey(companies.c.id), primary_key=True),
    Column("person_id", Uuid, ForeignKey(people.c.id), primary_key=True),
    Column("role", Text, nullable=False),
    _moment("created_at"),
    Column("features", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("suspended_at", DateTime(timezone=True)),
    Column("suspended_by", JSONB),
    Column("invited_by", JSONB),
    _moment("updated_at"),
    CheckConstraint("role in ('owner', 'manager', 'staff')", name="role"),
    Index("memberships_company_id_role_idx", "company_id", "role"),
    Index("memberships_person_id_idx", "person_id"),
    info=_HOME,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid),
    Column("data_region", Text, nullable=False, server_default=text("'US'")),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("read_only", Boolean, nullable=False, server_default=text("false")),
    Column("allow_list", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("expires_at", DateTime(timezone=True)),
    _moment("created_at"),
    Column("created_by", JSONB, nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_by", JSONB),
    Column("replaces", Uuid, unique=True),
    Column("overlap_ends_at", DateTime(timezone=True)),
    Column("labels", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("revoked_reason", Text),
    Column("scopes", ARRAY(Text)),
    Column("leaked_at", DateTime(timezone=True)),
    Column("leaked_source", Text),
    CheckConstraint("data_region in ('US', 'EU', 'APAC')", name="data_region"),
    CheckConstraint("kind in ('workspace', 'company')", name="kind"),
    CheckConstraint("length(digest) = 32", name="digest_length"),
    CheckConstraint("(kind = 'workspace') = (workspace_id is not null)", name="workspace"),
    CheckConstraint("(revoked_at is null) = (revoked_by is null)", name="revoked"),
    Index("api_keys_company_id_id_idx", "company_id", "id"),
    info=_REGIONAL,
)

api_key_uses = Table(
    "api_key_uses",
    metadata,
    Column("key_id", Uuid, ForeignKey(api_keys.c.id, ondelete="CASCADE"), primary_key=True),
    Column("minute", DateTime(timezone=True), primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("last_used_at", DateTime(timezone=True), nullable=False),
    Column("last_address", Text),
    Index("api_key_uses_minute_idx", "minute"),
    Index("api_key_uses_company_id_minute_idx", "company_id", "minute"),
    info=_REGIONAL,
)

api_key_addresses = Table(
    "api_key_addresses",
    metadata,
    Column("key_id", Uuid, ForeignKey(api_keys.c.id, ondelete="CASCADE"), primary_key=True),
    Column("address", Text, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("first_used_at", DateTime(timezone=True), nullable=False),
    Column("last_used_at", DateTime(timezone=True), nullable=False),
    Index("api_key_addresses_last_used_at_idx", "last_used_at"),
    info=_REGIONAL,
)

api_key_refusals = Table(
    "api_key_refusals",
    metadata,
    Column("key_id", Uuid, ForeignKey(api_keys.c.id, ondelete="CASCADE"), primary_key=True),
    Column("why", Text, primary_key=True),
    Column("company_id", Uuid, nullable=False),
    Column("refusals", BigInteger, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    Column("last_address", Text, nullable=False),
    CheckConstraint("why in ('address', 'read_only', 'scope')", name="why"),
    info=_REGIONAL,
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("person_id", Uuid, ForeignKey(people.c.id), nullable=False),
    Column("company_id", Uuid, ForeignKey(companies.c.id), nullable=False),
    Column("workspace_id", Uuid),
    Column("token_hash", LargeBinary, unique=True),
    Column("user_agent", Text, nullable=False),
    _moment("created_at"),
    _moment("last_used_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("kind", Text, nullable=False, server_default=text("'console'")),
    Column("address", Text, nullable=False, server_default=text("''")),
    _moment("authenticated_at"),
    Column("strong_at", DateTime(timezone=True)),
    Column("refresh_generation", Integer, nullable=False, server_default=text("0")),
    Column("refreshed_at", DateTime(timezone=True)),
    Column("ended_reason", Text),
    CheckConstraint("kind in ('console', 'api')", name="kind"),
    CheckConstraint("length(token_hash) = 32", name="token_hash_length"),
    Index("sessions_person_id_idx", "person_id", "id"),
    Index("sessions_expires_at_idx", "expires_at"),
    info=_HOME,
)

sign_in_tries = Table(
    "sign_in_tries",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("tries", Integer, nullable=False),
    _moment("since"),
    CheckConstraint("length(subject) = 32", name="subject_length"),
    Index("sign_in_tries_since_idx", "since"),
    info=_HOME,
)
