"""Audit events: a gapless, hash-chained log per workspace that anybody can verify without us.

    prepared --append_events--> stored (seq, hash) --> fanned out to endpoints, metered: one transaction
        |  the same key and content within 24 hours: the event that is there already
        |  the same key with other content: refused (422); a key that was revoked: refused (401)
    emitted in SQL by anybody's transaction --a worker, in order--> prepared, and the same way; the row goes with it
        |  what the intake refuses: put aside with the reason --retried by the operator--> in line again

Guarantees: an event that was answered 201 is stored once, has its place in the chain, and its deliveries exist.
Within a workspace seq has no gap and rises in the order of commits, under any number of writers on any number of
nodes, because the statement that stores locks the chain's head. What may have to be erased one day enters the hash as
salted digests. Lists are read by position and never counted whole.
Refuses: what has no single exact JSON meaning, bodies over 1 MiB, batches over 1,000.

Tables: events (by month), chain_heads (one row a workspace), checkpoints, signing_keys, event_minutes (by week) and
event_samples, which a worker fills each 10 s from what the chain heads grew by, tail_streams (open tails, by node),
emitted_events (what SQL emitted until it has its place).
`intake` prepares, `ingest` stores, `hot` answers, `reading` lists, `exporting` streams all, `tailing` follows live,
`emitting` takes in what SQL emitted, `minutes` counts, `chain` and `proof` prove, `erasing` takes a person out.
"""

from mainstay.events.chain import PARTS
from mainstay.events.checkpoints import BadCheckpoint, read_public_key
from mainstay.events.emitting import EMITTED, Emissions
from mainstay.events.erasing import Eraser
from mainstay.events.export_routes import Exporter
from mainstay.events.filters import Filters, filters_of
from mainstay.events.following import Following
from mainstay.events.hot import IngestRoutes
from mainstay.events.ingest import Ingestion
from mainstay.events.intake import Place
from mainstay.events.minutes import per_minute
from mainstay.events.proof import Verdict, verify_file
from mainstay.events.reading import Followed, Page, Reader, head_seq
from mainstay.events.recording import drop_empty_chains, record, start_chains
from mainstay.events.retiring import Retirement, Stretch, Unproven
from mainstay.events.routes import describe, router
from mainstay.events.sealing import Sealer, public_keys
from mainstay.events.shape import flat
from mainstay.events.tables import PARTITIONED
from mainstay.events.tail_routes import tail_router
from mainstay.events.tailing import Tails
from mainstay.events.tasks import schedules, tasks
from mainstay.events.verification import verify_workspace

__all__ = [
    "EMITTED",
    "PARTITIONED",
    "PARTS",
    "BadCheckpoint",
    "Emissions",
    "Eraser",
    "Exporter",
    "Filters",
    "Followed",
    "Following",
    "IngestRoutes",
    "Ingestion",
    "Page",
    "Place",
    "Reader",
    "Retirement",
    "Sealer",
    "Stretch",
    "Tails",
    "Unproven",
    "Verdict",
    "describe",
    "drop_empty_chains",
    "filters_of",
    "flat",
    "head_seq",
    "per_minute",
    "public_keys",
    "read_public_key",
    "record",
    "router",
    "schedules",
    "start_chains",
    "tail_router",
    "tasks",
    "verify_file",
    "verify_workspace",
]
