"""Codes against the vectors of RFC 6238, against two other implementations, and recovery codes by their form."""

import base64
import math
import secrets

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from mainstay.mfa import codes
from tests.mfa.rfc6238 import code_at

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.contract("NP-M-01")
@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"), (1111111109, "081804"), (1111111111, "050471"),
        (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130"),
    ],
)  # fmt: skip
def test_the_vectors_of_the_rfc(seconds: int, code: str) -> None:
    step = seconds // 30
    assert code_at(RFC_SECRET, step) == code
    assert codes.find_step(RFC_SECRET, code, now=step, after=None) == step


@pytest.mark.contract("NP-M-01")
def test_codes_of_other_implementations_are_taken() -> None:
    for _ in range(50):
        secret, step = codes.new_secret(), secrets.randbelow(1 << 32) + 10
        other = TOTP(base64.b32decode(secret), 6, SHA1(), 30)
        assert codes.find_step(secret, code_at(secret, step), now=step, after=step - 1) == step
        assert codes.find_step(secret, other.generate(step * 30 + 29).decode(), now=step, after=step - 1) == step


def test_a_step_counts_within_two_of_now_and_after_the_last() -> None:
    code, step = code_at(RFC_SECRET, 1_000), 1_000
    found = {offset: codes.find_step(RFC_SECRET, code, now=step - offset, after=None) for offset in range(-4, 5)}
    assert found == {offset: step if abs(offset) <= 2 else None for offset in range(-4, 5)}
    assert codes.find_step(RFC_SECRET, code, now=step, after=step - 1) == step
    assert codes.find_step(RFC_SECRET, code, now=step, after=step) is None
    assert codes.find_step(RFC_SECRET, code_at(RFC_SECRET, 1), now=1, after=None) == 1


def test_a_secret_has_160_bits() -> None:
    made = {codes.new_secret() for _ in range(20)}
    assert len(made) == 20
    assert {len(base64.b32decode(secret)) for secret in made} == {20}


@pytest.mark.contract("NP-M-06")
def test_six_ascii_digits_are_a_code_and_nothing_else_is() -> None:
    assert codes.find_totp("123456") == codes.find_totp(" 123 456 ") == "123456"
    other_digits = ("".join(chr(first + digit) for digit in range(1, 7)) for first in (0x0660, 0xFF10))
    for text in ("12345", "1234567", "", "12345a", "123-456", "+12345", "123456\n", "12345\x00", *other_digits):
        assert codes.find_totp(text) is None


def test_recovery_codes_can_be_typed_and_not_guessed() -> None:
    made = codes.new_recovery_codes()
    letters = {letter for _ in range(40) for code in codes.new_recovery_codes() for letter in code} - {"-"}
    assert len(set(made)) == codes.RECOVERY_CODES == 10
    assert not letters & set("01ILO")
    assert len(made[0].replace("-", "")) * math.log2(len(letters)) >= 112
    plain = made[0].replace("-", "")
    for typed in (made[0], plain, plain.lower(), made[0].lower().replace("-", " "), f" {made[0]}- "):
        assert codes.find_recovery(typed) == plain
    for typed in (plain[:-1], plain + "2", plain[:-1] + "0", plain[:-1] + "\u017f", "", "123456"):
        assert codes.find_recovery(typed) is None
    assert codes.digest_of_recovery(made[0]) == codes.digest_of_recovery(plain)
