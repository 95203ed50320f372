"""Deliveries per second of one worker against the same HTTP client in a bare loop: `python -m benchmarks.delivery`.

Both send the same signed bodies of about 500 bytes to one sink on this machine (nginx where it is installed) and store
one attempt for each. The bare loop claims 200 rows at a time with SKIP LOCKED and a lease, keeps 200 requests in flight
through aiohttp and records up to 500 results in one statement, all overlapping: what the client and the database allow
without queues, lanes, fencing, address checks, retries, metrics and logs. Ours is the worker that `mainstay worker`
runs. Runs take turns; each starts with a warm process and an empty table, and the clock runs from the first request to
the last record.

`--latency` measures, at a steady rate of published messages, the time from acceptance (the commit's own transaction
time) to the start of the first attempt. The first second is warm-up.
"""
