"""Letters: what they say, what nobody can put into them, who may see them, and how long they stay."""

import re
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from mainstay import accounts
from mainstay.accounts import letter_words
from mainstay.accounts.letter_words import Kind
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Invalid
from tests.conftest import SqlClock
from tests.tenancy import test_settings

AT = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
KEYRING = Keyring("a-test-secret-of-forty-characters-or-so-1")
NAMES = {
    "name": "Ada Lane", "email": "ada@example.com", "old": "old@example.com", "inviter": "Bob", "company": "Acme Inc.",
    "role": "manager", "device": "Firefox on Linux", "address": "192.0.2.1",
}  # fmt: skip
CHANGES = {"mfa_changed": "enabled", "email_changed": "done"}
LINKS = {"email_confirmation", "email_change", "password_reset", "invitation"}


def words_of(kind: Kind, **more: str) -> letter_words.Written:
    token = "ml_token" if kind in LINKS else None
    data = {**NAMES, "change": CHANGES.get(kind, ""), **more}
    letter_words.check_data(kind, data, has_link=token is not None)
    return letter_words.write(kind, data, token, at=AT, brand="NovaPulse", base_url="https://app.example.com")


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_has_words(kind: Kind) -> None:
    written = words_of(kind)
    assert written.subject.endswith(" | NovaPulse")
    assert "{" not in written.subject + written.text
    assert (written.link is not None) == (kind in LINKS)
    if written.link is not None:
        assert written.link in written.text
        assert re.fullmatch(r"https://app\.example\.com/console/[a-z-]+\?token=ml_token", written.link)


@pytest.mark.parametrize(
    "name",
    [
        "Ada\r\nBcc: all@example.com",
        "Ada\u2028Subject: x",
        "Ada\x00\x1b[2J",
        "https://evil.example/login?a=b",
        "evil.example",
        "{base_url}{link}",
        "<a href=x>Ada</a>",
        "A" * 5_000,
    ],
)
def test_what_somebody_chose_is_neither_header_nor_link(name: str) -> None:
    for kind in get_args(Kind):
        written = words_of(kind, name=name, inviter=name, company=name, device=name)
        assert written.subject.isprintable()
        assert len(written.subject) < 300
        ours = (written.link or "-", "https://app.example.com/console")
        rest = written.text
        for one in ours:
            rest = rest.replace(one, "")
        assert "://" not in rest
        assert "evil.example" not in rest + written.subject
        assert "<" not in rest
        assert all(one.isprintable() or one == "\n" for one in written.text)
        assert "\nBcc:" not in written.text


def test_words_that_lack_something_are_refused_when_written() -> None:
    with pytest.raises(ValueError, match="needs company, role"):
        letter_words.check_data("invitation", {"inviter": "Ada"}, has_link=True)
    with pytest.raises(ValueError, match="needs a link"):
        letter_words.check_data("password_reset", {"name": "Ada"}, has_link=False)
    with pytest.raises(ValueError, match="has no link"):
        letter_words.check_data("suspended", NAMES, has_link=True)
    with pytest.raises(ValueError, match="change must be one of"):
        letter_words.check_data("mfa_changed", {"name": "Ada", "change": "lost"}, has_link=False)


async def test_a_letter_goes_to_an_address(db: Database) -> None:
    for to in ("ada@example.com\r\nBcc: b@example.com", "ada", "a b@example.com", "@example.com"):
        with pytest.raises(Invalid):
            async with db.begin() as tx:
                await accounts.write_letter(tx, KEYRING, to=to, kind="password_changed", data={"name": "Ada"})
    assert await accounts.letters.count_letters(db) == {}


async def test_a_letter_is_sealed_read_counted_and_gone_after_30_days(db: Database, sql_clock: SqlClock) -> None:
    settings = test_settings(db.dsn, PUBLIC_URL="https://app.example.com/")
    async with db.begin() as tx:
        letter_id = await accounts.write_letter(
            tx, KEYRING, to="ada@example.com", kind="password_reset", data={"name": "Ada"}, link_token="ml_secret"
        )
        await accounts.write_letter(tx, KEYRING, to="ada@example.com", kind="password_changed", data={"name": "Ada"})
    async with db.connection() as connection:
        stored = await connection.fetchval("select string_agg(l::text, ' ') from mainstay.letters l")
        assert "ml_secret" not in stored
        assert b"ml_secret".hex() not in stored
    letter, written = await accounts.letters.read_letter(db, KEYRING, settings, letter_id)
    assert written.link == "https://app.example.com/console/reset-password?token=ml_secret"
    assert letter.expires_at == letter.created_at + timedelta(minutes=60)
    with pytest.raises(Unsealable):
        await accounts.letters.read_letter(
            db, Keyring("another-secret-of-forty-characters-or-so-9"), settings, letter_id
        )
    assert await accounts.letters.count_letters(db) == {"password_changed": 1, "password_reset": 1}
    assert [one.kind for one in await accounts.letters.list_letters(db)] == ["password_changed", "password_reset"]
    await sql_clock.move(timedelta(days=30, seconds=-60))
    assert await accounts.letters.prune(db) == 0
    await sql_clock.move(timedelta(seconds=120))
    assert await accounts.letters.prune(db) == 2


async def test_what_waits_is_a_gauge(db: Database) -> None:
    async with db.begin() as tx:
        await accounts.write_letter(tx, KEYRING, to="ada@example.com", kind="password_changed", data={"name": "Ada"})
    await accounts.letters.measure(db)
    assert accounts.letters.WAITING.labels("password_changed")._value.get() == 1
