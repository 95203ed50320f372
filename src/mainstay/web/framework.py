"""FastAPI as this project uses it: every error goes up to the front, which renders all of them alike."""

from typing import Any, NoReturn, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from mainstay.kernel.errors import Fault, Invalid, MainstayError, MethodNotAllowed, NotFound

_PARAMETER_PLACES = ("query", "path", "header", "cookie")


class Framework(FastAPI):
    """FastAPI without answers of its own to errors, which finds a route without going through routers in it."""

    def include_router(self, router: APIRouter, **options: Any) -> None:
        """The routes of the router are the application's own; as options would change them, there are none.

        A router within a router is asked twice for each request, and works out each of its routes a second time.
        """
        assert not options, "a router that is part of the application says all about its routes itself"
        self.router.routes.extend(router.routes)

    def build_middleware_stack(self) -> ASGIApp:
        """The stack without the outermost layer, which would answer 500 before the front sees the error."""
        self.exception_handlers[HTTPException] = _raise_ours
        self.exception_handlers[RequestValidationError] = _raise_faults
        return cast(ServerErrorMiddleware, super().build_middleware_stack()).app


def _raise_ours(_: Request, error: Exception) -> NoReturn:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        raise NotFound("There is no such path here.")
    if error.status_code == 405:
        raise MethodNotAllowed(headers=headers)
    raise MainstayError(error.detail, headers=headers)


def _raise_faults(_: Request, error: Exception) -> NoReturn:
    assert isinstance(error, RequestValidationError)
    raise invalid_of(error)


def invalid_of(error: RequestValidationError) -> Invalid:
    """The framework's own refusal of a request as ours, with what is wrong and where."""
    faults = []
    for one in error.errors():
        place, *path = (str(step) for step in one["loc"])
        pointer = ".".join(path) if place in _PARAMETER_PLACES else "#" + "".join(f"/{step}" for step in path)
        faults.append(Fault(one["msg"], pointer))
    return Invalid(faults=faults)
