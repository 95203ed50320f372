"""Streams out: a company's events go on, all the time, to S3, Splunk, Datadog, syslog or a server of its own.

    active --refused, or 5 failures in a row--> failing --a batch gets through--> active
       |  either: --pause--> paused --resume--> active     failing for 30 days --> disabled --resume--> active
    backfill: running --> done | cancelled
    an event refused for what it holds: --stop--> the stream stands before it | --skip--> put aside --> sent again

Guarantees: a stream reads each workspace behind a mark of its own, in the order of seq, which is that of commits, so no
late commit is passed over. The marks move in one transaction once the destination has confirmed: an event goes out
at least once, with an id that tells a repetition, and a worker that is killed costs a repeated batch. What does not
get through waits in the log for as long as that is kept. An event that is refused for what it holds is found by
halving the batch: what is before it goes out, and what is behind it waits or goes on, as the stream says.
A new workspace is streamed from its first event.
Secrets are sealed and never shown again; nothing goes to an address of a private network.
Refuses: over 10 streams of a company, a second backfill at a time, another type of destination for a stream, more than
1,000 events of a stream put aside.

Tables: streams, stream_positions, stream_refusals. `pumping` carries, `destinations` speak, `standing` judges,
`ocsf` and `forms` write.
"""

from mainstay.streams.aside import forget as forget_aside
from mainstay.streams.aside import read as read_aside
from mainstay.streams.aside import send as send_aside
from mainstay.streams.aside import skip
from mainstay.streams.backfills import cancel as cancel_backfill
from mainstay.streams.backfills import start as start_backfill
from mainstay.streams.errors import BackfillRunning, SecretsLost, StreamNotFound, TooManyStreams
from mainstay.streams.probing import start as probe
from mainstay.streams.pumping import QUEUE
from mainstay.streams.routes import router
from mainstay.streams.schemas import DATADOG_SITES, NewStream, StreamChange
from mainstay.streams.streams import change, create, delete, pause, read, read_all, resume
from mainstay.streams.tasks import schedules, tasks

__all__ = [
    "DATADOG_SITES",
    "QUEUE",
    "BackfillRunning",
    "NewStream",
    "SecretsLost",
    "StreamChange",
    "StreamNotFound",
    "TooManyStreams",
    "cancel_backfill",
    "change",
    "create",
    "delete",
    "forget_aside",
    "pause",
    "probe",
    "read",
    "read_all",
    "read_aside",
    "resume",
    "router",
    "schedules",
    "send_aside",
    "skip",
    "start_backfill",
    "tasks",
]
