"""Versions of the payload: how a stored body is written for an endpoint that is pinned to one of them. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

LATEST: Final = 2

_PARTS: Final = {
    "actor": {"id": "actorId", "email": "actorEmail", "name": "actorName"},
    "target": {"id": "targetId", "type": "targetType"},
}
_NESTED: Final = {flat: part for part, fields in _PARTS.items() for flat in fields.values()}
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def render(body: bytes, version: int) -> bytes:
    """The body as that version writes it: same order, and every value that stays keeps its very bytes.

    A body that does not hold an audit event is the same in every version. KeyError for a version that there is not.
    """
    return _VERSIONS[version](body)


def _as_stored(body: bytes) -> bytes:
    """Version 1: an event is flat."""
    return body


def _nested(body: bytes) -> bytes:
    """Version 2: who did it and what it was done to are objects, as they were in the intake."""
    whole = _object(body)
    event = None if whole is None else _object(whole.get("data", b""))
    if whole is None or event is None or not _NESTED.keys() <= event.keys():
        return body
    shown: dict[str, bytes | msgspec.Raw] = {}
    for name, value in event.items():
        part = _NESTED.get(name)
        if part is None:
            shown[name] = value
        elif part not in shown:
            shown[part] = _written({inner: event[flat] for inner, flat in _PARTS[part].items()})
    return _written({**whole, "data": _written(shown)})


def _object(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _OBJECT.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _written(fields: Mapping[str, bytes | msgspec.Raw]) -> bytes:
    """A JSON object of values that are JSON already."""
    return b"{%b}" % b",".join(b"%b:%b" % (msgspec.json.encode(name), bytes(value)) for name, value in fields.items())


_VERSIONS: Final[Mapping[int, Callable[[bytes], bytes]]] = {1: _as_stored, 2: _nested}
VERSIONS: Final = tuple(_VERSIONS)
