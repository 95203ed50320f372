"""Who is calling: the Caller that credentials turn into, and the guards that routes name in their signatures.

Each family of paths takes one kind of credential: `/api/v1` people by bearer token, `/v1/key/*` API keys,
`/internal/*` the operators' token. The identity room fulfils `Callers`; `main` puts it into the application's state.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Protocol, Self

from fastapi import Depends, Request, params

from mainstay.kernel.errors import (
    CsrfRefused,
    Forbidden,
    KeyMayOnlyRead,
    KeyRefused,
    MfaSetupRequired,
    OutsideScopes,
    StepUpRequired,
    Unauthenticated,
)
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import DEFAULT_REGION
from mainstay.web import limiting, refusals
from mainstay.web.asgi import Headers
from mainstay.web.roles import ACTS, Role
from mainstay.web.scopes import find_scope, is_within

Kind = Literal["person", "workspace_key", "company_key", "operator"]
NO_KEY = "Authentication required: send an API key as 'Authorization: Bearer', 'x-api-key' or 'x-hyrelog-key'."
READING = frozenset({"GET", "HEAD", "OPTIONS"})
ACCESS_COOKIE = "mainstay_access"
CSRF_HEADER = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. `company_id` is set for all but operators, `workspace_id` for workspace keys; `region`
    is where the caller's data live. `session_id`, `features`, `is_fresh` (gave credentials a short while ago) and
    `must_set_up_mfa` are a person's; `scopes` are those of a key that is narrowed to some."""

    kind: Kind
    id: str
    name: str
    company_id: str
    workspace_id: str = ""
    role: Role | None = None
    read_only: bool = False
    email: str | None = None
    region: str = DEFAULT_REGION
    session_id: str = ""
    features: frozenset[str] = frozenset()
    is_fresh: bool = False
    must_set_up_mfa: bool = False
    scopes: frozenset[str] | None = None

    @property
    def actor(self) -> Actor:
        """The caller as the author of an announcement."""
        kind = "api_key" if self.kind.endswith("_key") else self.kind
        return Actor(kind=kind, id=self.id, name=self.name, email=self.email)


class Callers(Protocol):
    """Turns credentials into callers; raises Unauthenticated or Forbidden, never gives None."""

    async def person(self, token: str) -> Caller: ...

    def is_csrf_of(self, session_id: str, token: str) -> bool: ...

    async def key(self, token: str, address: str) -> Caller: ...

    def count_use(self, key_id: str, region: str, address: str) -> None: ...

    def count_refusal(self, key_id: str, region: str, refusal: KeyRefused, address: str) -> None: ...

    async def operator(self, token: str) -> Caller: ...


def bearer_of(headers: Headers) -> str | None:
    """The token of `Authorization: Bearer …`, or None."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else None
    return None


def key_of(headers: Headers) -> str | None:
    """The API key of `Authorization: Bearer|ApiKey`, `x-api-key` or `x-hyrelog-key`, or None."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() in ("bearer", "apikey"):
                return token.strip()
        elif name == b"x-api-key" or name == b"x-hyrelog-key":
            return value.decode("latin-1").strip()
    return None


def address_of(client: tuple[str, int] | None) -> str:
    """The caller's network address, or an empty text for in-process calls."""
    return client[0] if client else ""


def check_key(caller: Caller, kind: Kind, method: str, path: str) -> Caller:
    """The caller itself where it is a key of that kind that may use the method and the path; Forbidden otherwise."""
    if caller.kind != kind:
        wanted = "workspace" if kind == "workspace_key" else "company"
        raise Forbidden(f"This path takes a {wanted} key.")
    if caller.read_only and method not in READING:
        raise KeyMayOnlyRead
    if caller.scopes is not None and not is_within(caller.scopes, method, path):
        scope = find_scope(method, path)
        raise OutsideScopes(None if scope is None else f"This key lacks the scope '{scope}'.")
    return caller


