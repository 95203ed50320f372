"""The figures that were taken last."""

from sqlalchemy import CheckConstraint, Column, DateTime, SmallInteger, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from mainstay.kernel.db import metadata

system_figures = Table(
    "system_figures",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("taken_at", DateTime(timezone=True), nullable=False),
    Column("figures", JSONB, nullable=False),
    CheckConstraint("id = 1", name="id"),
    info={"scope": "regional"},
)
