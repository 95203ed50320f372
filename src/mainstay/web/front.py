"""The outermost application: ids, figures, errors, and a straight way to the hottest routes."""

import time
from collections.abc import Callable, Mapping, Sequence

import asyncpg

from mainstay.kernel import telemetry
from mainstay.kernel.db import GONE, RACED
from mainstay.kernel.errors import Invalid, MainstayError, Unavailable
from mainstay.kernel.logs import logger
from mainstay.web import forwarded, limiting, problem, refusals
from mainstay.web.asgi import App, Message, Receive, Scope, Send
from mainstay.web.bodies import ClientGone, answer

_log = logger(__name__)
_SLOW_SECONDS = 1.0
_SECURITY_HEADERS = [(b"x-content-type-options", b"nosniff")]
_STREAMED = (b"x-accel-buffering", b"no")
"""The header of answers that are sent as they come: how long they take depends on who reads them."""
MAX_HEADER_BYTES = 16_384
_SECRET_PARAMETERS = frozenset({"event_key"})
"""Parts of paths that are credentials."""


class Front:
    """Wraps the framework's application; `hot` maps (method, path) to plain ASGI handlers that skip it."""

    def __init__(
        self,
        app: App,
        hot: Mapping[tuple[str, str], App],
        *,
        on_stop: Callable[[], None] = lambda: None,
        watch: refusals.Watch = refusals.UNWATCHED,
        proxies: Sequence[forwarded.Network] = (),
        limit_fields: limiting.HeaderStyle = "draft",
    ) -> None:
        """`on_stop` ends answers that would go on for ever; `watch` hears of refusals; `proxies` are believed when they
        tell for whom they ask."""
        self._app = app
        self._hot = dict(hot)
        self._on_stop = on_stop
        self._watch = watch
        self._proxies = tuple(proxies)
        self._limit_fields = limit_fields

    def stop(self) -> None:
        """The server will end soon: no answer goes on for ever any more."""
        self._on_stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        trace = _trace_of(scope)
        telemetry.enter_trace(trace)
        refusals.begin()
        status, streams = 0, False
        if self._proxies:
            scope["client"] = forwarded.client_of(scope.get("client"), scope["headers"], self._proxies)

        async def counted_send(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                streams = _STREAMED in message.get("headers", ())
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", trace.request_id.encode()),
                    (b"x-trace-id", trace.trace_id.encode()),
                    *_SECURITY_HEADERS,
                    *limiting.fields_of(scope, self._limit_fields),
                ]
            await send(message)

        method, path = scope["method"], scope["path"]
        handler = self._hot.get((method, path))
        telemetry.HTTP_ACTIVE.inc()
        try:
            if handler is None:
                await self._watch.check(scope)
            await (handler or self._app)(scope, receive, counted_send)
        except ClientGone:
            status = status or 499
        except Exception as error:
            if status:
                _log.exception("answer cut short", method=method, path=_shown_path(scope))
                raise
            known = as_known(error)
            refusals.tell(scope, known)
            if known.status >= 500 and not isinstance(known, Unavailable):
                _log.exception("request failed", method=method, path=_shown_path(scope))
            code, headers, body = problem.render(known, request_id=trace.request_id, instance=_shown_path(scope))
            await answer(counted_send, code, headers, body)
        finally:
            telemetry.HTTP_ACTIVE.dec()
            seconds = time.perf_counter() - started
            route = path if handler else getattr(scope.get("route"), "path", None) or "unmatched"
            telemetry.RequestMeter.of(method, route, status).count(seconds)
            refusal = refusals.told(scope, method, route)
            if refusal is not None:
                self._watch.note(refusal)
            if (seconds > _SLOW_SECONDS and not streams) or status >= 500:
                _log.warning("request", method=method, route=route, status=status, seconds=round(seconds, 4))


def as_known(error: Exception) -> MainstayError:
    """The error as callers are told of it."""
    if isinstance(error, MainstayError):
        return error
    if isinstance(error, GONE):
        return Unavailable()
    if isinstance(error, asyncpg.DataError | asyncpg.CharacterNotInRepertoireError):
        return Invalid("A value cannot be stored as it is.")
    if isinstance(error, (asyncpg.QueryCanceledError, *RACED)):
        return Unavailable(
            "The database took too long to answer; nothing was changed. Try again, or narrow the request."
        )
    return MainstayError("Something went wrong on our side; nothing was changed by this request.")


def _shown_path(scope: Scope) -> str:
    """The path as logs and answers may hold it: a key in it by its name."""
    path: str = scope["path"]
    for name in _SECRET_PARAMETERS & scope.get("path_params", {}).keys():
        path = path.replace(f"/{scope['path_params'][name]}", f"/{{{name}}}")
    return path


def _trace_of(scope: Scope) -> telemetry.Trace:
    traceparent = request_id = None
    for name, value in scope["headers"]:
        if name == b"traceparent":
            traceparent = value.decode("latin-1")
        elif name == b"x-request-id":
            request_id = value.decode("latin-1")
    return telemetry.start_trace(traceparent, request_id)
