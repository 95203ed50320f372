"""The tables of the mfa room: factors, recovery codes and challenges, all at home as people are."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)

from mainstay.kernel.db import metadata

_HOME = {"scope": "home"}
_NOW = text("mainstay.now()")
_COMPANY, _PERSON = "mainstay.companies.id", "mainstay.people.id"

mfa_factors = Table(
    "mfa_factors",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("person_id", Uuid, ForeignKey(_PERSON, ondelete="CASCADE"), nullable=False, unique=True),
    Column("secret", LargeBinary, nullable=False),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("last_step", BigInteger),
    Column("last_used_at", DateTime(timezone=True)),
    Column("wrong_tries", Integer, nullable=False, server_default=text("0")),
    Column("wrong_since", DateTime(timezone=True)),
    Column("wrong_told", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    info=_HOME,
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("person_id", Uuid, ForeignKey(_PERSON, ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("length(digest) = 32", name="digest_length"),
    info=_HOME,
)

sign_in_challenges = Table(
    "sign_in_challenges",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("person_id", Uuid, ForeignKey(_PERSON, ondelete="CASCADE"), nullable=False),
    Column("company_id", Uuid, ForeignKey(_COMPANY, ondelete="CASCADE"), nullable=False),
    Column("via", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("length(digest) = 32", name="digest_length"),
    Index("sign_in_challenges_person_id_idx", "person_id"),
    Index("sign_in_challenges_expires_at_idx", "expires_at"),
    info=_HOME,
)
