"""What the database holds: secrets that open beside their row alone, and digests."""

import base64
from datetime import timedelta

import pytest

from mainstay import mfa
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Database
from mainstay.mfa import resealing
from mainstay.mfa.codes import digest_of_recovery
from tests.mfa.conftest import SECRET, People

NEW = "another master secret of 32 characters or more"


@pytest.mark.contract("NP-M-12")
async def test_the_secret_stands_in_no_column_and_opens_with_the_key(people: People, db: Database) -> None:
    one = await people.with_factor()
    async with db.connection() as connection:
        row = await connection.fetchrow("select id::text, secret, f::text as whole from mainstay.mfa_factors f")
    raw = bytes(row["secret"])
    for plain in (one.secret.encode(), base64.b32decode(one.secret), one.secret.lower().encode()):
        assert plain not in raw
        assert plain.hex() not in row["whole"]
    assert people.keyring.open(raw, f"mfa factor {row['id']}".encode()) == one.secret.encode()
    with pytest.raises(Unsealable):
        Keyring(NEW).open(raw, f"mfa factor {row['id']}".encode())
    with pytest.raises(Unsealable):
        people.keyring.open(raw, b"mfa factor 01980000-0000-7000-8000-000000000000")


async def test_recovery_codes_and_challenges_are_digests(people: People, db: Database) -> None:
    one = await people.with_factor()
    token = await people.challenge(one)
    async with db.connection() as connection:
        kept = {bytes(row[0]) for row in await connection.fetch("select digest from mainstay.recovery_codes")}
        whole = str(await connection.fetch("select c::text from mainstay.recovery_codes c"))
        whole += str(await connection.fetch("select c::text from mainstay.sign_in_challenges c"))
    assert kept == {digest_of_recovery(code) for code in one.recovery}
    for plain in (token, token.removeprefix("mc_"), *one.recovery):
        assert plain not in whole
        assert plain.encode().hex() not in whole


async def test_secrets_are_sealed_anew_when_the_master_secret_changed(people: People, db: Database) -> None:
    one, waiting = await people.with_factor(), await people.begin(await people.add("staff"))
    assert await resealing.reseal(db, people.keyring) == 0
    both = Keyring(NEW, [SECRET])
    assert await mfa.prove(db, both, one.id, one.code()) == "totp"
    assert await resealing.reseal(db, both) == 2
    assert await resealing.reseal(db, both) == 0
    alone = Keyring(NEW)
    assert await mfa.prove(db, alone, one.id, one.code(1)) == "totp"
    assert (await mfa.verify(db, alone, waiting.caller, waiting.code())).enabled_at is not None


async def test_a_secret_that_does_not_open_holds_up_no_other(people: People, db: Database) -> None:
    lost, one = await people.with_factor(), await people.with_factor()
    async with db.begin() as tx:
        await tx.connection.execute(
            "update mainstay.mfa_factors set secret = decode('00000000', 'hex') || secret where person_id = $1", lost.id
        )
    assert await resealing.reseal(db, Keyring(NEW, [SECRET])) == 1
    assert await mfa.prove(db, Keyring(NEW), one.id, one.code()) == "totp"


async def test_challenges_are_gone_when_their_time_is_over(people: People, db: Database) -> None:
    one = await people.with_factor()
    await people.challenge(one)
    await people.clock.move(timedelta(minutes=6))
    token = await people.challenge(one)
    [prune] = [task.run for task in mfa.tasks(db, people.keyring) if task.kind == "mfa.prune_challenges"]
    await prune(None)  # type: ignore[arg-type]
    async with db.connection() as connection:
        assert await connection.fetchval("select count(*) from mainstay.sign_in_challenges") == 1
    await people.forget_step(one)
    assert (await mfa.answer(db, people.keyring, token, one.code(), address="")).person_id == one.id
