"""Live parts: one loop for all readers, only what changed, an end with the session, and bounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from mainstay.console import live
from mainstay.console.live import Live, Subject
from mainstay.kernel.errors import Unavailable

SUBJECT = Subject("overview", "company")


class World:
    """What is read, how often, and which sessions work."""

    def __init__(self) -> None:
        self.parts: dict[str, str] | None = {"a": "1"}
        self.reads = 0
        self.sessions = {"s1", "s2"}

    async def load(self) -> dict[str, str]:
        self.reads += 1
        if self.parts is None:
            raise Unavailable
        return self.parts

    async def working(self, company_id: str, session_ids: list[str]) -> set[str]:
        assert company_id == "company"
        return self.sessions & set(session_ids)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def fast(world: World) -> AsyncIterator[Live]:
    made = Live(world.working, every_seconds=0.02, heartbeat_seconds=0.1, sessions_every_seconds=0.05)
    yield made
    made.close()


async def news(answer: StreamingResponse) -> tuple[str, bytes]:
    """The next piece of news: its kind and data; ('', b'') for a heartbeat."""
    async for chunk in answer.body_iterator:
        assert isinstance(chunk, bytes)
        if chunk.startswith(b"retry"):
            continue
        if chunk.startswith(b":"):
            return "", b""
        kind, data = chunk.removesuffix(b"\n\n").split(b"\n")
        return kind.removeprefix(b"event: ").decode(), data.removeprefix(b"data: ")
    return "end", b""


async def test_all_readers_share_one_loop_and_hear_only_of_changes(fast: Live, world: World) -> None:
    first = fast.stream(SUBJECT, "s1", world.load)
    others = [fast.stream(SUBJECT, "s2", world.load) for _ in range(5)]
    assert await news(first) == ("patch", b'{"a":"1"}')
    for other in others:
        assert orjson.loads((await news(other))[1]) == {"a": "1"}
    assert await news(first) == ("", b"")
    reads, started = world.reads, asyncio.get_running_loop().time()
    await asyncio.sleep(0.2)
    rounds = (asyncio.get_running_loop().time() - started) / 0.02
    assert world.reads - reads <= rounds + 1
    world.parts = {"a": "2"}
    kind, data = await news(first)
    while kind == "":
        kind, data = await news(first)
    assert (kind, orjson.loads(data)) == ("patch", {"a": "2"})


async def test_a_session_that_is_over_ends_its_readers_alone(fast: Live, world: World) -> None:
    ours, theirs = fast.stream(SUBJECT, "s1", world.load), fast.stream(SUBJECT, "s2", world.load)
    assert (await news(ours))[0] == (await news(theirs))[0] == "patch"
    world.sessions = {"s2"}
    kinds = [(await news(ours))[0]]
    while kinds[-1] != "end":
        kinds.append((await news(ours))[0])
    assert [kind for kind in kinds if kind] == ["over", "end"]
    assert (await news(theirs))[0] == ""


async def test_readers_are_told_while_the_database_is_away_and_it_is_asked_less(fast: Live, world: World) -> None:
    reader = fast.stream(SUBJECT, "s1", world.load)
    assert (await news(reader))[0] == "patch"
    world.parts = None
    reads = world.reads
    kinds = {(await news(reader))[0] for _ in range(4)}
    assert kinds <= {"away", ""}
    assert "away" in kinds
    await asyncio.sleep(0.3)
    assert world.reads - reads <= 7
    world.parts = {"a": "3"}
    kind, data = "", b""
    while kind != "patch":
        kind, data = await asyncio.wait_for(news(reader), 60)
    assert orjson.loads(data) == {"a": "3"}


async def test_readers_are_bounded(fast: Live, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(live.MOST_OF_A_SESSION):
        fast.stream(SUBJECT, "s1", world.load)
    with pytest.raises(Unavailable):
        fast.stream(Subject("other", "company"), "s1", world.load)
    fast.stream(SUBJECT, "s2", world.load)
    monkeypatch.setattr(live, "MOST_READERS", live.MOST_OF_A_SESSION + 1)
    with pytest.raises(Unavailable):
        fast.stream(SUBJECT, "s3", world.load)


async def test_reading_ends_with_the_last_reader(fast: Live, world: World) -> None:
    reader = fast.stream(SUBJECT, "s1", world.load)
    assert (await news(reader))[0] == "patch"
    await reader.body_iterator.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    reads = world.reads
    await asyncio.sleep(0.2)
    assert world.reads == reads


@pytest.mark.parametrize("steps", range(4))
async def test_a_browser_that_leaves_as_news_come_leaves_nothing_behind(world: World, steps: int) -> None:
    quiet = Live(world.working, every_seconds=60)
    answer = quiet.stream(SUBJECT, "s1", world.load)
    told: list[object] = []

    async def read() -> None:
        async for chunk in answer.body_iterator:
            told.append(chunk)

    reading = asyncio.create_task(read())
    while len(told) < 2:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    [reader] = quiet._feeds[SUBJECT].readers
    reader.tell("patch", b"{}")
    for _ in range(steps):
        await asyncio.sleep(0)
    reading.cancel()
    ended, _ = await asyncio.wait([reading], timeout=10)
    assert ended
    quiet.close()


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_browser_that_was_gone_before_the_first_word_leaves_no_reader(
    fast: Live, world: World, spec_version: str
) -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise OSError("the browser is gone")

    for _ in range(live.MOST_OF_A_SESSION + 1):
        reader = fast.stream(SUBJECT, "s1", world.load)
        with contextlib.suppress(ClientDisconnect, OSError):
            await reader({"type": "http", "asgi": {"spec_version": spec_version}}, receive, send)
    await asyncio.sleep(0.1)
    reads = world.reads
    await asyncio.sleep(0.2)
    assert world.reads == reads


async def test_the_end_of_the_process_ends_every_reader(fast: Live, world: World) -> None:
    reader = fast.stream(SUBJECT, "s1", world.load)
    assert (await news(reader))[0] == "patch"
    fast.close()
    kinds = [(await news(reader))[0], (await news(reader))[0]]
    assert kinds == ["away", "end"]
    with pytest.raises(Unavailable):
        fast.stream(SUBJECT, "s1", world.load)


async def test_what_people_follow_ends_where_their_routes_are_closed_and_what_operators_follow_goes_on(
    world: World,
) -> None:
    closed = False

    async def are_closed() -> bool:
        return closed

    live = Live(world.working, every_seconds=0.02, heartbeat_seconds=5, are_closed=are_closed)
    followed = live.stream(SUBJECT, "s1", world.load)
    operated = live.stream(Subject("queues", "company"), "s2", world.load)
    for answer in (followed, operated):
        assert await news(answer) == ("patch", b'{"a":"1"}')
    closed, world.parts = True, {"a": "2"}
    assert [await news(followed), await news(followed)] == [("over", b""), ("end", b"")]
    assert await news(operated) == ("patch", b'{"a":"2"}')
    live.close()
