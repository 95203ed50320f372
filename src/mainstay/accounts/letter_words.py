"""The words of every letter: subject, text and where its link leads. Pure.

What people chose themselves (names, companies, devices) is quoted on one line and cannot read as a link or a header.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

Kind = Literal[
    "email_confirmation", "email_change", "email_changed", "password_reset", "password_changed",
    "invitation", "mfa_changed", "session_reuse", "new_device", "suspended",
]  # fmt: skip

SECURITY_KINDS: Final[frozenset[Kind]] = frozenset(
    {"email_change", "email_changed", "password_changed", "mfa_changed", "session_reuse", "new_device", "suspended"}
)
"""What no preference can mute: somebody's way in was changed, or used from somewhere new."""

_MOST_CHARACTERS = 100
_LINKISH = re.compile(r"(?<=\S)\.(?=\S)")
_ACTING = str.maketrans(dict.fromkeys('/\\:@<>"“”{}[]|`', " "))
_IF_NOT_YOU = "If this was not you, change your password and end your sessions at once: {base_url}/console"


@dataclass(frozen=True, slots=True)
class Words:
    """How letters of one kind read. `page` is where the link leads; `needs` are the names that the data must have."""

    subject: str
    text: str
    needs: frozenset[str] = frozenset()
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A letter in words, ready for a sender."""

    subject: str
    text: str
    link: str | None


_WORDS: Final[Mapping[Kind, Words]] = {
    "email_confirmation": Words(
        "Confirm your email address",
        "Please confirm that {email} is your address:\n\n{link}\n\nThe link is good for 7 days. "
        "If you did not register with {brand}, you need not do anything.",
        frozenset({"name", "email"}),
        "/console/confirm-email",
    ),
    "email_change": Words(
        "Confirm your new email address",
        "You asked to sign in with {email} from now on. Confirm it within 24 hours:\n\n{link}\n\n"
        "Until then nothing changes. If you did not ask for this, you need not do anything.",
        frozenset({"name", "email"}),
        "/console/confirm-email",
    ),
    "email_changed": Words(
        "The email address of your account {happening}",
        "The address with which you sign in {happening}: from {old} to {email}, on {at}.\n\n" + _IF_NOT_YOU,
        frozenset({"name", "old", "email", "change"}),
    ),
    "password_reset": Words(
        "Choose a new password",
        "Somebody, hopefully you, asked for a new password. Choose one within 60 minutes:\n\n{link}\n\n"
        "If it was not you, you need not do anything: your password stays as it is.",
        frozenset({"name"}),
        "/console/reset-password",
    ),
    "password_changed": Words(
        "Your password was changed",
        "Your password was changed on {at}.\n\n" + _IF_NOT_YOU,
        frozenset({"name"}),
    ),
    "invitation": Words(
        "{inviter} invites you to {company}",
        "\u201c{inviter}\u201d invites you to join \u201c{company}\u201d as {role}. Accept within 7 days:\n\n{link}\n\n"
        "If you do not know them, you need not do anything.",
        frozenset({"inviter", "company", "role"}),
        "/console/accept-invitation",
    ),
    "mfa_changed": Words(
        "Your second factor {happening}",
        "The second factor of your account {happening} on {at}.\n\n" + _IF_NOT_YOU,
        frozenset({"name", "change"}),
    ),
    "session_reuse": Words(
        "One of your sessions was ended",
        "A part of your sign-in was used twice on {at}, as happens when somebody has copied it. We ended that session; "
        "please sign in again.\n\n" + _IF_NOT_YOU,
        frozenset({"name"}),
    ),
    "new_device": Words(
        "A new sign-in to your account",
        "Your account was signed in to from a device that we have not seen before, on {at}: "
        "{device}, from {address}.\n\n" + _IF_NOT_YOU,
        frozenset({"name", "device", "address"}),
    ),
    "suspended": Words(
        "Your access to {company} was suspended",
        "Your access to \u201c{company}\u201d was suspended on {at}. Ask its owner if you think that this is wrong.",
        frozenset({"name", "company"}),
    ),
}

_HAPPENINGS: Final[Mapping[Kind, Mapping[str, str]]] = {
    "email_changed": {"asked": "is about to change", "done": "was changed"},
    "mfa_changed": {
        "enabled": "was turned on",
        "disabled": "was turned off",
        "codes_renewed": "has new recovery codes",
        "code_refused": "was asked for too often, with wrong codes",
        "reset": "was removed by an administrator",
    },
}


def check_data(kind: Kind, data: Mapping[str, str], *, has_link: bool) -> None:
    """Passes data that hold all that the words of the kind need, and a link where they have one; ValueError."""
    words = _WORDS[kind]
    missing = sorted(words.needs - data.keys())
    if missing:
        raise ValueError(f"a letter of the kind {kind} needs {', '.join(missing)}")
    if has_link != (words.page is not None):
        raise ValueError(f"a letter of the kind {kind} {'has no' if has_link else 'needs a'} link")
    if kind in _HAPPENINGS and data["change"] not in _HAPPENINGS[kind]:
        raise ValueError(f"change must be one of {', '.join(_HAPPENINGS[kind])}")


def write(
    kind: Kind, data: Mapping[str, str], token: str | None, *, at: datetime, brand: str, base_url: str
) -> Written:
    """The letter in words: a subject of one line, plain text, and its link on `base_url`."""
    words = _WORDS[kind]
    link = None if token is None else f"{base_url}{words.page}?token={token}"
    given = {name: _address(value) if name in ("email", "old") else _plain(value) for name, value in data.items()}
    given["happening"] = _HAPPENINGS[kind][data["change"]] if kind in _HAPPENINGS else ""
    given |= {"brand": brand, "base_url": base_url, "link": link or "", "at": f"{at:%d %B %Y, %H:%M} UTC"}
    greeting = f"Hello {given['name']},\n\n" if given.get("name") else "Hello,\n\n"
    subject = f"{words.subject.format_map(given)} | {brand}"
    return Written(subject, f"{greeting}{words.text.format_map(given)}\n\n{brand}\n", link)


def _address(text: str) -> str:
    """An email address on one line; it was checked when it was given."""
    return "".join(one for one in text if one.isprintable() and not one.isspace())


def _plain(text: str) -> str:
    """One line of at most 100 characters in which no mail program finds a link."""
    line = "".join(one if one.isprintable() else " " for one in text).translate(_ACTING)
    line = " ".join(_LINKISH.sub(". ", line).split())
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "\u2026"
