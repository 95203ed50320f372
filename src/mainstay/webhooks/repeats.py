"""Requests that come twice under one idempotency key: the second changes nothing and is answered as the first was."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header

from mainstay.kernel import once
from mainstay.kernel.db import Tx
from mainstay.web.callers import Caller
from mainstay.webhooks.errors import SecretShownBefore

OnceKey = Annotated[
    str | None,
    Header(alias=once.HEADER, description="1 to 255 printable ASCII: within 24 hours the request has one effect."),
]
ONCE: Final[dict[int, str]] = {422: "The idempotency key was used for another request within 24 hours."}
SECRET_ONCE: Final[dict[int, str]] = {
    409: "The request had its effect before: `endpointId` names the webhook, the secret was shown then.",
    **ONCE,
}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request in its transaction, and the id of what the first one of its key made (None: this is the first)."""

    tx: Tx
    company_id: str
    request: once.Request | None
    earlier: str | None

    async def made(self, made_id: str) -> None:
        """Whoever repeats the request is told that id."""
        if self.request is not None:
            await once.made(self.tx, self.company_id, self.request, made_id)


async def claim(tx: Tx, caller: Caller, given: str | None, act: str, *asked: Any) -> Claimed:
    """The request under its key, if one is given; OtherContent where its first one asked for something else."""
    key = once.header_key(given)
    if key is None:
        return Claimed(tx, caller.company_id, None, None)
    content = msgspec.json.encode(asked).decode()
    request = once.Request(f"{act}:{caller.id}", key, content)
    return Claimed(tx, caller.company_id, request, await once.claim(tx, caller.company_id, request))


def secret_shown_before(endpoint_id: str) -> SecretShownBefore:
    """What a repetition is told whose first answer showed a secret."""
    return SecretShownBefore(
        "This request had its effect before. The secret was shown then and is not shown again: where it was lost, "
        "rotate the secret of that webhook with another idempotency key.",
        extra={"endpointId": endpoint_id},
    )
