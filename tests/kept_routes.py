"""Routes are worked out once a process: what the framework reads out of an endpoint's code is kept for later ones.

An application has hundreds of routes, and working out the parameters of them all takes longer than most tests do.
Routes of the same code, annotations, path and options have the same parameters; what differs is their endpoint, which
is the closure of their own application, and only that is put in anew.
"""

import dataclasses
from types import FunctionType
from typing import Any

from fastapi import routing
from fastapi.datastructures import DefaultPlaceholder

_work_out = routing._populate_api_route_state
_kept: dict[Any, dict[str, Any]] = {}
_WORKED_OUT = (
    "_embed_body_fields", "body_field", "dependant", "dependencies", "description", "is_json_stream", "is_sse_stream",
    "methods", "name", "param_convertors", "path_format", "path_regex", "response_field", "response_fields",
    "response_model", "status_code", "stream_item_field", "stream_item_type", "unique_id",
)  # fmt: skip
"""What a route has of its key alone; everything else is as its options say."""


def keep() -> None:
    """From now on a route is worked out only where none like it was before."""
    routing._populate_api_route_state = _fill


def _fill(route: Any, path: str, endpoint: Any, **options: Any) -> None:
    key = _key(path, endpoint, options)
    kept = _kept.get(key) if key is not None else None
    if kept is None:
        _work_out(route, path, endpoint, **options)
        if key is not None:
            # Without its endpoint, which would hold the application that it was of.
            own = dataclasses.replace(route.dependant, call=None)
            _kept[key] = {name: getattr(route, name) for name in _WORKED_OUT} | {"dependant": own}
        return
    given = {name: value for name, value in options.items() if name not in _WORKED_OUT}
    own = dataclasses.replace(kept["dependant"], call=endpoint)
    settled = {"tags": options["tags"] or [], "responses": options["responses"] or {}}
    vars(route).update(kept, **{**given, **settled}, path=path, endpoint=endpoint)
    route.dependant, route.methods, route.dependencies = own, set(kept["methods"]), list(kept["dependencies"])


def _key(path: str, endpoint: Any, options: dict[str, Any]) -> Any:
    """What the parameters of a route depend on; None where that is more than can be compared."""
    if not isinstance(endpoint, FunctionType) or hasattr(endpoint, "__wrapped__"):
        return None
    plain = ("name", "operation_id", "status_code", "description", "response_model", "response_class")
    key = (
        path,
        endpoint.__code__,
        endpoint.__name__,
        endpoint.__doc__,
        endpoint.__defaults__,
        tuple((endpoint.__kwdefaults__ or {}).items()),
        tuple(endpoint.__annotations__.items()),
        tuple(sorted(options["methods"] or ())),
        tuple((status, answer.get("model")) for status, answer in (options["responses"] or {}).items()),
        tuple(_dependency_key(one) for one in options["dependencies"] or ()),
        *(None if isinstance(options[name], DefaultPlaceholder) else options[name] for name in plain),
        *(isinstance(options[name], DefaultPlaceholder) for name in plain),
    )
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _dependency_key(depends: Any) -> Any:
    """What is alike for dependencies that do the same: guards are made anew for each application."""
    asked = depends.dependency
    what = asked if isinstance(asked, FunctionType) else (type(asked), *vars(asked).items())
    return what, depends.use_cache, depends.scope
