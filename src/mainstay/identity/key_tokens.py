"""The text of an API key: made, told from noise without asking anybody, and taken out of texts. Pure.

`mk_ws_` or `mk_co_`, 43 random characters of 0-9A-Za-z (256 bits), and six that check all before them (CRC-32 in base
62). Keys of before have 43 characters of base64url and no check.
"""

import re
import secrets
import string
import zlib
from typing import Literal

KeyKind = Literal["workspace", "company"]

TOKEN_PREFIXES: dict[KeyKind, str] = {"workspace": "mk_ws_", "company": "mk_co_"}
TOKEN_CHARACTERS = 55
"""Six of prefix, 43 that hold 256 random bits, six of check."""
OLD_TOKEN_CHARACTERS = 49
SHOWN_CHARACTERS = 12
_RANDOM_CHARACTERS = 43
_CHECK_CHARACTERS = 6
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ANYWHERE = re.compile(r"mk_(?:ws|co)_[0-9A-Za-z_-]{20,}")


def new_key_token(kind: KeyKind) -> str:
    """A fresh key of that kind."""
    body = TOKEN_PREFIXES[kind] + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_CHARACTERS))
    return body + check_of(body)


def check_of(body: str) -> str:
    """The six characters that end a key which begins so: its CRC-32 in base 62, zeros in front."""
    rest, digits = zlib.crc32(body.encode()), []
    for _ in range(_CHECK_CHARACTERS):
        rest, digit = divmod(rest, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def is_token(text: str) -> bool:
    """Whether the text has the form of a key, and ends in its check if it is of the new one: asking can make sense."""
    if text[:6] not in ("mk_ws_", "mk_co_") or not text.isascii():
        return False
    if len(text) == OLD_TOKEN_CHARACTERS:
        return True
    return (
        len(text) == TOKEN_CHARACTERS
        and text[6:].isalnum()
        and check_of(text[:-_CHECK_CHARACTERS]) == text[-_CHECK_CHARACTERS:]
    )


def without_tokens(text: str) -> str:
    """The text with whatever looks like a key cut to its first characters."""
    return _ANYWHERE.sub(lambda found: found[0][:SHOWN_CHARACTERS] + "…", text)
