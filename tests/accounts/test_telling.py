"""What is done to a second factor reaches its person as one letter, whoever did it and however many their companies."""

from mainstay import identity, mfa, reactions
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Announcement
from mainstay.kernel.regions import Regions
from tests.accounts.mailbox import KEYRING, letters
from tests.conftest import SqlClock
from tests.mfa.conftest import People
from tests.tenancy import OPERATOR, Tenancy, open_tenancy


async def test_a_letter_tells_once_of_each_change(db: Database, tenancy: Tenancy, sql_clock: SqlClock) -> None:
    people = People(db, KEYRING, tenancy, sql_clock, await sql_clock.stop())
    ada = await people.add()
    other = await open_tenancy(db)
    async with db.begin() as tx:
        await identity.add_person(
            tx, OPERATOR, other.company_id, email=str(ada.caller.email), name="Ada", role="staff",
            password_hash="$argon2id$unused",
        )  # fmt: skip
    await people.begin(ada)
    await mfa.verify(db, KEYRING, ada.caller, ada.code())
    await mfa.reset_by_operator(db, OPERATOR, ada.id)
    relay = reactions.relay_of(Regions(db, {}), db, keyring=KEYRING)
    while await relay.run_once():
        pass
    assert await letters(db) == [("mfa_changed", ada.caller.email, None)] * 2


async def test_a_fact_that_comes_again_or_of_somebody_who_is_gone_writes_nothing(
    db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    now = await sql_clock.stop()
    ada = await People(db, KEYRING, tenancy, sql_clock, now).add()
    telling = reactions.Telling(db, KEYRING, is_home=False)
    for person_id, tells in ((ada.id, True), (ada.id, True), (ada.id, False), (tenancy.company_id, True)):
        fact = Announcement(
            id=ada.id, name="mfa.disabled", company_id=None, actor=OPERATOR, trace_id="", at=now,
            data={"personId": person_id, "tellPerson": tells},
        )  # fmt: skip
        async with db.begin() as tx:
            await telling.tell_of_mfa(tx, fact)
    assert len(await letters(db)) == 1
