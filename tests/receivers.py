"""Receivers that misbehave on purpose: raw HTTP servers on loopback whose every answer is scripted byte by byte."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    at_seconds: float
    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw_names: list[str] = field(default_factory=list)


class Hangup(Exception):
    """Ends the connection from within a behaviour."""


@dataclass
class Line:
    """The connection a behaviour writes on; `read_request` lets it answer before it has read anything."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    read_request: Callable[[], Awaitable[Received]]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Behaviour = Callable[[Line], Awaitable[None]]


class Receiver:
    """A server in this event loop: records each request, answers the n-th by the n-th behaviour, the last for ever."""

    def __init__(self, *behaviours: Behaviour, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.behaviours: list[Behaviour] = list(behaviours) or [ok()]
        self.paths: dict[str, Behaviour] = {}
        self.requests: list[Received] = []
        self.connections = 0
        self.host = host
        self._tls = tls
        self._turn = 0
        self._arrived = asyncio.Condition()
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._accept, self.host, 0, ssl=self._tls, limit=1 << 20)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.hang_up()

    def url(self, path: str = "/hook", *, host: str | None = None, scheme: str | None = None) -> str:
        """The address of this receiver; another name for the host, or another scheme, may be claimed."""
        name = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{scheme or ('https' if self._tls else 'http')}://{name}:{self.port}{path}"

    def behave(self, *behaviours: Behaviour) -> None:
        """From the next request on, these answers in turn, the last for ever."""
        self.behaviours, self._turn = list(behaviours), 0

    def at(self, path: str, behaviour: Behaviour) -> None:
        """Requests whose target starts with this path get this answer; it reads the request itself if it needs to."""
        self.paths[path] = behaviour

    async def wait_for(self, count: int, timeout_seconds: float = 30.0) -> list[Received]:
        """The requests, once there are at least `count`."""
        async with asyncio.timeout(timeout_seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def hang_up(self) -> None:
        """Every open connection is closed from this side."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while True:
                head = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
                try:
                    await self._answer_next(head, reader, writer, number)
                finally:
                    if not head.done():
                        head.cancel()
                    with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                        await head
        except (Hangup, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer_next(
        self, head: asyncio.Future[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        received: Received | None = None

        async def read_request() -> Received:
            nonlocal received
            if received is None:
                received = await _read_request(await asyncio.shield(head), reader, number)
                self.requests.append(received)
                async with self._arrived:
                    self._arrived.notify_all()
            return received

        line = Line(reader, writer, read_request)
        if self.paths:
            target = (await read_request()).target
            for path, behaviour in self.paths.items():
                if target.startswith(path):
                    return await behaviour(line)
        behaviour = self.behaviours[min(self._turn, len(self.behaviours) - 1)]
        if not getattr(behaviour, "at_connect", False):
            await read_request()
            behaviour = self.behaviours[min(self._turn, len(self.behaviours) - 1)]
        self._turn += 1
        await behaviour(line)


async def _read_request(head: bytes, reader: asyncio.StreamReader, number: int) -> Received:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(time.time(), number, method, target, headers, body, [name for name, _ in pairs])


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, reason: str = "Scripted") -> bytes:
    """The bytes of a well-formed answer."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if status >= 200 and status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def ok(status: int = 200, body: bytes = b"ok", headers: Mapping[str, str] | None = None) -> Behaviour:
    """Reads the request and answers."""
    return says(answer(status, b"" if status == 204 else body, headers))


def says(*pieces: bytes, pause_seconds: float = 0.0, then_close: bool = False) -> Behaviour:
    """Reads the request and writes exactly these bytes, with pauses between them."""

    async def behave(line: Line) -> None:
        await line.read_request()
        for index, piece in enumerate(pieces):
            if index and pause_seconds:
                await asyncio.sleep(pause_seconds)
            await line.send(piece)
        if then_close:
            raise Hangup

    return behave


def after(delay_seconds: float, behaviour: Behaviour) -> Behaviour:
    """The same answer, later."""

    async def behave(line: Line) -> None:
        await line.read_request()
        await asyncio.sleep(delay_seconds)
        await behaviour(line)

    return behave


def hang() -> Behaviour:
    """Reads the request and never answers."""
    return after(3_600, ok())


def drip_head(pause_seconds: float = 1.0) -> Behaviour:
    """A byte of the head at a time."""
    return says(*(bytes([b]) for b in answer(200, b"slow")), pause_seconds=pause_seconds)


def drip_body(pause_seconds: float = 1.0, status: int = 200) -> Behaviour:
    """A whole head at once, then a byte of the body at a time."""
    return says(answer(status, b"x" * 1_000)[:-1_000], *([b"x"] * 1_000), pause_seconds=pause_seconds)


def huge_body(total_bytes: int = 64 * 1024 * 1024, status: int = 200, *, chunked: bool = False) -> Behaviour:
    """An answer far larger than anybody wants."""

    async def behave(line: Line) -> None:
        await line.read_request()
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {total_bytes}"
        await line.send(f"HTTP/1.1 {status} Big\r\n{framing}\r\n\r\n".encode())
        piece = b"B" * 65_536
        for _ in range(total_bytes // len(piece)):
            await line.send(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        raise Hangup

    return behave


def huge_headers(fields: int = 1, value_bytes: int = 1024 * 1024) -> Behaviour:
    """A head of many or very long fields."""
    lines = "".join(f"X-Field-{n}: {'h' * value_bytes}\r\n" for n in range(fields))
    return says(f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n".encode())


def endless(piece: bytes, first: bytes = b"") -> Behaviour:
    """Repeats the same bytes for as long as somebody reads them."""

    async def behave(line: Line) -> None:
        await line.read_request()
        await line.send(first)
        while True:
            await line.send(piece * max(1, 16_384 // len(piece)))
            await asyncio.sleep(0)

    return behave


def close_at_once() -> Behaviour:
    """Closes before it reads anything."""

    async def behave(_: Line) -> None:
        raise Hangup

    behave.at_connect = True  # type: ignore[attr-defined]
    return behave


def reset_at_once() -> Behaviour:
    """Breaks the connection off with a TCP reset before it reads anything."""

    async def behave(line: Line) -> None:
        line.writer.transport.abort()
        raise Hangup

    behave.at_connect = True  # type: ignore[attr-defined]
    return behave


def close_after_reading() -> Behaviour:
    """Reads the request and closes without an answer."""
    return says(then_close=True)


def close_within_body(status: int = 200) -> Behaviour:
    """Promises a body and closes in the middle of it."""
    return says(answer(status, b"x" * 100)[:-50], then_close=True)


def interim(*statuses: int, then: Behaviour | None = None) -> Behaviour:
    """1xx answers, then the true one."""

    async def behave(line: Line) -> None:
        await line.read_request()
        for status in statuses:
            await line.send(answer(status, headers={"Link": "</style.css>"} if status == 103 else None))
        await (then or ok())(line)

    return behave


def redirect(location: str, status: int = 302) -> Behaviour:
    """Points somewhere else."""
    return ok(status, b"elsewhere", {"Location": location})


def slow_down(retry_after: str | int | datetime.datetime, status: int = 429) -> Behaviour:
    """Asks for patience, in seconds or as an HTTP date."""
    value = (
        format_datetime(retry_after, usegmt=True) if isinstance(retry_after, datetime.datetime) else str(retry_after)
    )
    return ok(status, b"later", {"Retry-After": value})


def garbage(data: bytes = b"\x00\x01\x02 this is not HTTP \xff\xfe\r\n\r\n") -> Behaviour:
    """Speaks something else."""
    return says(data, then_close=True)


@asynccontextmanager
async def closed_port(host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A port where nobody listens."""
    server = await asyncio.start_server(lambda *_: None, host, 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield port


def tls_pair(directory: Path, *names: str, expired: bool = False) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server context with a certificate for these names or addresses, and a client context that trusts its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver kit")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=-1 if expired else 1))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = directory / f"receiver-{certificate.serial_number:x}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
