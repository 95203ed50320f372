"""The stores of limits, each behind the same fixture."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial

import pytest

from mainstay.limits import choosing
from tests.limits.stores import (
    PATIENT_SECONDS,
    Bench,
    Server,
    memory_bench,
    postgresql_bench,
    redis_bench,
    redis_server,
)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may take its time unless a test says otherwise: on a slow machine nothing passes uncounted."""
    monkeypatch.setattr(choosing, "Pace", partial(choosing.Pace, answer=timedelta(seconds=PATIENT_SECONDS)))


@pytest.fixture(scope="session")
def redis() -> Iterator[Server]:
    """A redis-server that tests share, each emptying it first."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "postgresql", "redis"])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of store, and its address where it has one."""
    asked = {"memory": None, "postgresql": "fresh_url", "redis": "redis"}[request.param]
    found = request.getfixturevalue(asked) if asked else ""
    return request.param, found.url if isinstance(found, Server) else found


@pytest.fixture
async def bench(place: tuple[str, str]) -> AsyncIterator[Bench]:
    """A store beside a clock that stands until it is moved."""
    kind, url = place
    opened = {"memory": memory_bench, "postgresql": postgresql_bench, "redis": redis_bench}[kind]
    async with opened(url) as bench:
        yield bench
