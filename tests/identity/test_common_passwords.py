"""Passwords that everybody tries first are refused, in any letter case and width, and so are names that are known."""

import pytest

from mainstay.identity import common_passwords, passwords
from mainstay.kernel.errors import Invalid

CONTEXT = ("Ada Lovelace", "ada.lovelace@example.com", "Acme Rockets Ltd.", "NovaPulse")


@pytest.mark.parametrize(
    "password",
    [
        "password", "Password1", "12345678", "qwertyuiop", "ILOVEYOU", "trustno1", "password123", "football1",
        "\uff30\uff41\uff53\uff53\uff57\uff4f\uff52\uff44", "aaaaaaaa", "abcabcabcab", "x" * 1_024, "        ",
    ],
)  # fmt: skip
def test_what_is_tried_first_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        passwords.check_password(password, pointer="#/newPassword")
    assert [fault.pointer for fault in refused.value.faults] == ["#/newPassword"]


@pytest.mark.parametrize(
    "password",
    ["Ada.Lovelace", "adalovelace1815", "lovelace-2026", "NovaPulse!", "mainstay2026", "acmerockets", "AcmeRocketsLtd.",
     "ada.lovelace@example.com", "\uff2eovaPulse123"],
)  # fmt: skip
def test_names_that_are_known_are_refused(password: str) -> None:
    with pytest.raises(Invalid, match="not valid"):
        passwords.check_password(password, context=CONTEXT)
    assert common_passwords.why_easy(password, CONTEXT) is not None


@pytest.mark.parametrize(
    "password",
    ["8 chars.", "correct horse battery staple", "lovelace likes punched cards", "Пароль-пароль",
     "a quiet ada!", "abcabcabx", "so long " * 128],
)  # fmt: skip
def test_anything_else_of_eight_characters_is_taken(password: str) -> None:
    passwords.check_password(password, context=CONTEXT)


@pytest.mark.parametrize("password", ["", "7 chars", "so long " * 128 + "x", "lone \ud800 surrogate"])
def test_length_is_counted_in_characters(password: str) -> None:
    with pytest.raises(Invalid, match="not valid"):
        passwords.check_password(password)


def test_the_list_is_long_and_compact() -> None:
    entries = common_passwords._entries()
    assert len(entries) == 16_293
    assert all(len(entry) == common_passwords.DIGEST_BYTES for entry in entries)
