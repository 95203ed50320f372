"""The form of a webhook: what was typed, what it means, and what is wrong in which field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import orjson

from mainstay.kernel.errors import Fault
from mainstay.web.json import fault_of

T = TypeVar("T", bound=msgspec.Struct)
Typed = dict[str, str]

RETRIES_OF = {"standard": 4, "three_days": 10}
"""How many tries after the first each profile has."""

OF_EVERY_KIND = ("events", "description", "workspaceId", "payloadVersion", "filter")
OF_PUSH = ("url", "retryProfile", "retries", "ordering", "rateLimitPerSecond", "concurrency", "headers", "traceContext")
FIXED = ("kind", "signing")
FOLDED = frozenset({*OF_PUSH, "payloadVersion", "filter", "example", "signing"} - {"url"})
"""Fields that stand under "More"; it is open where one of them is wrong."""

_NUMBERS = ("payloadVersion", "retries", "rateLimitPerSecond", "concurrency")
BLANK: Mapping[str, str] = {
    "kind": "push", "url": "", "events": "", "description": "", "workspaceId": "", "retryProfile": "standard",
    "retries": "4", "ordering": "none", "rateLimitPerSecond": "", "concurrency": "", "payloadVersion": "1",
    "filter": "", "example": "", "headers": "", "traceContext": "propagate", "signing": "hmac",
}  # fmt: skip

LABELS: Mapping[str, str] = {
    "url": "Address", "events": "Events", "description": "Description", "workspaceId": "Workspace",
    "retryProfile": "When a try fails", "retries": "Tries after the first", "ordering": "Order",
    "rateLimitPerSecond": "At most a second", "concurrency": "At most at once", "payloadVersion": "Payload version",
    "filter": "Filter", "example": "Message to try", "headers": "Headers of your own",
    "traceContext": "Trace context", "signing": "Signature", "kind": "How messages get there",
}  # fmt: skip


@dataclass(slots=True)
class Draft:
    """A form as it came: `typed` to show again, `given` for the room by its public names, `wrong` by field."""

    typed: Typed
    given: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, name: str, words: str) -> None:
        """The field is wrong, for this reason among others."""
        reasons = self.wrong.setdefault(name, [])
        if words not in reasons:
            reasons.append(words)

    def take_faults(self, faults: Sequence[Fault]) -> None:
        """What the room found wrong, each at the field where it was typed."""
        for fault in faults:
            name, _, inner = fault.pointer.removeprefix("#/").partition("/")
            self.refuse(name if name in BLANK else "", self._words(name, inner, fault.detail))

    def _words(self, name: str, inner: str, detail: str) -> str:
        inner = inner.replace("~1", "/").replace("~0", "~")
        if name == "events" and inner.isdigit():
            patterns = self.given.get("events", [])
            inner = patterns[int(inner)] if int(inner) < len(patterns) else inner
        return f"{inner}: {detail}" if inner else detail[:1].upper() + detail[1:]

    def shaped(self, shape: type[T], filler: Mapping[str, Any]) -> T:
        """The draft as the room takes it; fields that cannot be taken are refused and left out, or filled."""
        given = dict(self.given)
        while True:
            try:
                return msgspec.convert({**filler, **given}, shape)
            except msgspec.ValidationError as error:
                fault = fault_of(error)
                name = fault.pointer.removeprefix("#/").partition("/")[0]
                self.take_faults([fault])
                if given.pop(name, None) is None:
                    return msgspec.convert(dict(filler), shape)

    @property
    def in_order(self) -> list[tuple[str, list[str]]]:
        """What is wrong in the order of the form; what is wrong with the whole of it comes first."""
        places = {name: place for place, name in enumerate(LABELS)}
        return sorted(self.wrong.items(), key=lambda one: places.get(one[0], -1))

    @property
    def is_folded_wrong(self) -> bool:
        """Whether something is wrong in the folded part."""
        return bool(FOLDED & self.wrong.keys())


def blank() -> Draft:
    """The form before anything was typed."""
    return Draft(dict(BLANK))


def draft_of_endpoint(shown: Mapping[str, Any]) -> Draft:
    """The form of a webhook as it is."""
    typed = dict(BLANK)
    for name in BLANK:
        value = shown.get(name)
        if isinstance(value, str | int):
            typed[name] = str(value)
    typed["events"] = "\n".join(shown["events"])
    typed["headers"] = "\n".join(f"{name}: {value}" for name, value in (shown["headers"] or {}).items())
    if shown["filter"] is not None:
        typed["filter"] = orjson.dumps(shown["filter"], option=orjson.OPT_INDENT_2).decode()
    return Draft(typed)


def read(form: Mapping[str, str], *, kind: str | None = None) -> Draft:
    """The form as it came; `kind` is that of the webhook that is changed, None for a new one."""
    typed = {name: form.get(name, default).replace("\r\n", "\n") for name, default in BLANK.items()}
    if kind is not None:
        typed["kind"] = kind
    draft = Draft(typed)
    names = OF_EVERY_KIND if typed["kind"] == "pull" else (*OF_EVERY_KIND, *OF_PUSH)
    for name in names:
        _take(draft, name, typed[name].strip())
    if kind is None:
        draft.given["kind"] = typed["kind"]
        if typed["kind"] == "pull" and typed["url"].strip():
            draft.refuse("url", "A webhook that is pulled has no address: leave this empty")
        if typed["kind"] != "pull":
            draft.given["signing"] = typed["signing"]
    return draft


def _take(draft: Draft, name: str, text: str) -> None:
    given = draft.given
    if name == "events":
        given[name] = list(dict.fromkeys(text.replace(",", " ").split()))
    elif name == "headers":
        given[name] = _headers(draft, text)
    elif name == "filter":
        given[name] = json_of(draft, name)
    elif name in _NUMBERS:
        _take_number(draft, name, text)
    elif name == "workspaceId":
        given[name] = text or None
    elif name == "url" and not text:
        draft.refuse(name, "Where should messages go?")
    else:
        given[name] = text


def _take_number(draft: Draft, name: str, text: str) -> None:
    if not text:
        fallback = {"retries": RETRIES_OF.get(draft.typed["retryProfile"], 4), "payloadVersion": 1}
        draft.given[name] = fallback.get(name)
    elif text.isascii() and text.isdigit() and len(text) <= 9:
        draft.given[name] = int(text)
    else:
        draft.refuse(name, "Must be a whole number")


def json_of(draft: Draft, name: str) -> Any:
    """The JSON that was typed into the field; None where there is none, or none that can be read."""
    text = draft.typed[name].strip()
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        draft.refuse(name, f"This is not JSON: {error}")
        return None


def _headers(draft: Draft, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon:
            draft.refuse("headers", f"Line {number} has no colon: write Name: value")
        elif name.strip() in found:
            draft.refuse("headers", f"Line {number}: {name.strip()} is given twice")
        else:
            found[name.strip()] = value.strip()
    return found
