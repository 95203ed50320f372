"""Second factors: codes that an app shows, recovery codes, and the challenge between a password and a session.

    factor:    none --set_up--> waiting (changes nothing) --verify, right code--> on --disable, code | reset--> none
                                   |  set_up again: another secret, other codes
    code:      good for its step of 30 s and two either way, once; steps only rise
    challenge: open --right code--> used     open --5 minutes, 5 tries--> over

Guarantees: a secret is stored sealed, beside its row alone, and is sealed anew each night where the master secret has
changed; recovery codes are stored as SHA-256 digests. Of two simultaneous uses of one code, one wins. A try is counted
before its code is looked at. Turning a factor on ends the person's other sessions that a password alone opened. Every
act is announced in each company of the person, and asks in one of them alone that the person be told (`tellPerson`):
`mfa.enabled`, `mfa.disabled`, `mfa.codes_renewed`, `mfa.reset`; `mfa.code_refused` tells once of ten wrong codes;
`company.secured` when a company demands a second factor, or does not any more.

Refuses: a wrong code (`answer` and `prove` with 401, routes of a person who is signed in with 400), a second factor
beside the first (409), the eleventh code after ten wrong ones within 15 minutes even if it is right (429), resetting
one's own factor, an owner's by others than owners, and that of somebody with other companies (403).

Tables, all home: mfa_factors, recovery_codes, sign_in_challenges. Kept elsewhere: people.mfa_enabled_at.
"""

from mainstay.mfa.challenges import FEW_CODES, Answered, answer, challenge, end_challenges
from mainstay.mfa.demanding import Demand, demand, forecast, relent
from mainstay.mfa.errors import AlreadyOn, ChallengeOver, CodeRefused, NotOn, NotSetUp, TooManyCodes, WrongCode
from mainstay.mfa.factors import Setup, State, disable, is_on, renew_codes, set_up, state, verify
from mainstay.mfa.pictures import draw
from mainstay.mfa.proving import Method, prove
from mainstay.mfa.resetting import find_person_id, reset_by_operator, reset_member
from mainstay.mfa.routes import router
from mainstay.mfa.tasks import schedules, tasks

__all__ = [
    "FEW_CODES",
    "AlreadyOn",
    "Answered",
    "ChallengeOver",
    "CodeRefused",
    "Demand",
    "Method",
    "NotOn",
    "NotSetUp",
    "Setup",
    "State",
    "TooManyCodes",
    "WrongCode",
    "answer",
    "challenge",
    "demand",
    "disable",
    "draw",
    "end_challenges",
    "find_person_id",
    "forecast",
    "is_on",
    "prove",
    "relent",
    "renew_codes",
    "reset_by_operator",
    "reset_member",
    "router",
    "schedules",
    "set_up",
    "state",
    "tasks",
    "verify",
]
