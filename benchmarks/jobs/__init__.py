"""No-op jobs a second and CPU a job, ours beside a bare loop and the engines of others: `python -m benchmarks.jobs`.

Every turn fills an empty queue in bulk, lets the server settle (a checkpoint, no vacuum under way) and drains it with
one worker process; the sides take turns. Measured is the drain: jobs a second, and the CPU of all processes that share
in it, which are the worker and the store (PostgreSQL with all its processes, or Redis). A slow side gets fewer jobs, so
that its turn takes some seconds as well; a shallow queue flatters it. The payload has about 200 bytes.

Ours keeps one history row a job, the bare loop one attempt row; BullMQ and procrastinate are told to delete what
succeeded, which is their cheapest way; PgQueuer writes its log of states, which it cannot leave.

`--backlog N` measures behind N waiting jobs, `--open-transaction` beside an open snapshot: only ours and the bare loop.
A peer whose parts are missing here is left out, with the reason.
"""
