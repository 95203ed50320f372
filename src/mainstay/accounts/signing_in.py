"""Signing in, at API and console alike: password, then a code where a second factor is on, then a session."""

from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import Counter

from mainstay import identity, mfa
from mainstay.accounts import sessions
from mainstay.accounts.errors import NoCompany, NoSuchCompany, SeveralCompanies
from mainstay.accounts.ground import Arrival, Ground
from mainstay.accounts.link_errors import PasswordChangedMeanwhile
from mainstay.accounts.proving import prove_password
from mainstay.accounts.queries import people as rows
from mainstay.accounts.queries import sessions as session_rows
from mainstay.accounts.sessions import Opened
from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Record
from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.callers import Caller

CHALLENGE_LIFETIME = timedelta(minutes=5)
SIGN_INS = Counter("sign_ins_total", "Right passwords and codes, by what came of them", ["outcome"],
                   registry=telemetry.REGISTRY)  # fmt: skip
_MOST_COMPANIES = 100


@dataclass(frozen=True, slots=True)
class Challenged:
    """The password was right, and a code is asked for: the token of the challenge, good for 5 minutes."""

    token: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session stands. `member` is who, where (a row of `queries.people.find_member`); `codes_left` tells how many
    recovery codes are left after one was used."""

    member: Record
    opened: Opened
    codes_left: int | None = None

    @property
    def must_set_up_mfa(self) -> bool:
        """Whether the company demands a second factor that the person has not; nothing else is open until then."""
        return bool(self.member["must_set_up_mfa"])


async def sign_in(
    ground: Ground, arrival: Arrival, *, email: str, password: str, company_id: str | None = None
) -> SignedIn | Challenged:
    """The person has a session, or a challenge where their second factor is on: never both.

    What `identity.recognise` raises. Only behind the right password: NoCompany, NoSuchCompany, SeveralCompanies, and
    PasswordChangedMeanwhile where it is not the right one any more. The console takes the company that was looked at
    last where none is named.
    """
    found = await identity.recognise(
        ground.db, ground.passwords, email=email, password=password, address=arrival.address
    )
    member = await _choose(ground, arrival, str(found.row["id"]), company_id)
    async with ground.db.begin() as tx:
        person = await rows.hold_person_everywhere(tx, str(found.row["id"]))
        if person is None or person["password_changed_at"] != found.row["password_changed_at"]:
            raise PasswordChangedMeanwhile
        if found.fresh_hash is not None:
            await rows.replace_hash_everywhere(
                tx, str(found.row["id"]), old=found.row["password_hash"], new=found.fresh_hash
            )
        if person["mfa_enabled_at"] is not None:
            challenge = await mfa.challenge(tx, str(member["person_id"]), str(member["id"]), via=arrival.via)
            outcome: SignedIn | Challenged = Challenged(challenge)
        else:
            outcome = SignedIn(member, await sessions.open_session(tx, ground, arrival, member, method="password"))
    SIGN_INS.labels("challenged" if isinstance(outcome, Challenged) else "opened").inc()
    return outcome


async def answer_challenge(ground: Ground, arrival: Arrival, token: str, code: str) -> SignedIn:
    """The person has a session; the challenge and the code are used up. What `mfa.answer` raises.

    Unauthenticated where the challenge was made at another door, or the person may not sign in there any more.
    """
    answered = await mfa.answer(ground.db, ground.keyring, token, code, address=arrival.address)
    member = await rows.find_member(ground.db, answered.company_id, answered.person_id)
    if member is None or answered.via != arrival.via:
        raise mfa.ChallengeOver
    async with ground.db.begin() as tx:
        opened = await sessions.open_session(tx, ground, arrival, member, method=answered.method)
    SIGN_INS.labels("opened").inc()
    return SignedIn(member, opened, answered.codes_left if answered.method == "recovery" else None)


async def step_up(ground: Ground, caller: Caller, *, password: str | None = None, code: str | None = None) -> Opened:
    """The caller proved who they are: a fresh session with new tokens is in the old one's place.

    With a second factor on, by a code alone; else by the password. Invalid where that is missing; CodeRefused,
    WrongPassword; TooManyCodes and TooManyGuesses past the bounds that signing in has.
    """
    if await mfa.is_on(ground.db, caller.id):
        proof: sessions.Proof = "code"
        if code is None:
            raise Invalid(faults=[Fault("is needed, as a second factor is on", "#/code")])
        try:
            await mfa.prove(ground.db, ground.keyring, caller.id, code)
        except mfa.WrongCode:
            raise mfa.CodeRefused from None
    else:
        proof = "password"
        if password is None:
            raise Invalid(faults=[Fault("is needed", "#/password")])
        await prove_password(ground.db, ground.passwords, caller.id, password)
    async with ground.db.begin() as tx:
        return await sessions.replace(
            tx, caller, caller.session_id, company_id=caller.company_id, reason="stepped_up", proof=proof
        )


async def switch(ground: Ground, caller: Caller, company_id: str, *, refresh_token: str) -> SignedIn:
    """A session for another of the caller's companies is in the place of this one, whose refresh token is used up;
    NoSuchCompany, RefreshRefused."""
    member = await rows.find_member(ground.db, company_id, caller.id) if ids.is_uuid(company_id) else None
    if member is None:
        raise NoSuchCompany
    await sessions.refresh(ground, refresh_token)
    async with ground.db.begin() as tx:
        opened = await sessions.replace(tx, caller, caller.session_id, company_id=str(member["id"]), reason="switched")
        await sessions.announce_switched(tx, member, opened)
    return SignedIn(member, opened)


async def companies_of(ground: Ground, person_id: str) -> list[Record]:
    """The first 100 companies in which the person may act, with the role in each."""
    return await rows.memberships_everywhere(ground.db, person_id, _MOST_COMPANIES)


async def _choose(ground: Ground, arrival: Arrival, person_id: str, company_id: str | None) -> Record:
    """The membership that the session is for, with its company."""
    if company_id is not None:
        member = await rows.find_member(ground.db, company_id, person_id) if ids.is_uuid(company_id) else None
        if member is None:
            raise NoSuchCompany
        return member
    members = await companies_of(ground, person_id)
    if not members:
        raise NoCompany
    if len(members) > 1 and arrival.via == "api":
        shown = [{"id": str(m["id"]), "name": m["name"], "slug": m["slug"], "role": m["role"]} for m in members]
        raise SeveralCompanies(extra={"companies": shown})
    last = await session_rows.last_company_everywhere(ground.db, person_id) if len(members) > 1 else None
    return next((one for one in members if one["id"] == last), members[0])
