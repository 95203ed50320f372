"""Challenges and codes: each good once, also in parallel; for so long, so often, and for their own person."""

import asyncio
from datetime import timedelta

import pytest

from mainstay import mfa
from mainstay.kernel.db import Database
from tests.mfa.conftest import People, Someone, announced


async def answered(people: People, token: str, code: str) -> mfa.Answered:
    """What an answer to the challenge gives."""
    return await mfa.answer(people.db, people.keyring, token, code, address="203.0.113.9")


async def ends_of(*answers: asyncio.Future[mfa.Answered] | object) -> list[str]:
    """How simultaneous answers ended, in the order of the words."""
    ends = await asyncio.gather(*answers, return_exceptions=True)  # type: ignore[call-overload]
    return sorted(type(end).__name__ for end in ends)


async def test_a_right_code_tells_who_may_sign_in(people: People) -> None:
    one = await people.with_factor()
    token = await people.challenge(one)
    found = await answered(people, token, one.code())
    assert found == mfa.Answered(one.id, one.caller.company_id, "api", "totp", 10)
    with pytest.raises(mfa.ChallengeOver):
        await answered(people, token, one.code(1))


@pytest.mark.contract("NP-M-11")
async def test_codes_count_two_steps_early_and_late_by_the_clock_of_the_database(people: People) -> None:
    one = await people.with_factor()
    code, found = one.code(), {}
    for steps in (-3, -2, -1, 0, 1, 2, 3):
        await people.clock.move(timedelta(seconds=30 * steps) - people.clock.offset)
        await people.forget_step(one)
        try:
            found[steps] = (await answered(people, await people.challenge(one), code)).method
        except mfa.WrongCode:
            found[steps] = None
    assert found == {steps: "totp" if abs(steps) <= 2 else None for steps in range(-3, 4)}


async def test_a_code_is_good_once_and_older_ones_are_not_good_after_it(people: People) -> None:
    one = await people.with_factor()
    assert (await answered(people, await people.challenge(one), one.code(1))).method == "totp"
    for used in (one.code(1), one.code(0), one.code(-1)):
        with pytest.raises(mfa.WrongCode):
            await answered(people, await people.challenge(one), used)
    assert await mfa.prove(people.db, people.keyring, one.id, one.code(2)) == "totp"


async def test_of_two_uses_of_one_code_at_once_one_wins(people: People) -> None:
    one = await people.with_factor()
    for code in (one.code(), one.recovery[0]):
        tokens = [await people.challenge(one) for _ in range(4)]
        ends = await ends_of(*(answered(people, token, code) for token in tokens))
        assert ends == ["Answered", "WrongCode", "WrongCode", "WrongCode"]
    assert (await mfa.state(people.db, one.id)).codes_left == 9


async def test_of_two_answers_to_one_challenge_at_once_one_wins(people: People) -> None:
    one = await people.with_factor()
    token = await people.challenge(one)
    ends = await ends_of(*(answered(people, token, code) for code in (*one.recovery[:3], one.code(1))))
    assert ends == ["Answered", "ChallengeOver", "ChallengeOver", "ChallengeOver"]
    assert (await mfa.state(people.db, one.id)).codes_left >= 9


async def test_a_recovery_code_stands_for_the_app_once(people: People) -> None:
    one = await people.with_factor()
    typed = one.recovery[3].lower().replace("-", " ")
    found = await answered(people, await people.challenge(one), typed)
    assert (found.method, found.codes_left) == ("recovery", 9)
    with pytest.raises(mfa.WrongCode):
        await answered(people, await people.challenge(one), one.recovery[3])
    assert mfa.FEW_CODES == 3


async def test_a_challenge_is_open_for_five_minutes(people: People) -> None:
    one = await people.with_factor()
    first, second = await people.challenge(one), await people.challenge(one)
    await people.clock.move(timedelta(minutes=5, milliseconds=-1))
    await answered(people, first, one.code())
    await people.clock.move(timedelta(milliseconds=1))
    with pytest.raises(mfa.ChallengeOver):
        await answered(people, second, one.code(1))


