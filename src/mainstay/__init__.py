"""Mainstay: audit events, signed webhooks and jobs, joined in one transaction on one PostgreSQL.

The rooms stand in one order, and a room imports only rooms below it:
cli, main, reactions / events / identity / webhooks / jobs / plans / observability / web / embedded / kernel.
`ARCHITECTURE.md` is the map; every room's `__init__` is its front door.
"""

__version__ = "0.1.0"
