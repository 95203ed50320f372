"""Receivers of syslog: RFC 5424 messages with octet counting (RFC 6587) over TLS (RFC 5425) or TCP."""

import asyncio
from contextlib import suppress
from typing import Final

from mainstay.kernel.clock import iso
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.pinning import NoAnswer
from mainstay.streams import schemas
from mainstay.streams.destinations.outcomes import TAKEN, Bounds, Outcome
from mainstay.streams.forms import Batch, Sendable

PRIORITY: Final = 13 * 8 + 6
"""Facility 13 (log audit), severity 6 (informational)."""
_WRITE_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 5.0


class Syslog:
    """The protocol has no answer: a batch is taken once the receiver has read to its end without breaking off."""

    bounds = Bounds(1_000, 1_048_576)

    def __init__(self, wanted: schemas.Syslog, outbound: Outbound) -> None:
        self._wanted = wanted
        self._outbound = outbound

    async def send(self, batch: Batch) -> Outcome:
        """Taken where all of it was read as far as the transport can tell; each batch has a connection of its own."""
        wanted = self._wanted
        try:
            reader, writer = await self._outbound.dial(
                wanted.host, wanted.port, tls=wanted.tls, authorities=wanted.authorities
            )
        except NoAnswer as failure:
            reason = f"no connection: {failure.code} ({failure.detail})"
            return Outcome(False, reason, is_permanent=failure.code == "refused_address")
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                for event in batch.events:
                    message = framed(event, wanted.app_name)
                    writer.write(b"%d " % len(message) + message)
                    await writer.drain()
            await self._end(reader, writer)
        except TimeoutError:
            return Outcome(False, f"the receiver reads too slowly: {_WRITE_SECONDS:.0f} s for one batch")
        except OSError as failure:
            return Outcome(False, f"the connection broke: {failure.strerror or type(failure).__name__}")
        finally:
            writer.transport.abort()
        return TAKEN

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything was read: the receiver ends its side once ours has ended, or leaves it open without a reset."""
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await writer.wait_closed()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while await reader.read(4_096):
                    pass


def framed(event: Sendable, app_name: str) -> bytes:
    """One message; its MSGID is the action, as far as it fits, and its text the event as JSON."""
    message_id = "".join(c for c in event.action if "!" <= c <= "~")[:32] or "-"
    head = f"<{PRIORITY}>1 {iso(event.occurred_at)} {event.workspace_id} {app_name} - {message_id} "
    return head.encode() + b'[origin software="mainstay"] ' + event.body
