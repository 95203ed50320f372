"""Webhooks: customers subscribe endpoints; every message that one wants is signed and delivered, or kept to be pulled.

    delivery:  PENDING --2xx--> DELIVERED        endpoint:  active <--switched by its owner--> inactive
                  | try failed   ^                             \\--its receiver's word, 5 days of failure--> inactive
                  v              | 2xx                      either --deleted--> deleted
               RETRYING ---------+
                  | no try left, or its word         breaker: closed --10 failures in a row--> open 30 s --> half-open
                  v                                              ^--a success--+   ^--a failure: longer, to 5 min--+
                FAILED --redriven job: one more try--> DELIVERED | FAILED
               PENDING or RETRYING at an endpoint inactive or deleted when the try comes due --> DISCARDED
               replay:  running --> done | cancelled | failed (the endpoint is inactive or deleted)

Guarantees: deliveries and their jobs commit with what they tell of (`publish`, or the SQL function `fan_out`). Tries
follow the endpoint's ladder, never earlier than a `Retry-After` of up to 6 h asks. A try and its acknowledgement are
recorded in one transaction; the request itself may reach the receiver twice, under the same `webhook-id`. In order,
one delivery is under way and its failure holds up the rest. Pace and concurrency hold over all workers. What is
pulled comes in an order that no late commit breaks. Replays lose and double nothing, whoever dies. Figures count each
try once. Secrets and headers are stored sealed, pull credentials as digests; each is shown once.
Bound: a worker has 200 requests in flight for 10 s at most each, up to 200 more tries that are being recorded, and up
to 200 loaded that wait for a place, for a second at most; at most 10 of all are of one endpoint, so 19 endpoints may
hang without taking a place that others need. Answers are kept to 4,096 bytes of head and of body; logs for 30 days.
Refuses: URLs into private networks (when saved and at each try), redirects, over 1,000 endpoints or event types a
company, filters over 8 KiB, schemas that refer elsewhere, over 5 replays of an endpoint at once, acts on inactive ones.
"""

from mainstay.webhooks.catalogue import get as get_type
from mainstay.webhooks.catalogue import read as read_types
from mainstay.webhooks.deliveries import read_delivery, read_log, replay, send_test
from mainstay.webhooks.endpoints import change, delete, register, rotate_secret, try_filter
from mainstay.webhooks.endpoints import read as read_endpoints
from mainstay.webhooks.endpoints import read_one as read_endpoint
from mainstay.webhooks.errors import (
    DeliveryNotFound,
    EndpointInactive,
    EndpointNotFound,
    MessageGone,
    TooManyEndpoints,
)
from mainstay.webhooks.figures import read as read_figures
from mainstay.webhooks.figures import read_day_of_each
from mainstay.webhooks.messages import Message, publish
from mainstay.webhooks.replays import cancel as cancel_replay
from mainstay.webhooks.replays import count as count_replay
from mainstay.webhooks.replays import read as read_replays
from mainstay.webhooks.replays import start as start_replay
from mainstay.webhooks.routes import router
from mainstay.webhooks.schemas import EndpointChange, NewEndpoint, NewReplay
from mainstay.webhooks.signing import BadSignature, new_secret, sign, verify
from mainstay.webhooks.tables import PARTITIONED
from mainstay.webhooks.tasks import QUEUE, schedules, tasks
from mainstay.webhooks.trouble import Trouble
from mainstay.webhooks.trouble import read as read_trouble

__all__ = [
    "PARTITIONED",
    "QUEUE",
    "BadSignature",
    "DeliveryNotFound",
    "EndpointChange",
    "EndpointInactive",
    "EndpointNotFound",
    "Message",
    "MessageGone",
    "NewEndpoint",
    "NewReplay",
    "TooManyEndpoints",
    "Trouble",
    "cancel_replay",
    "change",
    "count_replay",
    "delete",
    "get_type",
    "new_secret",
    "publish",
    "read_day_of_each",
    "read_delivery",
    "read_endpoint",
    "read_endpoints",
    "read_figures",
    "read_log",
    "read_replays",
    "read_trouble",
    "read_types",
    "register",
    "replay",
    "rotate_secret",
    "router",
    "schedules",
    "send_test",
    "sign",
    "start_replay",
    "tasks",
    "try_filter",
    "verify",
]
