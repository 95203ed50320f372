"""What each role may do: the one table that guards read and the documentation prints. Pure.

Owners administer the company wholly, managers run and configure it, staff have the features assigned to them (C-04).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["owner", "manager", "staff"]
Feature = Literal["events", "archive", "webhooks", "streams", "templates", "usage", "members"]

ROLES: tuple[Role, ...] = get_args(Role)
FEATURES: tuple[Feature, ...] = get_args(Feature)
"""What may be assigned to staff, one person at a time."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that people do: in words, who may do it, and the feature that lets staff do it too."""

    title: str
    roles: frozenset[Role]
    feature: Feature | None = None

    def allows(self, role: Role | None, features: Collection[str]) -> bool:
        """Whether somebody of that role, with those features assigned, may do it."""
        return role in self.roles or (role == "staff" and self.feature is not None and self.feature in features)


def _everyone(title: str) -> Act:
    return Act(title, frozenset(ROLES))


def _managers(title: str, feature: Feature | None = None) -> Act:
    return Act(title, frozenset({"owner", "manager"}), feature)


def _owners(title: str) -> Act:
    return Act(title, frozenset({"owner"}))


ACTS: Mapping[str, Act] = {
    "account.use": _everyone("see and change one's own account"),
    "overview.read": _everyone("see the overview"),
    "company.read": _everyone("see the company"),
    "company.change": _managers("change the company's name"),
    "company.secure": _owners("demand a second factor, set limits of sessions"),
    "members.read": _managers("see members, departments and invitations", "members"),
    "members.invite": _managers("invite people"),
    "members.change": _managers("change roles and features, suspend and remove members"),
    "owners.change": _owners("make somebody an owner, or an owner somebody else"),
    "departments.change": _managers("change departments and who is in them"),
    "keys.read": _managers("see API keys"),
    "keys.change": _managers("issue, rotate and revoke API keys"),
    "events.read": _managers("search, follow and export events", "events"),
    "archive.read": _managers("see and export archived days", "archive"),
    "archive.change": _managers("verify and archive days"),
    "erasures.change": _owners("erase a person from the log, set and lift holds"),
    "webhooks.read": _managers("see endpoints and deliveries", "webhooks"),
    "webhooks.change": _managers("change endpoints, send again"),
    "streams.read": _managers("see streams", "streams"),
    "streams.change": _managers("change streams, send again"),
    "templates.read": _managers("see templates and event schemas", "templates"),
    "templates.change": _managers("change templates and event schemas"),
    "usage.read": _managers("see usage and limits", "usage"),
    "usage.change": _managers("change thresholds and what happens at the limit"),
    "queues.read": _managers("see what waits in the queues"),
}


def matrix() -> list[tuple[str, str, str, str, str]]:
    """A row for each act: its name, what it is in words, and whether owner, manager and staff may do it."""
    rows = []
    for name, act in ACTS.items():
        staff = "yes" if "staff" in act.roles else f"with `{act.feature}`" if act.feature else ""
        owner, manager = ("yes" if role in act.roles else "" for role in ("owner", "manager"))
        rows.append((name, act.title, owner, manager, staff))
    return rows
