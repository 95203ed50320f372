"""How late schedules fire, ours beside others: `python -m benchmarks.schedules`.

Every schedule (200 unless told otherwise) is due each second, so that all of them are due at the same moment: the worst
that a scheduler can be asked for. The job does nothing but note the time. Measured is from the slot to the start of its
run, by the clock of the machine, once the first seconds are over; a slot without a run counts
as missing. One process each: ours and procrastinate on a PostgreSQL of their own, with 5 and 10 connections, and a bare
loop of asyncio that sleeps until the next second and keeps nothing, which is the least that any of them can reach.

A peer whose parts are missing here is left out, with the reason.
"""
