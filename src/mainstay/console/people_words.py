"""Roles, features and lifetimes as people read them, and addresses of lists. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.datastructures import QueryParams

from mainstay.kernel.paging import Cursors
from mainstay.web.roles import ACTS, FEATURES

ROLES_TOLD: Mapping[str, str] = {
    "owner": "Owner: administers the company wholly",
    "manager": "Manager: runs and configures it",
    "staff": "Staff: does what is assigned below",
}
FEATURES_TOLD: Sequence[tuple[str, str]] = tuple(
    (feature, "; ".join(act.title for act in ACTS.values() if act.feature == feature)) for feature in FEATURES
)
"""Each feature with what it lets staff do."""
OUTBOX = "/console/outbox"
"""Where letters are read in the development profile."""
SHOWN = 50
"""Rows of one page."""


def acts_told(names: Iterable[str]) -> list[str]:
    """Acts of `web.roles` in words."""
    return [ACTS[name].title for name in names]


def address(path: str, **query: str) -> str:
    """The address with what is not empty in its query."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{QueryParams(given)}" if given else path


def cut(cursors: Cursors, scope: str, found: Sequence[Any]) -> tuple[Sequence[Any], str]:
    """The rows of one page, and the cursor of the next; '' where there is none. One row more was read."""
    rows = found[:SHOWN]
    return rows, cursors.seal(scope, [rows[-1].id]) if len(found) > SHOWN else ""


def position(cursors: Cursors, scope: str, cursor: str) -> str | None:
    """Behind which id a page begins; Invalid for what is no cursor of the list."""
    return str(cursors.open(scope, cursor)[0]) if cursor else None
