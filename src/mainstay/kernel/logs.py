"""Structured logs: one JSON object a line with the ids of its request, or readable lines on a terminal."""

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from mainstay.kernel import telemetry


def configure(*, service: str, level: str = "INFO", as_json: bool = True) -> None:
    """Every logger of the process writes to standard error in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_ids,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, add_service, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # The pool tells of every failed try with a traceback; that the database is away is said once by who needed it.
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry the current request and trace ids."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def _add_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    trace = telemetry._current.get()
    if trace is not None:
        event.setdefault("trace_id", trace.trace_id)
        event.setdefault("request_id", trace.request_id)
    if part := telemetry.current_part():
        event.setdefault("region", part)
    return event
