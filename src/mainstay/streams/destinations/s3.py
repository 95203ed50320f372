"""Buckets: one gzipped NDJSON object a batch, put by a signed request of the pinned client."""

import asyncio
import gzip
import hashlib
import hmac
import string
from datetime import datetime, timedelta
from typing import Final

from mainstay.kernel.outbound import Outbound
from mainstay.streams import schemas
from mainstay.streams.destinations.outcomes import Bounds, Outcome, judge
from mainstay.streams.forms import Batch

_TIMEOUT_SECONDS: Final = 60.0
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_PLAIN: Final = frozenset(string.ascii_letters + string.digits + "-._~/")
_SIGNED: Final = "host;x-amz-content-sha256;x-amz-date"


class S3:
    """Confirms by 200; the same events make the same object again, in the same place."""

    def __init__(self, wanted: schemas.S3, outbound: Outbound, now: datetime) -> None:
        self._wanted = wanted
        self._outbound = outbound
        self._now = now
        self.bounds = Bounds(10_000, 8 * 1_048_576, timedelta(seconds=wanted.flush_seconds))

    async def send(self, batch: Batch) -> Outcome:
        """Taken where the bucket has the object."""
        lines = b"".join(event.body + b"\n" for event in batch.events)
        body = await asyncio.to_thread(gzip.compress, lines, 6, mtime=0)
        scheme, host, path = self._place(self._name(batch))
        headers = authorization(
            host,
            path,
            hashlib.sha256(body).hexdigest(),
            self._now,
            key_id=self._wanted.access_key_id,
            secret=self._wanted.secret_access_key,
            region=self._wanted.region,
        )
        answer = await self._outbound.request(
            "PUT",
            f"{scheme}://{host}{path}",
            body=body,
            headers={**headers, "Content-Type": "application/gzip"},
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        return judge(answer, secrets=[self._wanted.secret_access_key])

    def _name(self, batch: Batch) -> str:
        """Below the day of the first event's receipt, in the order of time within it."""
        first = batch.events[0].received_at
        prefix = self._wanted.prefix.strip("/")
        stem = f"{first:%Y/%m/%d}/{first:%Y%m%dT%H%M%S%fZ}-{batch.id}.ndjson.gz"
        return f"{prefix}/{stem}" if prefix else stem

    def _place(self, name: str) -> tuple[str, str, str]:
        """Scheme, host and path of the object: below the bucket's own host, or below a path of the endpoint."""
        path = "/" + "".join(c if c in _PLAIN else f"%{ord(c):02X}" for c in name)
        if self._wanted.endpoint is None:
            return "https", f"{self._wanted.bucket}.s3.{self._wanted.region}.amazonaws.com", path
        scheme, _, rest = self._wanted.endpoint.partition("://")
        host, _, base = rest.rstrip("/").partition("/")
        host = host.lower().removesuffix(":443" if scheme == "https" else ":80")
        return scheme, host, f"{'/' + base if base else ''}/{self._wanted.bucket}{path}"


def authorization(
    host: str, path: str, digest: str, now: datetime, *, key_id: str, secret: str, region: str
) -> dict[str, str]:
    """The headers that sign a PUT of a body with that digest (AWS Signature Version 4, service s3)."""
    moment = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    request = "\n".join(
        (
            "PUT",
            path,
            "",
            f"host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{moment}\n",
            _SIGNED,
            digest,
        )
    )
    text = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {
        "x-amz-date": moment,
        "x-amz-content-sha256": digest,
        "Authorization": f"{_ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={_SIGNED}, Signature={signature}",
    }
