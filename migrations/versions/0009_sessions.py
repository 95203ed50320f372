"""Sessions of people at the console.

Locks: none on existing tables.
"""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    pass
