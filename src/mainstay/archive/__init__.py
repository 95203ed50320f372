"""Archive and retention: events that left their window, in an object store a day at a time, proven there for ever.

    stored --out of the window, 03:00--> candidate --add-on, day over, 04:00--> in the object store, read back, compared
                                             |                                      | then, in batches
                                             | RETENTION_DELETE, no add-on,         v
                                             | grace over                       archived --ARCHIVE_CUT, grace over
                                             v                                      v
                                     gone from the table: a signed checkpoint stands where the stored chain now begins
    object --Sunday 05:00--> sound | damaged | missing: told by object and row, announced as `archive.damaged`

Guarantees: an event is marked archived only after an object that holds it was read back; whatever stops a run, a later
one ends it; an object is replaced only as it was read, so simultaneous or late writers lose nothing, and an event that
comes late to a day joins those before it; every object proves itself offline, wherever it was moved to; what leaves the
table leaves from the chain's beginning and is audited.
Refuses: to archive events that are not what was written, to cut what is not proven in the archive, and to say that a
damaged object is whole.

Tables: archive_days (a row a workspace and day), workspace_retention and company_retention (at home); chain_starts is
of the events room.
"""

from mainstay.archive.archiving import Day, archive_day, due_days, read_day, renew_day, rewrite_day
from mainstay.archive.cutting import CutReport, cut
from mainstay.archive.days import ArchiveDay, figures, get_day, list_days, list_unsound
from mainstay.archive.errors import Damaged
from mainstay.archive.ground import Ground
from mainstay.archive.marking import mark
from mainstay.archive.objects import Stores
from mainstay.archive.reading import Range, export
from mainstay.archive.retention import grace_days_of, grant_grace, override_retention
from mainstay.archive.routes import router
from mainstay.archive.tasks import ask, ask_day, ask_verification, ground_of, schedules, tasks
from mainstay.archive.verifying import Verified, verify_all, verify_day, verify_workspace

__all__ = [
    "ArchiveDay",
    "CutReport",
    "Damaged",
    "Day",
    "Ground",
    "Range",
    "Stores",
    "Verified",
    "archive_day",
    "ask",
    "ask_day",
    "ask_verification",
    "cut",
    "due_days",
    "export",
    "figures",
    "get_day",
    "grace_days_of",
    "grant_grace",
    "ground_of",
    "list_days",
    "list_unsound",
    "mark",
    "override_retention",
    "read_day",
    "renew_day",
    "rewrite_day",
    "router",
    "schedules",
    "tasks",
    "verify_all",
    "verify_day",
    "verify_workspace",
]
