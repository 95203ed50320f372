"""JSON in and out of ordinary routes: strict msgspec structures with JSON pointers in every refusal.

A route takes `Annotated[T, Depends(json_body(T))]`; unknown members, wrong types and limits are refused with 400.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
import orjson
from fastapi import Request
from fastapi.responses import Response

from mainstay.kernel.errors import Fault, Invalid
from mainstay.web import bodies

T = TypeVar("T")
_PATH = re.compile(r" - at `(\$[^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class Answer(Response):
    """A JSON answer written by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


class Json(Response):
    """A JSON answer that is bytes already."""

    media_type = "application/json"


def json_body(shape: type[T], *, most: int = bodies.MAX_BODY_BYTES) -> Callable[[Request], Awaitable[T]]:
    """A dependency that gives the body as `shape`; Invalid with pointers, TooLarge past `most` bytes.

    Routes that take the same share one.
    """
    return _parser(cast(Any, shape), most)


@cache
def _parser(shape: Any, most: int) -> Callable[[Request], Awaitable[Any]]:
    decoder = msgspec.json.Decoder(shape, strict=True)

    async def parse(request: Request) -> Any:
        bodies.require_json(request.scope["headers"])
        return decode(decoder, await bodies.read(request.scope, request.receive, most=most))

    parse.shape = shape  # type: ignore[attr-defined]
    return parse


def decode(decoder: msgspec.json.Decoder[T], body: bytes, *, under: str = "#") -> T:
    """The decoded body; Invalid names what is wrong and points at it."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(faults=[fault_of(error, under)]) from error
    except msgspec.DecodeError as error:
        raise Invalid("The body is not valid JSON.", faults=[Fault(str(error), under)]) from error
    except UnicodeDecodeError as error:
        raise Invalid("The body is not valid UTF-8.", faults=[Fault("invalid UTF-8", under)]) from error
    except RecursionError as error:
        raise Invalid("The body is nested too deeply.", faults=[Fault("nested too deeply", under)]) from error


def fault_of(error: msgspec.ValidationError, under: str = "#") -> Fault:
    """A validation error as a sentence and a JSON pointer."""
    text = str(error)
    found = _PATH.search(text)
    if not found:
        return Fault(text, under)
    steps = [name or index for name, index in _STEP.findall(found.group(1))]
    return Fault(
        text[: found.start()], under + "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
    )


def refuse_unknown_query(request: Request, known: frozenset[str]) -> None:
    """Passes a request whose query parameters are all known; Invalid names the others."""
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise Invalid(faults=[Fault("unknown parameter", name) for name in unknown])


def openapi_body(shape: type[Any]) -> Mapping[str, Any]:
    """`openapi_extra` for a route whose body is `shape`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(shape)}}}}


def schema_of(shape: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a structure with its definitions inlined under `$defs`."""
    schema = orjson.loads(_schema(cast(Any, shape)))
    definitions: dict[str, Any] = schema.pop("$defs", {})
    reference = schema.get("$ref", "").rpartition("/")[2]
    return {**definitions.get(reference, schema)} if len(definitions) <= 1 else {**schema, "$defs": definitions}


@cache
def _schema(shape: Any) -> bytes:
    return orjson.dumps(msgspec.json.schema(shape, ref_template="#/components/schemas/{name}"))
