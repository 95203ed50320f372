"""The engine's own upkeep."""

from datetime import timedelta

from mainstay.kernel.partitions import Partitioned

PARTITIONED = [
    Partitioned("finished_jobs", "time", "week", ahead=4, keep=timedelta(days=30)),
    Partitioned("job_attempts", "time", "week", ahead=4, keep=timedelta(days=60)),
]
"""A dead job's attempts outlive its 14 days, as no job of ours takes over a month to die."""
