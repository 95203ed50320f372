"""What answers while the service lacks settings that it cannot do without: it is alive, not ready, and says what is
missing by name."""

from collections.abc import Sequence

import orjson

from mainstay import __version__
from mainstay.kernel.errors import Unavailable
from mainstay.web import bodies
from mainstay.web.asgi import App, Receive, Scope, Send

_LIVE = frozenset({"/api/v1/health/live", "/api/_health/live"})
_READY = frozenset({"/api/v1/health/ready", "/api/_health/ready", "/healthz"})
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class SettingsMissing(Unavailable):
    """Settings are missing that nothing can be done without."""

    code = "settings-missing"


def unready(missing: Sequence[str]) -> App:
    """An application that is alive and otherwise names these settings, with 503."""
    told = f"missing: {', '.join(missing)}"

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live_on(receive, send)
        elif scope["path"] in _LIVE:
            await bodies.answer(send, 200, _HEADERS, orjson.dumps({"status": "live", "version": __version__}))
        elif scope["path"] in _READY:
            body = {"status": "unavailable", "checks": {"settings": told}, "version": __version__}
            await bodies.answer(send, 503, _HEADERS, orjson.dumps(body))
        else:
            raise SettingsMissing(f"This service waits for settings ({told}).")

    return application


async def _live_on(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
