"""Functions of three steps that do nothing, from their start to their end, ours beside DBOS on one PostgreSQL.

Ours is given events, which a worker routes, starts and runs; DBOS is called in its own process, so many at once, which
is its shortest way: no queue of its own is asked. In both a step's result is committed before the next step begins.
"""
