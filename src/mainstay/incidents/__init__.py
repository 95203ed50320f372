"""Incidents: people's routes closed and opened again, the log of what was refused to whom, a probe of logging in.

    people's routes: open --restrict (operators)--> closed (503, signing in and out too) --lift--> open

While they are closed, API keys, probes, metrics and operators' routes and pages go on. Every process asks the database
at most each half second whether they are; where it does not answer, what was known last holds. `restriction.set` and
`restriction.lifted` are announced with their actor.

The authentication log (`AuthLog`) has an entry for each login that failed, code, token, key or role that was refused,
session that was over and form that was not ours, wherever in the service that happened: refusals pass one place
(`web.front`), which no route can forget. Entries hold no token, password, code or email, but an email's keyed digest.

Guarantees: writing the log holds no request up; entries wait in memory for at most a second while the database
answers; of a flood from one address at most 20 different entries are written in that second, the rest are counted in
one; at most 2,000 wait, and what is lost beyond is counted (`auth_log_lost_total`). Entries are kept for 90 days.

Refuses: reasons under 3 or over 500 characters (400), pages of more than 1,000 entries (400).
Tables, at home: restrictions (at most one is open), auth_log.
"""

from mainstay.incidents.auth_log import AuthLog, Filters, read_log
from mainstay.incidents.errors import Restricted
from mainstay.incidents.probing import PROBE_DOMAIN, Probe, make_probe, remove_probe
from mainstay.incidents.restricting import Mode, Restriction, find_restriction, lift, restrict
from mainstay.incidents.routes import router
from mainstay.incidents.schemas import entry_shown, restriction_shown
from mainstay.incidents.tasks import schedules, tasks
from mainstay.incidents.watching import Watch

__all__ = [
    "PROBE_DOMAIN",
    "AuthLog",
    "Filters",
    "Mode",
    "Probe",
    "Restricted",
    "Restriction",
    "Watch",
    "entry_shown",
    "find_restriction",
    "lift",
    "make_probe",
    "read_log",
    "remove_probe",
    "restrict",
    "restriction_shown",
    "router",
    "schedules",
    "tasks",
]
