"""What kind of refusal it was, for those who read the authentication log: pure."""

from typing import Literal, get_args

from mainstay.web.asgi import Headers
from mainstay.web.refusals import Refusal

Kind = Literal[
    "login_failed",
    "code_refused",
    "bad_token",
    "no_token",
    "session_over",
    "role_refused",
    "step_up_required",
    "form_refused",
    "key_refused",
    "operator_refused",
    "restricted",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
_BY_CODE: dict[str, Kind] = {
    "login-refused": "login_failed",
    "too-many-tries": "login_failed",
    "person-suspended": "login_failed",
    "no-company": "login_failed",
    "proof-needed": "login_failed",
    "wrong-password": "login_failed",
    "refresh-refused": "bad_token",
    "link-over": "bad_token",
    "mfa-setup-required": "step_up_required",
    "wrong-code": "code_refused",
    "too-many-codes": "code_refused",
    "challenge-over": "code_refused",
    "step-up-required": "step_up_required",
    "form-refused": "form_refused",
    "csrf-refused": "form_refused",
    "restricted": "restricted",
}
_OF_ROLES = frozenset({"forbidden", "owners-only", "own-factor", "in-other-companies"})
_OF_KEYS = frozenset({"forbidden", "address-not-allowed", "read-only-key", "outside-scopes", "beyond-own-rights"})
_KEY_PATHS = ("/v1/", "/e/", "/fn/")
_OPERATORS_PATHS = ("/internal/", "/metrics", "/api/v1/metrics", "/api/v1/queue/stats")
_COOKIES = (b"mainstay_session=", b"mainstay_access=", b"mainstay_refresh=")


def kind_of(refusal: Refusal) -> Kind | None:
    """The kind, or None where the refusal says nothing about who is calling."""
    code, status, path = refusal.error.code, refusal.error.status, refusal.path
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == 429 and path.startswith("/api/v1/auth/"):
        return "login_failed"
    if path.startswith(_KEY_PATHS):
        return "key_refused" if status == 401 or (status == 403 and code in _OF_KEYS) else None
    if status == 401:
        return _of_unknown(refusal)
    return "role_refused" if status == 403 and code in _OF_ROLES else None


def _of_unknown(refusal: Refusal) -> Kind | None:
    if refusal.path.startswith(_OPERATORS_PATHS):
        return "operator_refused"
    has_token = _has_token(refusal.headers)
    if refusal.path.startswith("/console"):
        # Whoever opens a page before signing in was refused nothing.
        return "session_over" if has_token else None
    if not has_token:
        return "no_token"
    # A token that told whose it is was good: what it stood for is not any more.
    return "session_over" if refusal.subject.person_id else "bad_token"


def _has_token(headers: Headers) -> bool:
    return any(
        name == b"authorization" or (name == b"cookie" and any(one in value for one in _COOKIES))
        for name, value in headers
    )
