"""Calling a Mainstay over HTTP with an API key: retries that wait as told, and refusals in words."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson
import typer

from mainstay import __version__
from mainstay.cli.output import USAGE, CommandFailed

DEFAULT_URL = "http://127.0.0.1:8080"
GIVE_UP_SECONDS = 5.0
"""How long one call is repeated while the service is away or asks to wait, unless a command says otherwise."""
_LONGEST_PAUSE_SECONDS = 30.0
_SILENT_SECONDS = 120.0
"""How long an answer that is streamed may stay silent."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_IN_FLIGHT = "idempotency-in-flight"

Url = Annotated[str, typer.Option("--url", envvar="MAINSTAY_URL", help="Where the API is.")]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="MAINSTAY_KEY", help="API key; prefer the variable: arguments are seen by others."),
]


class Refused(Exception):
    """The service answered with a refusal that trying again will not change."""

    def __init__(self, status: int, detail: str, errors: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors

    def failure(self) -> CommandFailed:
        """The refusal as the end of a command."""
        told = "; ".join(f"{one.get('pointer', '')}: {one.get('detail', '')}" for one in self.errors)
        return CommandFailed(f"refused with {self.status}: {self.detail}", told or _HINTS.get(self.status, ""))


_HINTS = {
    401: "Is MAINSTAY_KEY right, and neither expired nor revoked? 'mainstay keys create' issues one.",
    403: "This key may not do this: check its kind (workspace or company), its rights and its allow-list.",
    404: "Is MAINSTAY_URL the address of a Mainstay, and is the id right?",
}


class Service:
    """A Mainstay as its clients see it."""

    def __init__(
        self, url: str, key: str | None, *, on_wait: Callable[[str, float], None] | None = None,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:  # fmt: skip
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise CommandFailed("MAINSTAY_URL must begin with http:// or https:// and name a host", code=USAGE)
        if not key:
            hint = "Set MAINSTAY_KEY; 'mainstay keys create --company SLUG --workspace SLUG' issues one."
            raise CommandFailed("an API key is missing", hint, code=USAGE)
        if not (key.isascii() and key.isprintable()):
            raise CommandFailed("MAINSTAY_KEY holds characters that no key has", code=USAGE)
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "user-agent": f"mainstay-cli/{__version__}"}
        self._on_wait = on_wait
        self._give_up_seconds = give_up_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=120, sock_connect=10)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON; Refused, CommandFailed."""
        return await self._call("GET", path, query=query)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Any:
        """The answer's JSON; Refused, CommandFailed. Only for calls that bear repetition."""
        typed = {"content-type": "application/json", **(headers or {})}
        return await self._call("POST", path, body=body, headers=typed)

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The answer's bytes as they come, however long it takes; Refused, and aiohttp's errors where it is cut."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENT_SECONDS)
        async with self._session.get(self.url + path, params=query, allow_redirects=False, timeout=timeout) as answer:
            if answer.status >= 300:
                raise _refusal_of(answer.status, await answer.read())[0]
            async for chunk in answer.content.iter_any():
                yield chunk

    async def _call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._give_up_seconds
        tries = 0
        while True:
            try:
                return await self._try(method, path, query, body, headers)
            except _Passing as passing:
                pause = pause_seconds(tries, passing.retry_after_seconds)
                if loop.time() + pause > give_up_at:
                    raise CommandFailed(f"{self.url} {passing.what}", passing.hint) from None
                if self._on_wait is not None:
                    self._on_wait(passing.what, pause)
            tries += 1
            await asyncio.sleep(pause)

    async def _try(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> Any:  # fmt: skip
        assert self._session is not None
        try:
            async with self._session.request(
                method, self.url + path, params=query, data=body, headers=headers, allow_redirects=False
            ) as answer:
                raw = await answer.read()
                if answer.status < 300:
                    return _json_of(raw, self.url)
                refusal = _refusal_of(answer.status, raw)
                if answer.status in _PASSING or refusal[1] == _IN_FLIGHT:
                    wait = answer.headers.get("retry-after")
                    told = f"answers {answer.status}: {refusal[0].detail}"
                    raise _Passing(told, "Try again later.", _seconds_of(wait))
                raise refusal[0]
        except (aiohttp.ClientError, TimeoutError) as error:
            hint = "Is it running? 'mainstay api' starts it; MAINSTAY_URL says where it is."
            raise _Passing(f"does not answer ({_kind_of(error)})", hint, None) from None


class _Passing(Exception):
    def __init__(self, what: str, hint: str, retry_after_seconds: float | None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds


def pause_seconds(tries: int, retry_after_seconds: float | None) -> float:
    """How long to wait after so many failed tries: as told, or 0.5 s doubling to 30 s, with jitter."""
    if retry_after_seconds is not None:
        return retry_after_seconds
    return float(min(0.5 * 2.0 ** min(tries, 10), _LONGEST_PAUSE_SECONDS) * random.uniform(0.75, 1.25))  # noqa: S311


def _refusal_of(status: int, raw: bytes) -> tuple[Refused, str]:
    try:
        problem = orjson.loads(raw)
        detail, code = str(problem["detail"]), str(problem.get("type", "")).rpartition("/")[2]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return Refused(status, "the answer is none of Mainstay's"), ""
    errors = problem.get("errors")
    return Refused(status, detail, tuple(errors) if isinstance(errors, list) else ()), code


def _json_of(raw: bytes, url: str) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise CommandFailed(f"{url} does not answer as a Mainstay does", "Check MAINSTAY_URL.") from None


def _seconds_of(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def _kind_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return "connection refused" if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__
