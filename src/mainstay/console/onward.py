"""Where somebody goes on to: pages of this console, and a form that is sent once more. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HOME = "/console"
SIGN_IN = "/console/sign-in"
ACCOUNT = "/console/account"
PROVE = f"{ACCOUNT}/prove"
SECOND_FACTOR = f"{ACCOUNT}/second-factor"
FIELD = "again."
"""What stands before the names of fields that wait for a proof."""
UNSAID = frozenset({"password", "current", "new", "code", "secret", "token"})
"""Fields that no page shows again."""
_SAFE = re.compile(r"/console(?:[/?][\w./?=&%:,+~@-]*)?", re.ASCII)
_NOT_PAGES = (SIGN_IN, PROVE)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wanted when their proof had grown old: a page, or with `fields` a form that was sent there."""

    href: str
    fields: Sequence[tuple[str, str]] | None = None


def is_safe(href: str) -> bool:
    """Whether somebody may be sent there after signing in: a page of this console, on this host."""
    return _SAFE.fullmatch(href) is not None and "//" not in href and not href.startswith(_NOT_PAGES)


def safe(href: str, otherwise: str = HOME) -> str:
    """The address where somebody may be sent there, or another."""
    return href if is_safe(href) else otherwise


def path_of(address: str) -> str:
    """What of a page's address comes after its host, '' where there is none."""
    rest = address.partition("://")[2]
    return rest[rest.find("/") :] if "/" in rest else ""


def wish_of(href: str, fields: Iterable[tuple[str, str]], *, page: str) -> Wish:
    """The form that was sent to `href` from `page`; the page alone where it held what no page shows again."""
    kept = [(name, value) for name, value in fields if name != "csrf"]
    if any(name in UNSAID and value for name, value in kept):
        return Wish(safe(page))
    return Wish(href, kept) if is_safe(href) else Wish(HOME)


def read_wish(form: Iterable[tuple[str, str]]) -> Wish:
    """The wish that a form carries, as `prove.html` writes it."""
    given = list(form)
    named = dict(given)
    href = safe(named.get("next", ""))
    if not named.get("sent") or href != named.get("next"):
        return Wish(href)
    return Wish(href, [(name.removeprefix(FIELD), value) for name, value in given if name.startswith(FIELD)])
