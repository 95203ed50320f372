"""Senders: how an alert leaves the house, by kind of target.

A letter may be sent twice where a worker dies between sending and recording; it carries the id of its send as
`Idempotency-Key` (and `webhook-id`), so that a receiver tells.
"""

import base64
import hmac
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Answer, Outbound

Delivered = Literal["sent", "recorded"]
_log = logger(__name__)
_RECORDED_KEPT = 100


class SendFailed(Exception):
    """The letter did not arrive; `final` where another try cannot help."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(frozen=True, slots=True)
class Letter:
    """One alert to one target. `id` is the same at every try."""

    id: str
    company_id: str
    to: str
    subject: str
    text: str
    data: Mapping[str, Any]
    secret: str | None = None


class Sender(Protocol):
    """Sends letters to one kind of target; raises SendFailed."""

    async def send(self, letter: Letter) -> Delivered: ...


class Recorder:
    """Stands in for a sender that is not configured: the letter is kept in memory (the newest 100) and logged."""

    def __init__(self) -> None:
        self.letters: deque[Letter] = deque(maxlen=_RECORDED_KEPT)

    async def send(self, letter: Letter) -> Delivered:
        """The letter is recorded and goes nowhere."""
        self.letters.append(letter)
        _log.info("alert recorded, no sender is configured", send_id=letter.id, company_id=letter.company_id)
        return "recorded"


class SlackSender:
    """Posts to the URL of a Slack incoming webhook."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def send(self, letter: Letter) -> Delivered:
        """The text is in the channel of the webhook."""
        body = orjson.dumps({"text": f"*{letter.subject}*\n{letter.text}"})
        return _judge(await self._outbound.post(letter.to, body, _headers(letter)))


class WebhookSender:
    """Posts JSON to a URL of the company's own, signed as Standard Webhooks ask."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def send(self, letter: Letter) -> Delivered:
        """The receiver answered 2xx."""
        body = orjson.dumps({"type": "usage.threshold", "id": letter.id, "data": dict(letter.data)})
        at = str(int(time.time()))
        signature = sign(letter.secret or "", letter.id, at, body)
        headers = {"webhook-id": letter.id, "webhook-timestamp": at, "webhook-signature": signature}
        return _judge(await self._outbound.post(letter.to, body, {**_headers(letter), **headers}))


def sign(secret: str, letter_id: str, at: str, body: bytes) -> str:
    """The value of `webhook-signature` over id, time and body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{letter_id}.{at}.".encode() + body, "sha256")).decode()


def _headers(letter: Letter) -> dict[str, str]:
    return {"content-type": "application/json", "idempotency-key": letter.id}


def _judge(answer: Answer) -> Delivered:
    if answer.status is None:
        raise SendFailed(f"{answer.error}: {answer.error_detail}")
    if not 200 <= answer.status < 300:
        raise SendFailed(f"answered {answer.status}", final=answer.status == 410)
    return "sent"
