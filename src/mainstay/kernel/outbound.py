"""The one outbound HTTP client: vetted and pinned addresses, no redirects, all bounded, an answer for every failure."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final

import msgspec

from mainstay.kernel.addresses import AllowList, RefusedAddress, check_url
from mainstay.kernel.lookup import Lookup, LookupFailed, VettedLookup
from mainstay.kernel.pinning import ErrorCode, NoAnswer, Place, Pool, Wire, dial

HEADER_FIELDS_KEPT: Final = 32
HEADER_BYTES_KEPT: Final = 4_096
DETAIL_MAX_CHARACTERS: Final = 300
REASON_MAX_CHARACTERS: Final = 100
_JOINED_BODY_MAX_BYTES: Final = 64 * 1024
_OPEN_FILES: Final = 65_536
_MOST_CONNECTIONS: Final = 4_000
_REMEMBERED_URLS: Final = 4_096
_REMEMBERED_NAMES: Final = 1_024
_KEPT_FIRST: Final = frozenset({"retry-after", "webhook-delivery", "content-type", "location"})
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What frames a message and steers its connection is this client's own business.
_OURS: Final = frozenset(
    {"host", "accept", "accept-encoding", "connection", "content-length", "expect", "keep-alive", "te", "trailer",
     "transfer-encoding", "upgrade"}
)  # fmt: skip


class Answer(msgspec.Struct, frozen=True, gc=False):
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


class _Target(msgspec.Struct, frozen=True, gc=False):
    """A checked URL, ready to be requested; `addresses` is None where a name has to be looked up."""

    place: Place
    path: str
    fields: str
    addresses: tuple[str, ...] | None


def most_connections() -> int:
    """How many connections a process may keep, at most 4,000: half of its open files, of which it now has all it may.

    Source: getrlimit(2); a login shell often begins with 1,024 of many more.
    """
    import resource  # noqa: PLC0415 - missing on Windows, where no worker runs

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    usable = wanted if soft == resource.RLIM_INFINITY else soft
    return max(1, min(_MOST_CONNECTIONS, usable // 2))


class Outbound:
    """A pool of connections to other people's servers. Make one a process and close it at the end."""

    def __init__(
        self,
        *,
        allow: AllowList,
        timeout_seconds: float = 10.0,
        max_response_bytes: int = 16_384,
        connections: int = 1_000,
        resolver: Lookup | None = None,
        keep_lookups_seconds: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Time and size limits hold for each request; who finds all `connections` in use waits for one, in time."""
        self._allow = allow
        self._timeout_seconds = timeout_seconds
        self._max_response_bytes = max_response_bytes
        self._connections = connections
        self._lookup = VettedLookup(allow, resolver, keep_seconds=keep_lookups_seconds)
        self._ssl_context = ssl_context
        self._targets: dict[str, _Target] = {}
        self._pool: Pool | None = None
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
        if self._closed:
            raise RuntimeError("this Outbound is closed")
        started = time.monotonic()
        deadline = started + (self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        try:
            target = self._target(url)
            data = _request_bytes(method, target, headers or {}, body)
            wire = await self._exchange(target, data, deadline, is_bodiless=method == "HEAD")
            if wire.met_closed_connection and not self._closed:
                wire = await self._exchange(target, data, deadline, is_bodiless=method == "HEAD", is_fresh=True)
        except RefusedAddress as refusal:
            return _unanswered("refused_address", refusal.reason, started)
        except LookupFailed as failure:
            return _unanswered("dns", str(failure), started)
        except NoAnswer as failure:
            return _unanswered(failure.code, failure.detail, started)
        return _answer(wire, time.monotonic() - started)

    async def dial(
        self, host: str, port: int, *, tls: bool, authorities: str | None = None, timeout_seconds: float | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of the caller's own to a vetted address of the host; NoAnswer says why there is none.

        For what is not HTTP. With `authorities` (PEM), their certificates are trusted in place of the usual ones.
        """
        if self._closed:
            raise RuntimeError("this Outbound is closed")
        try:
            checked = check_url(f"https://{host}:{port}/", self._allow)
            context = self._ssl_context or ssl.create_default_context()
            if authorities is not None:
                context = ssl.create_default_context(cadata=authorities)
            async with asyncio.timeout(self._timeout_seconds if timeout_seconds is None else timeout_seconds):
                found = checked.address
                addresses = [str(found)] if found is not None else await self._lookup.addresses(checked.host)
                return await dial(checked.host, port, addresses, tls=context if tls else None, allow=self._allow)
        except TimeoutError:
            raise NoAnswer("timeout", "no connection in time") from None
        except RefusedAddress as refusal:
            raise NoAnswer("refused_address", refusal.reason) from None
        except LookupFailed as failure:
            raise NoAnswer("dns", str(failure)) from None

    async def close(self) -> None:
        """All connections are closed; requests under way end with 'closed' and later ones raise RuntimeError."""
        self._closed = True
        if self._pool is not None:
            await self._pool.close()
        await self._lookup.close()

    async def _exchange(
        self, target: _Target, data: Sequence[bytes], deadline: float, *, is_bodiless: bool, is_fresh: bool = False
    ) -> Wire:
        """A connection that has done with this request, and is free for others from the next step of the loop on."""
        pool = self._pool or self._open_pool()
        addresses = target.addresses or self._lookup.remembered(target.place[1])
        wire = None if is_fresh or addresses is None else pool.take(target.place, addresses)
        if wire is None:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    addresses = addresses or await self._lookup.addresses(target.place[1])
                    wire = await pool.acquire(target.place, addresses, is_fresh=is_fresh)
            except TimeoutError:
                raise NoAnswer("timeout", "no connection in time") from None
        try:
            await wire.exchange(data, deadline - time.monotonic(), is_bodiless=is_bodiless)
        except asyncio.CancelledError:
            wire.fail("closed", "the request was given up")
            raise
        pool.release(target.place, wire)
        return wire

    def _target(self, url: str) -> _Target:
        target = self._targets.get(url)
        if target is None:
            checked = check_url(url, self._allow)
            authority = checked.text.split("/", 3)[2]
            target = self._targets[url] = _Target(
                (checked.scheme, checked.host, checked.port),
                checked.target,
                f" HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\nAccept-Encoding: identity",
                None if checked.address is None else (str(checked.address),),
            )
            if len(self._targets) > _REMEMBERED_URLS:
                del self._targets[next(iter(self._targets))]
        return target

    def _open_pool(self) -> Pool:
        if self._closed:
            raise NoAnswer("closed", "this client was closed")
        self._pool = Pool(
            self._allow,
            tls=self._ssl_context or ssl.create_default_context(),
            max_body_bytes=self._max_response_bytes,
            connections=self._connections,
        )
        return self._pool


def _request_bytes(method: str, target: _Target, headers: Mapping[str, str], body: bytes) -> tuple[bytes, ...]:
    """The request as it goes out; ValueError for what does not belong into a header."""
    pieces: list[str] = []
    for name, value in headers.items():
        pieces += (_field_start(name), value)
    fields = "".join(pieces)
    if fields.count("\n") != len(headers) or fields.count("\r") != len(headers) or "\0" in fields:
        raise ValueError("a header's value must not hold a line break or NUL")
    length = f"\r\nContent-Length: {len(body)}" if body or method not in ("GET", "HEAD") else ""
    head = f"{_method(method)} {target.path}{target.fields}{fields}{length}\r\n\r\n".encode()
    return (head + body,) if len(body) <= _JOINED_BODY_MAX_BYTES else (head, body)


@lru_cache(maxsize=_REMEMBERED_NAMES)
def _field_start(name: str) -> str:
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise ValueError(f"not a header that can be given: {name!r}")
    return f"\r\n{name}: "


@lru_cache(maxsize=16)
def _method(name: str) -> str:
    if not _TOKEN.fullmatch(name) or name == "CONNECT":
        raise ValueError(f"not a method that can be used: {name!r}")
    return name


def _unanswered(code: ErrorCode, detail: str, started: float) -> Answer:
    seconds = time.monotonic() - started
    return Answer(None, "", {}, b"", False, seconds, "", code, _printable(detail, DETAIL_MAX_CHARACTERS))


def _answer(wire: Wire, seconds: float) -> Answer:
    error, detail = wire.fault or (None, "")
    has_head = wire.status is not None
    return Answer(
        wire.status,
        _printable(wire.reason.decode("utf-8", "replace"), REASON_MAX_CHARACTERS) if has_head else "",
        _bounded_headers(wire.fields, wire.received_bytes) if has_head else {},
        bytes(wire.body),
        wire.truncated,
        seconds,
        wire.peer,
        error,
        _printable(detail, DETAIL_MAX_CHARACTERS),
    )


def _bounded_headers(raw: Sequence[tuple[bytes, bytes]], received_bytes: int) -> dict[str, str]:
    """The fields that fit the bounds, those that steer a delivery first."""
    fields = [(_lower_name(name), value.decode("utf-8", "replace")) for name, value in raw]
    # A byte that is no UTF-8 is kept as three.
    is_large = 3 * received_bytes > HEADER_BYTES_KEPT and sum(len(n) + 3 * len(v) for n, v in raw) > HEADER_BYTES_KEPT
    if is_large or len(fields) > HEADER_FIELDS_KEPT:
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


@lru_cache(maxsize=_REMEMBERED_NAMES)
def _lower_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _printable(text: str, limit: int) -> str:
    """At most `limit` characters, all of them storable: no control characters and no lone surrogates."""
    if len(text) <= limit and text.isprintable():
        return text
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in clean[:limit])