async def test_a_challenge_has_five_tries(people: People) -> None:
    one = await people.with_factor()
    token, other = await people.challenge(one), await people.challenge(one)
    ends = await ends_of(*(answered(people, token, one.wrong()) for _ in range(8)))
    assert ends == ["ChallengeOver"] * 3 + ["WrongCode"] * 5
    with pytest.raises(mfa.ChallengeOver):
        await answered(people, token, one.code())
    for _ in range(4):
        with pytest.raises(mfa.WrongCode):
            await answered(people, other, one.wrong())
    assert (await answered(people, other, one.code())).person_id == one.id


async def test_a_challenge_takes_its_own_persons_codes_alone(people: People) -> None:
    one, other = await people.with_factor(), await people.with_factor("staff")
    token = await people.challenge(one)
    for code in (other.code(), other.recovery[0]):
        with pytest.raises(mfa.WrongCode):
            await answered(people, token, code)
    assert (await answered(people, token, one.code())).person_id == one.id
    assert await mfa.prove(people.db, people.keyring, other.id, other.recovery[0]) == "recovery"


@pytest.mark.parametrize("token", ["", "mc_", "mc_" + "x" * 43, "mc_é", "ms_" + "x" * 43, "mc_" + "x" * 100_000, "\0"])
async def test_what_is_no_challenge_is_over(token: str, people: People) -> None:
    with pytest.raises(mfa.ChallengeOver):
        await answered(people, token, "123456")


async def test_a_challenge_is_over_when_the_factor_is_gone_or_it_is_ended(people: People) -> None:
    one = await people.with_factor()
    gone, ended = await people.challenge(one), await people.challenge(one)
    async with people.db.begin() as tx:
        await mfa.end_challenges(tx, one.id)
    with pytest.raises(mfa.ChallengeOver):
        await answered(people, ended, one.code())
    gone = await people.challenge(one)
    await mfa.disable(people.db, people.keyring, one.caller, one.code())
    with pytest.raises(mfa.ChallengeOver):
        await answered(people, gone, one.code(1))


async def test_after_ten_wrong_codes_right_ones_wait_too(people: People, db: Database) -> None:
    one, other = await people.with_factor(), await people.with_factor("staff")
    await fail(people, one, 9)
    assert await mfa.prove(db, people.keyring, one.id, one.code()) == "totp"
    assert await announced(db, "mfa.code_refused") == []
    await fail(people, one, 1)
    for _ in range(2):
        with pytest.raises(mfa.TooManyCodes) as refused:
            await mfa.prove(db, people.keyring, one.id, one.code(1))
        assert 0 < int(refused.value.headers["Retry-After"]) <= 900
    with pytest.raises(mfa.TooManyCodes):
        await answered(people, await people.challenge(one), one.recovery[0])
    assert await mfa.prove(db, people.keyring, other.id, other.code()) == "totp"

    [(company_id, told)] = await announced(db, "mfa.code_refused")
    assert company_id == one.caller.company_id
    assert (told["personId"], told["wrongCodes"], told["tellPerson"]) == (one.id, 10, True)
    assert one.wrong() not in str(told).replace(one.id, "")

    await people.clock.move(timedelta(minutes=15))
    await fail(people, one, 9)
    assert await mfa.prove(db, people.keyring, one.id, one.code()) == "totp"
    await fail(people, one, 1)
    assert len(await announced(db, "mfa.code_refused")) == 2


async def test_of_many_guesses_at_once_ten_are_looked_at(people: People, db: Database) -> None:
    one = await people.with_factor()
    ends = await ends_of(*(mfa.prove(db, people.keyring, one.id, one.wrong()) for _ in range(25)))
    assert ends == ["TooManyCodes"] * 15 + ["WrongCode"] * 10
    assert len(await announced(db, "mfa.code_refused")) == 1


async def test_without_a_factor_there_is_nothing_to_prove(people: People) -> None:
    one = await people.begin(await people.add())
    assert not await mfa.is_on(people.db, one.id)
    with pytest.raises(mfa.NotOn):
        await mfa.prove(people.db, people.keyring, one.id, one.code())


async def fail(people: People, one: Someone, times: int) -> None:
    """So many wrong codes."""
    for _ in range(times):
        with pytest.raises(mfa.WrongCode):
            await mfa.prove(people.db, people.keyring, one.id, one.wrong())
