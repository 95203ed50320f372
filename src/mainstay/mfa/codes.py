"""Codes of six digits from a secret and the clock (RFC 6238), and recovery codes that a person can type. Pure."""

import hashlib
import hmac
import re
import secrets

import pyotp

STEP_SECONDS = 30
DIGITS = 6
STEPS_EITHER_WAY = 2
"""A code counts up to so many steps early or late: 60 seconds each way."""
SECRET_CHARACTERS = 32
"""Of base32, five bits each: 160 bits, as long as the digest."""
RECOVERY_CODES = 10
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without 0 and O, 1, I and L: 4.95 bits a character."""
_GROUPS, _GROUP = 6, 4
"""24 characters: 118 bits, so that a plain digest is enough to keep."""
_TOTP = re.compile(f"[0-9]{{{DIGITS}}}")
_RECOVERY = re.compile(f"[{_ALPHABET}]{{{_GROUPS * _GROUP}}}")


def new_secret() -> str:
    """A fresh secret in base32."""
    return pyotp.random_base32(SECRET_CHARACTERS)


def find_step(secret: str, code: str, *, now: int, after: int | None) -> int | None:
    """The step within two of `now` whose code this is, and later than `after`; None where there is none.

    Each of the five codes is compared in constant time, whichever of them matches.
    """
    hotp, found = pyotp.HOTP(secret, digits=DIGITS), None
    for step in range(max(now - STEPS_EITHER_WAY, 0), now + STEPS_EITHER_WAY + 1):
        is_same = hmac.compare_digest(hotp.at(step).encode(), code.encode())
        if is_same and (after is None or step > after):
            found = step
    return found


def find_totp(text: str) -> str | None:
    """The six digits of a text, spaces left out; None where it is anything else."""
    code = text.replace(" ", "")
    return code if _TOTP.fullmatch(code) else None


def find_recovery(text: str) -> str | None:
    """The 24 characters of a recovery code, whatever its case, spaces and dashes; None where it is anything else."""
    code = text.replace(" ", "").replace("-", "").upper() if text.isascii() else ""
    return code if _RECOVERY.fullmatch(code) else None


def new_recovery_codes() -> list[str]:
    """Ten fresh codes as they are shown: XXXX-XXXX-XXXX-XXXX-XXXX-XXXX."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        for _ in range(RECOVERY_CODES)
    ]


def digest_of_recovery(code: str) -> bytes:
    """What is stored in place of a recovery code, from its 24 characters."""
    return hashlib.sha256(code.replace("-", "").encode()).digest()
