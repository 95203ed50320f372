"""`mainstay doctor login`: a person made for the purpose logs in, is known, refreshes, and logs out, over HTTP."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from mainstay import __version__, identity, incidents
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR
from mainstay.kernel.db import Database

_AT = "/api/v1/auth"
_PATIENCE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Step:
    """One step: whether it went as it must, what was seen, and how long it took."""

    name: str
    verdict: str
    detail: str
    seconds: float


class _Failed(Exception):
    pass


async def try_login(database_url: str, base: str) -> list[Step]:
    """Every step's outcome in their order; what needs a step that failed is skipped, and the account always goes."""
    db = Database(database_url, size=2, statement_cache=0, name="mainstay doctor login")
    passwords = identity.Passwords()
    course = _Course()
    try:
        probe = await course.step("make an account", lambda: incidents.make_probe(db, passwords, OPERATOR), _made)
        if probe is not None:
            async with _calling(base) as call:
                await _walk(course, call, probe)
            await course.step("remove the account", lambda: incidents.remove_probe(db, probe.person_id), _gone, True)
    finally:
        passwords.close()
        await db.close()
    return course.steps


class _Course:
    """The steps so far; after one that failed the others are skipped, but for those that must be."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def step(
        self, name: str, doing: Callable[[], Awaitable[Any]], telling: Callable[[Any], str], must: bool = False
    ) -> Any:
        if not must and any(one.verdict == "fail" for one in self.steps):
            self.steps.append(Step(name, "skip", "an earlier step failed", 0.0))
            return None
        begun = time.monotonic()
        try:
            found = await doing()
            verdict, detail = "pass", telling(found)
        except _Failed as failure:
            found, verdict, detail = None, "fail", str(failure)
        except Exception as error:
            known = output.explain(error)
            found, verdict, detail = None, "fail", known.what if known else type(error).__name__
        self.steps.append(Step(name, verdict, detail, time.monotonic() - begun))
        return found


_Call = Callable[[str, str, str | None, Mapping[str, Any] | None], Awaitable[tuple[int, dict[str, Any]]]]


async def _walk(course: _Course, call: _Call, probe: incidents.Probe) -> None:
    wanted = {"email": probe.email, "password": probe.password, "companyId": identity.OPERATOR_COMPANY}
    wrong = {**wanted, "password": probe.password + "x"}
    held: dict[str, str] = {}

    async def log_in() -> dict[str, Any]:
        answer = await _expect(call, "POST", "/login", 200, body=wanted)
        if "accessToken" not in answer:
            raise _Failed("a challenge instead of tokens: does the operators' company demand a second factor?")
        held.update(access=answer["accessToken"], refresh=answer["refreshToken"])
        return answer

    async def refresh() -> dict[str, Any]:
        answer = await _expect(call, "POST", "/refresh", 200, body={"refreshToken": held["refresh"]})
        held.update(access=answer["accessToken"], refresh=answer["refreshToken"])
        return answer

    async def who() -> dict[str, Any]:
        answer = await _expect(call, "GET", "/me", 200, token=held["access"])
        if probe.email not in json.dumps(answer):
            raise _Failed("the answer is about somebody else")
        return answer

    steps: list[tuple[str, Callable[[], Awaitable[Any]], str]] = [
        ("a wrong password", lambda: _expect(call, "POST", "/login", 401, body=wrong), "refused with 401"),
        ("log in", log_in, "tokens"),
        ("who am I", who, "the probe"),
        ("refresh", refresh, "new tokens"),
        ("who am I again", who, "the probe"),
        ("log out", lambda: _expect(call, "POST", "/logout", None, token=held["access"]), "done"),
        ("the token is dead", lambda: _expect(call, "GET", "/me", 401, token=held["access"]), "refused with 401"),
        (
            "so is the refresh",
            lambda: _expect(call, "POST", "/refresh", 401, body={"refreshToken": held["refresh"]}),
            "refused with 401",
        ),
    ]
    for name, doing, told in steps:
        await course.step(name, doing, lambda _, told=told: told)  # type: ignore[misc]


async def _expect(
    call: _Call, method: str, path: str, status: int | None, *, token: str | None = None, body: Any = None
) -> dict[str, Any]:
    """The answer of that status (None: any success); else what came instead, without what was sent."""
    found, answer = await call(method, path, token, body)
    if found == status or (status is None and 200 <= found < 300):
        return answer
    told = answer.get("detail") or answer.get("title") or "an answer that is none of Mainstay's"
    raise _Failed(f"{method} {_AT}{path} answered {found} instead of {status or 'success'}: {told}")


@asynccontextmanager
async def _calling(base: str) -> AsyncIterator[_Call]:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    headers = {"user-agent": f"mainstay-cli/{__version__}"}
    # No cookies: what is shown is that the tokens themselves work, and end.
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, cookie_jar=jar) as session:

        async def call(
            method: str, path: str, token: str | None, body: Mapping[str, Any] | None
        ) -> tuple[int, dict[str, Any]]:
            own = {} if token is None else {"authorization": f"Bearer {token}"}
            try:
                async with session.request(
                    method, base + _AT + path, json=body, headers=own, allow_redirects=False
                ) as answer:
                    raw = await answer.read()
                    return answer.status, _object_of(raw)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _Failed(f"{base} does not answer ({type(error).__name__})") from None

        yield call


def _object_of(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _made(_: Any) -> str:
    return "staff of the operators' company, without features"


def _gone(_: Any) -> str:
    return "with its sessions"
