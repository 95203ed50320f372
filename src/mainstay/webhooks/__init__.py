"""Webhooks: customers subscribe endpoints; every message that one wants is signed, delivered, retried and replayable.

    delivery:  PENDING --2xx--> DELIVERED        endpoint:  active <--switched by its owner--> inactive
                  | try failed   ^                             \\--the receiver says 410--> inactive (endpoint.disabled)
                  v              | 2xx                      either --deleted--> deleted
               RETRYING ---------+
                  | no try left, or 410             PENDING or RETRYING at an endpoint that is inactive or deleted
                  v                                 when the try comes due --> DISCARDED
                FAILED --redriven job: one more try--> DELIVERED | FAILED

Guarantees: deliveries and their jobs commit with what they tell of (`publish`, or the SQL function `fan_out`). Tries
come at once, then 1 min, 5 min, 30 min and 6 h after the try before, never earlier than a `Retry-After` of up to 6 h
asks; `retries` (0 to 4) cuts the ladder. A try and its acknowledgement are recorded in one transaction; the request
itself may reach the receiver twice, under the same `webhook-id`. The body is sent byte for byte as published. Secrets
are stored sealed and shown once.
Bound: a worker has 200 requests in flight, at most 10 to one endpoint, each for 10 s at most. Up to 19 endpoints may
hang without taking a place that others need; with more, places come free at 20 a second or faster and go round the
endpoints in turn. Response heads are kept to 4,096 bytes and bodies to 4,096 bytes; logs for 30 days.
Refuses: URLs into private networks (when saved and at each try), redirects, over 1,000 endpoints a company.
"""

from mainstay.webhooks.deliveries import LogPage, read_log, replay, send_test, sweep
from mainstay.webhooks.endpoints import FindWorkspace, change, delete, get, register, rotate_secret
from mainstay.webhooks.errors import (
    DeliveryNotFound,
    EndpointInactive,
    EndpointNotFound,
    MessageGone,
    TooManyEndpoints,
)
from mainstay.webhooks.figures import read as read_figures
from mainstay.webhooks.messages import Message, publish
from mainstay.webhooks.routes import router
from mainstay.webhooks.schemas import EndpointChange, NewEndpoint
from mainstay.webhooks.signing import BadSignature, verify
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
    "FindWorkspace",
    "LogPage",
    "Message",
    "MessageGone",
    "NewEndpoint",
    "TooManyEndpoints",
    "Trouble",
    "change",
    "delete",
    "get",
    "publish",
    "read_figures",
    "read_log",
    "read_trouble",
    "register",
    "replay",
    "rotate_secret",
    "router",
    "schedules",
    "send_test",
    "sweep",
    "tasks",
    "verify",
]
