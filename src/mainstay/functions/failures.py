"""Errors of steps and runs as they are kept, and which of them are final."""

import traceback

import orjson

from mainstay.functions.errors import AppError, StepError
from mainstay.kernel.work import Discard, Retry


def is_final(error: BaseException) -> bool:
    """Whether an error says that no further attempt is of use."""
    return isinstance(error, Discard | StepError) or (isinstance(error, AppError) and error.is_final)


def error_text(name: str, message: str, stack: str | None = None) -> str:
    """An error as runs and steps keep it: name and message, cut at 2,000 characters, and where it came from."""
    shown = {"name": name[:200], "message": message[:2_000]}
    if stack:
        shown["stack"] = stack[-4_000:]
    return orjson.dumps(_writable(shown)).decode()


def _writable(shown: dict[str, str]) -> dict[str, str]:
    return {key: text.encode("utf-8", "replace").decode().replace("\0", "") for key, text in shown.items()}


def error_of(error: Exception) -> str:
    """What is kept of what a step raised."""
    if isinstance(error, TimeoutError) and not str(error):
        return error_text("TimeoutError", "the step took longer than its function allows")
    if isinstance(error, AppError):
        return error_text(error.name, error.message, error.stack)
    if isinstance(error, Retry | Discard | StepError):
        if isinstance(error, StepError):
            return error_text(error.name, error.message)
        return error_text(type(error).__name__, error.reason)
    return error_text(type(error).__name__, str(error), "".join(traceback.format_exception(error)))


def step_error(step_id: str, text: str | None) -> StepError:
    """What is raised in the handler for a step that failed with that."""
    error = orjson.loads(text or "{}")
    return StepError(step_id, error.get("name", ""), error.get("message", ""))