def check_csrf(request: Request, callers: Callers, session_id: str) -> None:
    """Passes a request that shows the CSRF token of the session whose cookie it came with; CsrfRefused otherwise."""
    token = request.headers.get(CSRF_HEADER)
    if token is None or not callers.is_csrf_of(session_id, token):
        raise CsrfRefused


class KeyGuard:
    """Admits API keys of one kind; a read-only key only on reading methods."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    async def __call__(self, request: Request) -> Caller:
        token = key_of(request.scope["headers"])
        if token is None:
            raise Unauthenticated(NO_KEY)
        callers: Callers = request.app.state.callers
        address = address_of(request.scope.get("client"))
        caller = await callers.key(token, address)
        refusals.about(key_id=caller.id, company_id=caller.company_id)
        await limiting.hold_key(request.scope, request.app.state.key_rates, caller.id, caller.company_id)
        try:
            check_key(caller, self.kind, request.method, request.scope["path"])
        except KeyRefused as refusal:
            callers.count_refusal(caller.id, caller.region, refusal, address)
            raise
        callers.count_use(caller.id, caller.region, address)
        return caller


class May:
    """Admits people who may do the act of the table in `web.roles`; `fresh` asks that they just proved who they are.

    Forbidden names the act; StepUpRequired where `POST /api/v1/auth/step-up` must come first.
    """

    kind: Kind = "person"

    def __init__(self, act: str, *, fresh: bool = False, limit: str | None = None) -> None:
        """`limit` names the limit that calls of this route are held to, too."""
        self.act = ACTS[act]
        self.fresh = fresh
        self.needs_mfa = act != "account.use"
        self.limit = limit

    async def admit(self, request: Request) -> Caller:
        """The person of the token, whatever their role: that of the header, else that of the cookie, with which a
        request that changes something shows the CSRF token, too."""
        callers: Callers = request.app.state.callers
        token = bearer_of(request.scope["headers"])
        if token is not None:
            return await callers.person(token)
        cookie = request.cookies.get(ACCESS_COOKIE)
        if not cookie:
            raise Unauthenticated("Authentication required: send the access token as 'Authorization: Bearer'.")
        caller = await callers.person(cookie)
        if request.method not in READING:
            check_csrf(request, callers, caller.session_id)
        return caller

    async def __call__(self, request: Request) -> Caller:
        caller = await self.admit(request)
        await limiting.hold_person(request, caller.company_id, caller.id, self.limit)
        if caller.must_set_up_mfa and self.needs_mfa:
            raise MfaSetupRequired
        if not self.act.allows(caller.role, caller.features):
            raise Forbidden(f"Your role may not do this: {self.act.title}.")
        if self.fresh and not caller.is_fresh:
            raise StepUpRequired
        return caller


class OperatorGuard:
    """Admits operators by the header `x-internal-token`."""

    kind: Kind = "operator"

    async def __call__(self, request: Request) -> Caller:
        token = request.headers.get("x-internal-token")
        if token is None:
            raise Unauthenticated("Authentication required: send the operators' token as 'x-internal-token'.")
        callers: Callers = request.app.state.callers
        return await callers.operator(token)


WorkspaceKey = Annotated[Caller, Depends(KeyGuard("workspace_key"))]
CompanyKey = Annotated[Caller, Depends(KeyGuard("company_key"))]
Operator = Annotated[Caller, Depends(OperatorGuard())]


class Guards(NamedTuple):
    """Who may call the routes of one family: those that read, and those that change something."""

    reading: params.Depends
    changing: params.Depends

    @classmethod
    def of_people(cls, reading: str, changing: str) -> Self:
        """People who may do those acts."""
        return cls(Depends(May(reading)), Depends(May(changing)))

    @classmethod
    def of_keys(cls, kind: Kind) -> Self:
        """API keys of that kind."""
        guard = Depends(KeyGuard(kind))
        return cls(guard, guard)
