"""The one outbound HTTP client: vetted and pinned addresses, no redirects, all bounded, an answer for every failure."""

from __future__ import annotations

import asyncio
import io
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from mainstay.kernel.addresses import AllowList, CheckedUrl, RefusedAddress, check_url
from mainstay.kernel.lookup import Lookup, LookupFailed, VettedLookup
from mainstay.kernel.pinning import ErrorCode, Exchange, PinnedConnector, PinnedResolver, current_exchange

HEADER_FIELDS_KEPT: Final = 32
HEADER_BYTES_KEPT: Final = 4_096
HEAD_MAX_FIELDS: Final = 100
HEAD_LINE_MAX_BYTES: Final = 16 * 1024
DETAIL_MAX_CHARACTERS: Final = 300
REASON_MAX_CHARACTERS: Final = 100
# Just under the 5 s after which common servers drop an idle connection.
KEEP_ALIVE_SECONDS: Final = 4.0
_READ_BUFFER_BYTES: Final = 64 * 1024
_DIRECT_BODY_MAX_BYTES: Final = 1024 * 1024
_REMEMBERED_URLS: Final = 4_096
_KEPT_FIRST: Final = frozenset({"retry-after", "content-type", "location"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, or why nothing did.

    `status` is None until a complete head arrived; beside a status, `error` says how the body broke off ('timeout',
    'closed', 'protocol'). Header names are in lower case, repeated fields joined by ", ".
    """

    status: int | None
    reason: str
    headers: dict[str, str]
    body: bytes
    truncated: bool
    duration_seconds: float
    address: str
    error: ErrorCode | None
    error_detail: str


class Outbound:
    """A pool of connections to other people's servers. Make one a process and close it at the end."""

    def __init__(
        self,
        *,
        allow: AllowList,
        timeout_seconds: float = 10.0,
        max_response_bytes: int = 16_384,
        connections: int = 1_000,
        per_host: int = 0,
        resolver: Lookup | None = None,
        keep_lookups_seconds: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Time and size limits hold for each request; with `per_host` 0 only `connections` bounds those to one host."""
        self._allow = allow
        self._timeout_seconds = timeout_seconds
        self._max_response_bytes = max_response_bytes
        self._connections = connections
        self._per_host = per_host
        self._lookup = VettedLookup(allow, resolver, keep_seconds=keep_lookups_seconds)
        self._ssl_context = ssl_context
        self._targets: dict[str, tuple[CheckedUrl, URL]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float | None = None
    ) -> Answer:
        """The answer to a POST of these bytes; see `request`."""
        return await self.request("POST", url, body=body, headers=headers, timeout_seconds=timeout_seconds)

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """The answer, within `timeout_seconds` in all; raises only for a caller's mistake and for cancellation.

        A request that meets a kept connection which the server had just closed, before any byte of an answer, is sent
        once more on a new connection: the receiver may see it twice and tells by its id, as with every delivery.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        exchange = Exchange()
        error: ErrorCode | None = None
        detail = ""
        try:
            async with asyncio.timeout(self._timeout_seconds if timeout_seconds is None else timeout_seconds):
                try:
                    await self._exchange_once(exchange, method, url, body, headers or {})
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if not _met_stale_connection(exchange):
                        raise
                    exchange = Exchange(fresh_connection=True)
                    await self._exchange_once(exchange, method, url, body, headers or {})
        except TimeoutError:
            error, detail = "timeout", _phase(exchange)
        except (RefusedAddress, LookupFailed, aiohttp.ClientError, OSError) as problem:
            error, detail = _explain(problem, exchange)
        wire = exchange.wire
        return Answer(
            exchange.status,
            exchange.reason,
            exchange.headers,
            bytes(exchange.body),
            exchange.truncated,
            loop.time() - started,
            wire.peer if wire is not None else "",
            error,
            _printable(detail, DETAIL_MAX_CHARACTERS),
        )

    async def close(self) -> None:
        """All connections are closed; requests under way end with 'closed' and later ones raise RuntimeError."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        await self._lookup.close()

    async def _exchange_once(
        self, exchange: Exchange, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        checked, target = self._target(url)
        if checked.address is None:
            await self._lookup.addresses(checked.host)
        token = current_exchange.set(exchange)
        try:
            response = await self._open_session().request(
                method,
                target,
                data=body if len(body) <= _DIRECT_BODY_MAX_BYTES else io.BytesIO(body),
                headers={"Accept-Encoding": "identity", **headers},
                allow_redirects=False,
            )
        finally:
            current_exchange.reset(token)
        try:
            exchange.status = response.status
            exchange.reason = _printable(response.reason or "", REASON_MAX_CHARACTERS)
            exchange.headers = _bounded_headers(response.raw_headers)
            if exchange.wire is not None:
                exchange.wire.reader = response.content
            await _read_bounded(response.content, exchange, self._max_response_bytes)
        finally:
            if not response.content.at_eof() or response.status == 101:
                response.close()

    def _target(self, url: str) -> tuple[CheckedUrl, URL]:
        target = self._targets.get(url)
        if target is None:
            checked = check_url(url, self._allow)
            parsed = URL(checked.text, encoded=True)
            if (parsed.raw_host, parsed.port) != (checked.host, checked.port):
                raise RefusedAddress("the URL's host can be read in two ways")
            target = self._targets[url] = (checked, parsed)
            if len(self._targets) > _REMEMBERED_URLS:
                del self._targets[next(iter(self._targets))]
        return target

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("this Outbound is closed")
        if self._session is None:
            connector = PinnedConnector(
                self._allow,
                self._max_response_bytes,
                resolver=PinnedResolver(self._lookup),
                use_dns_cache=False,
                ssl=self._ssl_context or ssl.create_default_context(),
                limit=self._connections,
                limit_per_host=self._per_host,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                read_bufsize=_READ_BUFFER_BYTES,
                max_line_size=HEAD_LINE_MAX_BYTES,
                max_field_size=HEAD_LINE_MAX_BYTES,
                max_headers=HEAD_MAX_FIELDS,
            )
        return self._session


async def _read_bounded(content: aiohttp.StreamReader, exchange: Exchange, max_bytes: int) -> None:
    while not content.at_eof():
        piece = await content.readany()
        room = max_bytes - len(exchange.body)
        exchange.body += piece[:room]
        if len(piece) > room:
            exchange.truncated = True
            return


def _bounded_headers(raw: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    """The fields that fit the bounds, those that steer a delivery first."""
    fields = [(name.decode("latin-1").lower(), value.decode("utf-8", "replace")) for name, value in raw]
    if len(fields) > HEADER_FIELDS_KEPT or sum(len(n) + len(v) for n, v in raw) > HEADER_BYTES_KEPT:
        fields.sort(key=lambda pair: pair[0] not in _KEPT_FIRST)
        kept: list[tuple[str, str]] = []
        room = HEADER_BYTES_KEPT
        for name, value in fields[:HEADER_FIELDS_KEPT]:
            size = len(name.encode()) + len(value.encode())
            if size <= room:
                kept.append((name, value))
                room -= size
        fields = kept
    headers: dict[str, str] = {}
    for name, value in fields:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _met_stale_connection(exchange: Exchange) -> bool:
    wire = exchange.wire
    return wire is not None and wire.exchanges > 1 and wire.received_bytes == 0 and wire.fault is None


def _phase(exchange: Exchange) -> str:
    if exchange.status is not None:
        return "the answer's body did not end in time"
    if exchange.wire is not None:
        return "no complete answer in time"
    return "no connection in time"


def _explain(problem: Exception, exchange: Exchange) -> tuple[ErrorCode, str]:
    """The closed code and a sentence for what went wrong."""
    if exchange.wire is not None and exchange.wire.fault is not None:
        return exchange.wire.fault
    if isinstance(problem, RefusedAddress):
        return "refused_address", problem.reason
    if isinstance(problem, LookupFailed | aiohttp.ClientConnectorDNSError):
        return "dns", str(problem)
    chain = list(_causes(problem))
    if any(isinstance(cause, ssl.SSLError | ssl.CertificateError) for cause in chain):
        return "tls", _tls_detail(chain)
    if isinstance(problem, aiohttp.ClientConnectorError):
        number = problem.os_error.errno
        return "connect", os.strerror(number) if number else str(problem.os_error) or "no connection"
    if isinstance(problem, aiohttp.ClientResponseError):
        if any(isinstance(cause, LineTooLong) for cause in chain) or "too many" in problem.message.lower():
            return "too_large_headers", "a line or the number of fields of the answer's head is over the limit"
        return "protocol", f"not an HTTP answer: {problem.message}"
    if isinstance(problem, aiohttp.ClientPayloadError):
        return ("closed" if "not completed" in str(problem) else "protocol"), f"the body broke off: {problem}"
    if isinstance(problem, aiohttp.ClientConnectionError | OSError):
        return "closed", "the connection was closed before the answer was complete"
    return "protocol", str(problem) or type(problem).__name__


def _tls_detail(chain: list[BaseException]) -> str:
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError) and (why := getattr(cause, "verify_message", "")):
            return f"the certificate was refused: {why}"
    return next(str(cause) for cause in chain if isinstance(cause, ssl.SSLError | ssl.CertificateError))


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """The exception, what caused it, and what a connector error wraps."""
    seen: BaseException | None = problem
    while seen is not None:
        yield seen
        wrapped = getattr(seen, "os_error", None) or getattr(seen, "certificate_error", None)
        seen = wrapped if isinstance(wrapped, BaseException) else seen.__cause__


def _printable(text: str, limit: int) -> str:
    """At most `limit` characters, all of them storable: no control characters and no lone surrogates."""
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in clean[:limit])
