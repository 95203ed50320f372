"""Webhooks whole: the functions of fan-out, loading, admission and recording.

Locks: none on existing tables.
"""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    pass
