"""Erasure of a person without breaking the proof, legal holds that win over it, and what is stored about a person.

    erasure: waiting --> running --> completed              dry run: the same way, counts and changes nothing
                 ^          |  a hold stands in the way --> held --resume--> waiting
                 |          '-- a store or database fails --> failed --again by itself, or resume--> waiting
    hold:    stands --lift--> lifted
    job:     pending --> running --> completed --7 days, or an erasure--> without file        running --> failed

Guarantees: values and salts go, digests stay, so every chain, export and archived day still verifies; what was erased,
when and by whom stays on record with a keyed digest of the person, never with the person. Steps are short, each commits
with the mark of how far it came: what is cut off goes on, and twice changes nothing. Once setting a hold was answered,
nothing that it covers is erased from the database, cut or deleted. Everything that is stored when an erasure is asked
for is covered, in every database of the company; what comes later is not, and needs another erasure.
Refuses: to erase under a hold (409 with its id), reasons that name the person, over 20 erasures or 10 jobs under way.
Out of reach: what left the service (deliveries, streams, downloads), and actions, categories and project ids, which
the chain holds in plain: those are counted. Accounts of people who use Mainstay itself are not events.

Tables: erasures, erasure_steps, erased_events, legal_holds, company_jobs. `erasing` carries out, `gdpr` gathers.
"""

from mainstay.erasure.company_jobs import open_file as open_export
from mainstay.erasure.company_jobs import read as read_export
from mainstay.erasure.company_jobs import read_all as read_exports
from mainstay.erasure.erasures import is_of, resume
from mainstay.erasure.erasures import read as read_erasure
from mainstay.erasure.erasures import read_all as read_erasures
from mainstay.erasure.erasures import read_events as read_erased_events
from mainstay.erasure.erasures import request as request_erasure
from mainstay.erasure.errors import ErasureNotFound, Held, HoldNotFound, JobNotFound
from mainstay.erasure.gdpr import request as request_export
from mainstay.erasure.ground import Ground, ground_of
from mainstay.erasure.holds import carry as carry_holds
from mainstay.erasure.holds import lift as lift_hold
from mainstay.erasure.holds import read as read_hold
from mainstay.erasure.holds import read_all as read_holds
from mainstay.erasure.holds import set_hold
from mainstay.erasure.routes import router
from mainstay.erasure.schemas import ErasureIn, GdprExportIn, HoldIn
from mainstay.erasure.tasks import schedules, tasks

__all__ = [
    "ErasureIn",
    "ErasureNotFound",
    "GdprExportIn",
    "Ground",
    "Held",
    "HoldIn",
    "HoldNotFound",
    "JobNotFound",
    "carry_holds",
    "ground_of",
    "is_of",
    "lift_hold",
    "open_export",
    "read_erased_events",
    "read_erasure",
    "read_erasures",
    "read_export",
    "read_exports",
    "read_hold",
    "read_holds",
    "request_erasure",
    "request_export",
    "resume",
    "router",
    "schedules",
    "set_hold",
    "tasks",
]
