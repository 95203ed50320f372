"""What the outermost application notes of the answers that pass through it."""

import pytest
import structlog
from starlette.responses import Response
from structlog.testing import capture_logs

from mainstay.web import front
from mainstay.web.asgi import Message, Scope


async def _logged(headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines about one answer with these headers, where every answer is slow."""
    monkeypatch.setattr(front, "_SLOW_SECONDS", 0.0)
    scope: Scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        return None

    with capture_logs() as lines:
        monkeypatch.setattr(front, "_log", structlog.stdlib.get_logger())
        await front.Front(Response(b"x", headers=headers), {})(scope, receive, send)
    return [line["event"] for line in lines]


async def test_a_slow_answer_is_noted_but_not_one_that_its_reader_slows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _logged({}, monkeypatch) == ["request"]
    assert await _logged({"content-type": "text/csv"}, monkeypatch) == ["request"]
    assert await _logged({"content-type": "text/csv", "x-accel-buffering": "no"}, monkeypatch) == []
