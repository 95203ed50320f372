"""Streams out: a company's events go on, all the time, to S3, Splunk, Datadog, syslog or a server of its own.

    active --refused, or 5 failures in a row--> failing --a batch gets through--> active
       |  either: --pause--> paused --resume--> active     failing for 30 days --> disabled --resume--> active
    backfill: running --> done | cancelled

Guarantees: a stream reads each workspace behind a mark of its own, in the order of seq, which is that of commits, so no
late commit is passed over. The marks move in one transaction once the destination has confirmed: an event goes out
at least once, with an id that tells a repetition, and a worker that is killed costs a repeated batch. What does not
get through waits in the log for as long as that is kept. A new workspace is streamed from its first event.
Secrets are sealed and never shown again; nothing goes to an address of a private network.
Refuses: over 10 streams of a company, a second backfill at a time, another type of destination for a stream.

Tables: streams, stream_positions. `pumping` carries, `destinations` speak, `standing` judges, `ocsf` and `forms` write.
"""

from mainstay.streams.errors import BackfillRunning, SecretsLost, StreamNotFound, TooManyStreams
from mainstay.streams.probing import start as probe
from mainstay.streams.pumping import QUEUE
from mainstay.streams.routes import router
from mainstay.streams.schemas import DATADOG_SITES, NewStream
from mainstay.streams.streams import create, delete, pause, read, read_all, resume
from mainstay.streams.tasks import schedules, tasks

__all__ = [
    "DATADOG_SITES",
    "QUEUE",
    "BackfillRunning",
    "NewStream",
    "SecretsLost",
    "StreamNotFound",
    "TooManyStreams",
    "create",
    "delete",
    "pause",
    "probe",
    "read",
    "read_all",
    "resume",
    "router",
    "schedules",
    "tasks",
]
