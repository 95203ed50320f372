"""What people type, checked and normalised: names, labels, scopes, slugs and email addresses. Pure."""

import re
import secrets
import unicodedata
from collections.abc import Sequence

from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.scopes import SCOPES

NAME_MAX_CHARACTERS = 200
MAX_LABELS = 20
LABEL_MAX_CHARACTERS = 64
EMAIL_MAX_CHARACTERS = 254
RESERVED_SLUGS = frozenset({"system"})

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOCAL = re.compile(r"[^\s@\"(),:;<>\[\\\]]{1,64}")
_LOOK_ALIKE = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"}
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")


def check_name(text: str, pointer: str = "#/name") -> str:
    """The name without spaces around it: 1 to 200 printable characters; Invalid otherwise."""
    name = text.strip()
    if not 1 <= len(name) <= NAME_MAX_CHARACTERS or not name.isprintable():
        raise Invalid(faults=[Fault(f"must be 1 to {NAME_MAX_CHARACTERS} printable characters", pointer)])
    return name


def check_labels(labels: Sequence[str], pointer: str = "#/labels") -> list[str]:
    """The labels without spaces around them: up to 20 of 1 to 64 printable characters; Invalid names a bad one."""
    if len(labels) > MAX_LABELS:
        raise Invalid(faults=[Fault(f"must have at most {MAX_LABELS} entries", pointer)])
    checked = [label.strip() for label in labels]
    for index, label in enumerate(checked):
        if not 1 <= len(label) <= LABEL_MAX_CHARACTERS or not label.isprintable():
            raise Invalid(
                faults=[Fault(f"must be 1 to {LABEL_MAX_CHARACTERS} printable characters", f"{pointer}/{index}")]
            )
    return checked


def check_scopes(scopes: Sequence[str], pointer: str = "#/scopes") -> list[str]:
    """The scopes, each once and in the order of the table; Invalid names one that there is not."""
    faults = [
        Fault(f"must be one of {', '.join(SCOPES)}", f"{pointer}/{index}")
        for index, scope in enumerate(scopes)
        if scope not in SCOPES
    ]
    if not scopes:
        faults = [Fault("must name one scope or more; without it the key has all", pointer)]
    if faults:
        raise Invalid(faults=faults)
    return [scope for scope in SCOPES if scope in scopes]


def check_slug(text: str, *, reserved: frozenset[str] = RESERVED_SLUGS) -> str:
    """The slug itself: 1 to 63 of a-z, 0-9 and inner dashes, and not a reserved word; Invalid otherwise."""
    if not _SLUG.fullmatch(text):
        raise Invalid(faults=[Fault("must be 1 to 63 of a-z, 0-9 and dashes, no dash first or last", "#/slug")])
    if text in reserved:
        raise Invalid(faults=[Fault(f"'{text}' is reserved", "#/slug")])
    return text


def slug_from(name: str) -> str:
    """A slug that resembles a name, for where none was given."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:50].strip("-")
    return slug if slug and slug not in RESERVED_SLUGS else f"{slug or 'x'}-{secrets.token_hex(3)}"


def find_email_key(text: str) -> str | None:
    """The form under which an address is unique (NFKC, case folded), or None where it is no address at all."""
    address = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())
    local, at, domain = address.rpartition("@")
    if not at or len(address) > EMAIL_MAX_CHARACTERS or not address.isprintable():
        return None
    if not _LOCAL.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        return None
    labels = domain.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return address


def check_email(text: str) -> tuple[str, str]:
    """The address as it was written, in NFKC, and the key under which it is unique; Invalid otherwise.

    No part may mix Latin, Greek and Cyrillic letters, of which many look alike.
    """
    key = find_email_key(text)
    if key is None:
        raise Invalid(faults=[Fault("must be an email address of at most 254 characters", "#/email")])
    if any(len(_scripts_of(part)) > 1 for part in re.split(r"[.@+_-]", key)):
        raise Invalid(faults=[Fault("mixes letters of several alphabets in one word", "#/email")])
    return unicodedata.normalize("NFKC", text.strip()), key


def _scripts_of(text: str) -> set[str]:
    """Which of the alphabets that look alike have letters in the text."""
    return {unicodedata.name(one, "").partition(" ")[0] for one in text if one.isalpha()} & _LOOK_ALIKE
