"""The places that events go to: each takes a batch and says what became of it."""

from datetime import datetime

from mainstay import webhooks
from mainstay.kernel.outbound import Outbound
from mainstay.streams import schemas
from mainstay.streams.destinations.collectors import Datadog, Https, Splunk
from mainstay.streams.destinations.outcomes import Bounds, Outcome, Sender, Unopened
from mainstay.streams.destinations.s3 import S3
from mainstay.streams.destinations.syslog import Syslog

__all__ = ["Bounds", "Outcome", "Sender", "Unopened", "sender_of"]


def sender_of(wanted: schemas.Destination, outbound: Outbound, *, signing: str, brand: str, now: datetime) -> Sender:
    """What carries batches to the destination; `signing` is the secret that signs what goes to servers of https."""
    if isinstance(wanted, schemas.S3):
        return S3(wanted, outbound, now)
    if isinstance(wanted, schemas.Splunk):
        return Splunk(wanted, outbound)
    if isinstance(wanted, schemas.Datadog):
        return Datadog(wanted, outbound)
    if isinstance(wanted, schemas.Syslog):
        return Syslog(wanted, outbound)

    def sign(message_id: str, body: bytes) -> str:
        return webhooks.sign([signing], message_id, round(now.timestamp()), body)

    return Https(wanted, outbound, sign=sign, brand=brand, now=now)
