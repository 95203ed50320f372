"""Deliveries a second of one worker, and what they cost: `python -m benchmarks.delivery`.

Every side sends the same signed bodies of about 500 bytes to one receiver on this machine (nginx where it is installed)
and stores one attempt for each in PostgreSQL. Ours is the worker that `mainstay worker` runs. The bare loop claims 200
rows at a time with SKIP LOCKED and a lease, keeps 200 requests in flight through aiohttp and records up to 500 results
in one statement, all overlapping: what the client and the database allow without queues, lanes, fencing, address
checks, retries, metrics and logs. Node is BullMQ on Redis with undici: 200 jobs at once, a pool of 200 kept
connections, the same two signatures, and the attempt and the delivery's state written to PostgreSQL in batches of what
came while the last batch was written; a job completes when its row is there. It finds body, URL and secret in the job.

Sides take turns. A turn starts a worker, warms it with 2,000 deliveries, lets the server settle, and offers the
deliveries that count; Node's queue is paused until all of them are in it. The rate runs from the first request to the
last record. CPU is that of the worker, of PostgreSQL and of Redis from before the offer until all is recorded, so each
side pays for what its stores do when work is put in, too; the process that puts it in is nobody's.

`--latency` measures, at a steady rate of published messages, the time from acceptance (the commit's own transaction
time) to the start of the first attempt. The first second is warm-up.

`--isolation` measures the same wait for the healthy among 1,000 endpoints, with all of them healthy and with one in a
hundred that accepts and never answers and one in a hundred that answers 500, in turns.

As many turns as are taken where nothing is said make less than three minutes on a machine that does nothing else.
"""
