"""Figures of endpoints, folded from recorded tries.

Locks: none on existing tables.
"""

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    pass
