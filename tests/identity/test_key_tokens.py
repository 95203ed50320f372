"""The text of a key: a check that tells it from noise, both forms, and texts that must not show one."""

import re
import zlib
from pathlib import Path

import pytest

from mainstay import identity
from mainstay.identity import key_tokens
from mainstay.kernel.crypto import new_token
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Unauthenticated
from tests.identity.conftest import Client, KeyMaker

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/keys.md"


def value_of(digits: str) -> int:
    """The number that base-62 digits write."""
    number = 0
    for digit in digits:
        number = number * 62 + BASE62.index(digit)
    return number


@pytest.mark.parametrize("kind", ["workspace", "company"])
def test_a_key_ends_in_the_check_of_what_stands_before(kind: key_tokens.KeyKind) -> None:
    tokens = {key_tokens.new_key_token(kind) for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        assert token.startswith({"workspace": "mk_ws_", "company": "mk_co_"}[kind])
        assert value_of(token[-6:]) == zlib.crc32(token[:-6].encode())
        assert key_tokens.is_token(token)


def test_the_check_of_a_known_text_stays_what_it_is() -> None:
    body = "mk_ws_" + "0" * 43
    assert value_of(key_tokens.check_of(body)) == zlib.crc32(body.encode())
    assert len(key_tokens.check_of("mk_ws_" + "7" * 43)) == 6


def test_one_character_that_is_wrong_is_noise() -> None:
    token = key_tokens.new_key_token("workspace")
    for place in range(6, len(token)):
        wrong = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert not key_tokens.is_token(wrong)
    for text in (
        token[:-1],
        token + "A",
        token.replace("_ws_", "_co_"),
        token[:6] + "-" * 43 + token[-6:],
        token.lower(),
    ):
        assert not key_tokens.is_token(text)


async def test_noise_is_told_without_a_question(callers: identity.Identity) -> None:
    gone = identity.Identity(
        Database("postgresql://nobody@127.0.0.1:1/none", acquire_seconds=0.5), access_secret="x" * 40
    )
    token = key_tokens.new_key_token("company")
    with pytest.raises(Unauthenticated):
        gone.find_cached_key(token[:-1] + ("A" if token[-1] != "A" else "B"))
    with pytest.raises(Unauthenticated):
        await gone.key(token[:-1] + ("A" if token[-1] != "A" else "B"), "127.0.0.1")


async def test_keys_of_before_stay_good(db: Database, client: Client, workspace_key: KeyMaker) -> None:
    old, record = new_token("mk_ws_"), (await workspace_key()).record
    async with db.connection() as connection:
        await connection.execute(
            "update mainstay.api_keys set digest = sha256($1) where id = $2", old.encode(), record.id
        )
    async with client(old) as caller:
        assert (await caller.get("/v1/key/workspace")).json()["key"]["id"] == record.id


def test_the_documented_expression_finds_keys_and_no_more() -> None:
    (written,) = re.findall(r"`(\\bmk_[^`]+)`", PAGE.read_text(encoding="utf-8"))
    token = key_tokens.new_key_token("workspace")
    found = re.compile(written).findall(f'KEY="{token}" and mk_ws_{"x" * 43} or {token}x')
    assert found == [token]


def test_texts_are_rid_of_whatever_looks_like_a_key() -> None:
    token, old = key_tokens.new_key_token("workspace"), new_token("mk_co_")
    text = key_tokens.without_tokens(f"https://x.io/?a={token}&b={old}#mk_ws_")
    assert token not in text
    assert old not in text
    assert text == f"https://x.io/?a={token[:12]}…&b={old[:12]}…#mk_ws_"
