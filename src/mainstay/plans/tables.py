"""The table of the plans room."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Table, Text, Uuid

from mainstay.kernel.db import metadata

meter_counts = Table(
    "meter_counts",
    metadata,
    Column("company_id", Uuid, nullable=False),
    Column("workspace_id", Uuid, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("period_start", Date, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    CheckConstraint("extract(day from period_start) = 1", name="period_start"),
    CheckConstraint("quantity >= 0", name="quantity"),
    Index("meter_counts_company_id_meter_period_start_idx", "company_id", "meter", "period_start"),
    info={"scope": "regional"},
    postgresql_with={"fillfactor": 50},
)
