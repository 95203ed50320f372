"""Rate limits: how often may somebody do something, counted so that any number of nodes give one allowance.

A limit is a sliding window: in no window of its length, wherever it begins and however many call at once, more than the
allowance passes. A refused call takes nothing. Up to 128 each hit is kept; above that hits share 128th parts of the
window, and free up to one such part late, never early. One algorithm, three stores behind one Protocol (`store.py`):

    memory      one node alone; touches no table and no network
    postgresql  several nodes: an unlogged table, which a crash of the server empties (everybody starts anew then)
    redis       RATE_LIMIT_REDIS_URL, else REDIS_URL; one script a call, no key without an expiry

Guarantees: a store that is away, slow (250 ms) or broken lets calls pass, counted and told once; limits named by
RATE_LIMIT_CLOSED refuse with 503 instead. Without Redis a process counts in memory while it is the only API node that
lives (`nodes.py`), and takes what it counted into the table before a second one begins. Refuses: costs above the
allowance.

Every named limit stands in one table (`policies.py`). What holds for a company: its own figures that operators set,
else figures they set for everybody, else the settings', else the default. A change holds on every node within a second.

    policy: enforced --set_mode--> shadow (lets pass, reports whom it would refuse) | off     each back by drop_mode

API keys are counted by leases (`leasing.py`): many calls taken at once and spent without asking again, never more in
sum over all nodes than allowed. Announced: `limit.changed`, `limit.mode_changed`, `limit.store_away`,
`limit.store_back`. Tables: rate_limits, api_nodes, limit_overrides, limit_modes, limit_refusals.
"""

from mainstay.limits.choosing import Limits
from mainstay.limits.keeping import Keeping
from mainstay.limits.overrides import (
    Current,
    Figures,
    Mode,
    drop_mode,
    drop_override,
    known_policy,
    set_mode,
    set_override,
)
from mainstay.limits.policies import Policy, policies_of, policies_with
from mainstay.limits.report import of_company, report
from mainstay.limits.store import Rule, Store, Taken
from mainstay.limits.tasks import schedules, tasks

__all__ = [
    "Current",
    "Figures",
    "Keeping",
    "Limits",
    "Mode",
    "Policy",
    "Rule",
    "Store",
    "Taken",
    "drop_mode",
    "drop_override",
    "known_policy",
    "of_company",
    "policies_of",
    "policies_with",
    "report",
    "schedules",
    "set_mode",
    "set_override",
    "tasks",
]
