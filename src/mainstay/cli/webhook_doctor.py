"""What is wrong with a webhook: its settings, its log, and one signed message that is sent from here."""

import hmac
import json
import secrets as randomness
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import aiohttp

from mainstay.cli.calling import Refused, Service
from mainstay.cli.output import CommandFailed
from mainstay.kernel import clock
from mainstay.webhooks import sign

TRY_SECONDS: Final = 10
"""As long as the service waits for a receiver."""
ANSWER_BYTES: Final = 500
_WEBHOOKS: Final = "/v1/key/company/webhooks"
_ADVICE: Final = {
    401: "The receiver refuses the signature or asks for a login: compare the signatures, check its secret.",
    403: "The receiver refuses the sender: check its firewall, its bot protection and its CSRF check.",
    404: "Nothing listens at this path: check the URL.",
    405: "The path takes no POST: check the URL.",
    410: "The receiver says that it is gone for good: the service switches such a webhook off.",
    413: "The receiver takes no message of this size: raise its limit.",
    429: "The receiver is overrun: lower the webhook's rate.",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One message that was sent from here, how it was signed, and what came back."""

    url: str
    body: str
    headers: Mapping[str, str]
    status: int | None
    answer: str
    duration_ms: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Examination:
    """A webhook with its newest deliveries, the trial where one was made, and what is to be done."""

    webhook: Mapping[str, Any]
    deliveries: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    tries: int
    trial: Trial | None
    findings: Sequence[str]

    @property
    def is_well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """Everything for a script."""
        trial = None if self.trial is None else asdict(self.trial)
        return {
            "webhook": self.webhook,
            "deliveries": self.deliveries,
            "counts": self.counts,
            "tries": self.tries,
            "trial": trial,
            "findings": list(self.findings),
        }


async def examine(
    service: Service, webhook_id: str, *, secret: str | None, brand: str, limit: int, sends: bool
) -> Examination:
    """The webhook is examined; CommandFailed where the service does not tell of it."""
    try:
        webhook = await service.get(f"{_WEBHOOKS}/{webhook_id}")
        page = await service.get(f"{_WEBHOOKS}/{webhook_id}/logs", {"limit": str(limit)})
    except Refused as refusal:
        raise refusal.failure() from None
    deliveries = page["data"]
    trial = None
    if sends and webhook.get("url"):
        body = json.dumps(
            {"type": "webhook.test", "timestamp": clock.iso(clock.SystemClock().now()), "data": {}, "test": True},
            separators=(",", ":"),
        )
        headers = signed_headers(webhook_id, body, secret=secret, brand=brand, now_seconds=int(time.time()))
        trial = await send(str(webhook["url"]), body, headers)
    return Examination(
        webhook,
        deliveries,
        dict(Counter(one["status"] for one in deliveries)),
        sum(one["attemptCount"] for one in deliveries),
        trial,
        findings_of(webhook, deliveries, trial, is_signed=secret is not None),
    )


def signed_headers(webhook_id: str, body: str, *, secret: str | None, brand: str, now_seconds: int) -> dict[str, str]:
    """What a delivery of this body carries, signed where the secret is known."""
    message_id = f"doctor-{randomness.token_hex(8)}"
    headers = {
        "Content-Type": "application/json",
        f"X-{brand}-Event": "webhook.test",
        f"X-{brand}-Webhook-Id": webhook_id,
        "webhook-id": message_id,
        "webhook-timestamp": str(now_seconds),
    }
    if secret is not None:
        headers["webhook-signature"] = sign([secret], message_id, now_seconds, body.encode())
        # The secret's text is the key here, as the documented receiver has it.
        headers[f"X-{brand}-Signature"] = "sha256=" + hmac.digest(secret.encode(), body.encode(), "sha256").hex()
    return headers


async def send(url: str, body: str, headers: Mapping[str, str]) -> Trial:
    """The message was sent once, from this machine and not from the service; redirects are not followed."""
    started = time.monotonic()
    status, answer, error = None, "", None
    try:
        timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body.encode(), headers=dict(headers), allow_redirects=False) as reply,
        ):
            status = reply.status
            answer = (await reply.content.read(ANSWER_BYTES)).decode("utf-8", "replace")
    except TimeoutError:
        error = f"no answer within {TRY_SECONDS} s"
    except (aiohttp.ClientError, ValueError) as failure:
        error = str(failure) or type(failure).__name__
    return Trial(url, body, headers, status, answer, round((time.monotonic() - started) * 1_000), error)


def findings_of(
    webhook: Mapping[str, Any], deliveries: Sequence[Mapping[str, Any]], trial: Trial | None, *, is_signed: bool
) -> list[str]:
    """What is wrong and what to do, the most telling first; nothing where all is well."""
    found = []
    if not webhook.get("isActive", True):
        found.append("The webhook is switched off, so nothing is sent: mend the receiver, then switch it on.")
    failed = [one for one in deliveries if one["status"] in ("FAILED", "RETRYING")]
    if failed:
        newest = failed[0]
        why = newest["lastStatusCode"] or newest["lastError"] or "no answer"
        found.append(
            f"{len(failed)} of the newest {len(deliveries)} deliveries failed or are tried again; "
            f"the last of them after {newest['attemptCount']} of {newest['maxAttempts']} tries: {why}."
        )
    untried = [one for one in deliveries if one["status"] == "PENDING" and not one["attemptCount"]]
    if untried and len(untried) == len(deliveries):
        found.append("No delivery was tried yet: does a worker run?")
    if trial is not None and trial.error is not None:
        found.append(f"The URL does not answer from here: {trial.error}.")
    elif trial is not None and trial.status is not None and not 200 <= trial.status < 300:
        found.append(f"The URL answers {trial.status} from here. {_advice(trial.status, is_signed)}")
    return found


def _advice(status: int, is_signed: bool) -> str:
    if status in (400, 401) and not is_signed:
        return "The message was not signed: pass --secret to try it as the service sends it."
    if 300 <= status < 400:
        return "Redirects are not followed: register the address to which it leads."
    if status >= 500:
        return "The receiver fails: look into its log."
    return _ADVICE.get(status, "The receiver refuses the message: compare the signatures, look into its log.")


def require_secret(secret: str | None) -> None:
    """Nothing where the secret can sign, or there is none; CommandFailed."""
    if secret is not None:
        try:
            sign([secret], "m", 0, b"")
        except ValueError as error:
            raise CommandFailed(
                f"--secret: {error}", "It is shown when the webhook is made or its secret rotated."
            ) from None
