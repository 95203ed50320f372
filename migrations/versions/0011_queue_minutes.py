"""Depth of the queues per minute.

Locks: none on existing tables.
"""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    pass
