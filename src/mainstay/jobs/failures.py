"""What sort of failure an attempt was, from how it ended and its error text: pure."""

import re
from typing import Final, Literal, get_args

ErrorClass = Literal["timeout", "lost", "provider_error", "bad_input", "database", "internal", "other"]
"""Took too long; its worker died; another service failed; the job cannot work; our database; our code; unsaid."""

_STATED = re.compile(rf"({'|'.join(get_args(ErrorClass))}): ")
_STEP = re.compile(r"step '([^']{1,200})'(?: failed)?: ?")
_NAME = re.compile(r"(?:[a-z_][\w]*\.)*([A-Z]\w*)(?::|$)")
_CODE = re.compile(r"(?:status|HTTP|code)[ :=/\d.]*\b([45]\d\d)\b", re.IGNORECASE)
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b[0-9a-fA-F]{12,}\b|\d+(?:\.\d+)?")
_SHAPE_LENGTH: Final = 120

_NAMES: tuple[tuple[ErrorClass, str], ...] = (
    ("timeout", "Timeout TimedOut DeadlineExceeded"),
    ("database", "Unavailable Postgres Deadlock Serialization UniqueViolation ForeignKeyViolation TooManyConn"),
    (
        "provider_error",
        "Connect Network Socket SSL TLS DNS gai HTTP SMTP Provider Protocol Remote Gateway Throttl RateLimit OSError"
        " IncompleteRead BrokenPipe",
    ),
    (
        "bad_input",
        "ValueError KeyError TypeError Validation Decode Encode Invalid Refused NotFound Unprocessable Malformed"
        " ParseError SchemaError Unsupported",
    ),
)
_WORDS = [(each, re.compile(words.replace(" ", "|"), re.IGNORECASE)) for each, words in _NAMES]
_LATE = re.compile(r"time(d)? ?out|deadline exceeded", re.IGNORECASE)


def class_of(outcome: str, error: str) -> ErrorClass:
    """The class of an attempt with that outcome (failed, timeout, lost, discarded) and error text.

    A text that begins with a class and a colon states it. Else the name of the error decides, then a status that it
    tells; what a handler discarded without more is bad input, an error of another name is of our own code.
    """
    if outcome == "timeout":
        return "timeout"
    if outcome == "lost":
        return "lost"
    text = _STEP.sub("", error, count=1)
    stated = _STATED.match(text)
    if stated:
        return stated[1]  # type: ignore[return-value]
    name = _NAME.match(text)
    found = _by_name(name[1]) if name else None
    return found or _by_code(text) or _by_words(text, outcome, is_named=name is not None)


def step_of(error: str) -> str | None:
    """The step that the error text names."""
    found = _STEP.match(error)
    return found[1] if found else None


def shape_of(error: str) -> str:
    """The error text without what varies from time to time: numbers, ids and what is quoted; at most 120 characters."""
    step = step_of(error)
    text = _VARYING.sub("#", _STEP.sub("", error, count=1)).strip()
    return (f"step {step!r}: " if step else "") + text[:_SHAPE_LENGTH]


def _by_name(name: str) -> ErrorClass | None:
    return next((each for each, words in _WORDS if words.search(name)), None)


def _by_code(text: str) -> ErrorClass | None:
    found = _CODE.search(text)
    if found is None:
        return None
    code = int(found[1])
    if code in (408, 504):
        return "timeout"
    return "provider_error" if code >= 500 or code in (401, 403, 425, 429) else "bad_input"


def _by_words(text: str, outcome: str, *, is_named: bool) -> ErrorClass:
    if _LATE.search(text):
        return "timeout"
    if outcome == "discarded":
        return "bad_input"
    return "internal" if is_named else "other"
