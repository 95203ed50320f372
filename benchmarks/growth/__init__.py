"""What growth costs the engine: `python -m benchmarks.growth`.

A backlog of a million, in one lane and over 10,000, against one of a thousand; statistics that a bulk load left stale
against fresh ones; an open transaction with the dead rows of ten minutes' work against none; a partition of history
that is dropped against rows that are deleted; and what one tenant's 100,000 jobs cost another's next one. Sides take
turns on one server, each with a database of its own; ratios are what counts.
"""
