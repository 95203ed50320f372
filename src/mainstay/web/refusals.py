"""What was refused, and to whom: told by the front, whoever refused it and however the answer looks."""

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol

from mainstay.kernel.errors import MainstayError
from mainstay.web.asgi import Headers, Scope

_TOLD = "mainstay.refusal"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a request is about, as far as it is known; an email is what was typed."""

    person_id: str = ""
    company_id: str = ""
    key_id: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused request. `route` is a template, never the path with what callers wrote into it."""

    error: MainstayError
    subject: Subject
    method: str
    path: str
    route: str
    headers: Headers
    client: tuple[str, int] | None


class Watch(Protocol):
    """Closes what nobody may call now, and hears of every refusal; neither may take long."""

    async def check(self, scope: Scope) -> None: ...

    def note(self, refusal: Refusal) -> None: ...


class _Unwatched:
    async def check(self, scope: Scope) -> None:
        pass

    def note(self, refusal: Refusal) -> None:
        pass


UNWATCHED: Watch = _Unwatched()
_NOBODY = Subject()
_subject: ContextVar[Subject] = ContextVar("mainstay_subject", default=_NOBODY)


def begin() -> None:
    """A request begins: nothing is known of whom it is about."""
    _subject.set(_NOBODY)


def about(*, person_id: str = "", company_id: str = "", key_id: str = "", email: str = "") -> None:
    """The request of the current task is about them; what is not given stays as it was."""
    given = {"person_id": person_id, "company_id": company_id, "key_id": key_id, "email": email}
    _subject.set(replace(_subject.get(), **{name: value for name, value in given.items() if value}))


def tell(scope: Scope, error: MainstayError) -> None:
    """The request is answered with that refusal, as a page or in another form that the front cannot tell."""
    scope[_TOLD] = error


def told(scope: Scope, method: str, route: str) -> Refusal | None:
    """What the request was refused, or None."""
    error = scope.get(_TOLD)
    if error is None:
        return None
    return Refusal(error, _subject.get(), method, scope["path"], route, scope["headers"], scope.get("client"))
