"""Events per minute of a company.

Locks: none on existing tables.
"""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    pass
