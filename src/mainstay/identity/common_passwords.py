"""Passwords that everybody tries first: the common and breached ones, repetitions, and words that belong to the place.

`common_passwords.bin` holds 16,293 of eight characters and more, each as the first six bytes of its SHA-256: the most
frequent ones of published breaches, as the packages zxcvbn (MIT) and Django (BSD) ship them. It is written by
`scripts/common-passwords`.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

DIGEST_BYTES = 6
_PRODUCT = "mainstay"
_LEAST_LEFT = 8
_LEAST_WORD = 3
_LONGEST_REPEATED = 4


def form_of(password: str) -> str:
    """The form in which a password is looked for: NFKC, letter case aside. It is never what is hashed for a login."""
    return unicodedata.normalize("NFKC", password).casefold()


def digest_of(form: str) -> bytes:
    """How a form stands in the list."""
    return hashlib.sha256(form.encode()).digest()[:DIGEST_BYTES]


def why_easy(password: str, context: Iterable[str] = ()) -> str | None:
    """Why nobody should take this password, or None.

    `context` are names that an attacker knows: of the person, the company and the brand, an email address. A password
    that is nothing else, or has fewer than eight characters besides them and the word Mainstay, is refused.
    """
    form = form_of(password)
    if is_common(form):
        return "is one of the passwords that are tried first; choose another one"
    if any(_is_repeated(form, length) for length in range(1, _LONGEST_REPEATED + 1)):
        return "repeats a few characters; choose another one"
    left = form
    for word in sorted(_words_of((*context, _PRODUCT)), key=len, reverse=True):
        left = left.replace(word, "")
    if left != form and len(left) < _LEAST_LEFT:
        return "consists of names that belong to you, your company or this product; choose another one"
    return None


def is_common(form: str) -> bool:
    """Whether the form is in the list."""
    return digest_of(form) in _entries()


def _is_repeated(form: str, length: int) -> bool:
    return len(form) > length and form == (form[:length] * len(form))[: len(form)]


def _words_of(context: Iterable[str]) -> set[str]:
    """The names and their parts, of three characters and more."""
    found: set[str] = set()
    for text in context:
        form = form_of(text)
        parts = "".join(one if one.isalnum() else " " for one in form).split()
        found |= {one for one in (form, "".join(parts), *parts) if len(one) >= _LEAST_WORD}
    return found


@cache
def _entries() -> frozenset[bytes]:
    packed = files("mainstay.identity").joinpath("common_passwords.bin").read_bytes()
    return frozenset(packed[start : start + DIGEST_BYTES] for start in range(0, len(packed), DIGEST_BYTES))
