"""How fast events are taken in, beside the bare COPY of the same rows and the usual commit per request.

    python -m benchmarks.ingest [--rounds 5] [--seconds 4] [--workspaces 1,50] [--database-url URL]

Single POSTs at 32 connections with authentication, unique idempotency keys, chain, meter and one matching endpoint's
fan-out, worker stopped; batches of 100 with one and two API processes; COPY of 100 events a transaction with their
messages, deliveries and jobs into tables of the same shape and indexes; and FastAPI + Pydantic + SQLAlchemy, once
with a row and a commit a request, once with the same duties as ours. Rounds interleave all of them. Needs `wrk`
on the path.
"""
