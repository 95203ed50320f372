"""How people get in and keep their accounts: registering, signing in, sessions, passwords, addresses, letters.

    signing in: password --second factor on--> challenge --code--> session     password --no second factor--> session
    session:    open --refreshed, generation n to n + 1--> open --stepped up, switched--> another in its place
                  |--signed out, ended, idle, too old, too many--> over
                  |--generation n used again--> over, and the person is told
    link:       open --used once--> used     open --its time is over, or a newer one of its purpose and subject--> over
    letter:     waiting --30 days--> gone

Guarantees: one path decides for API and console, and with a second factor on no password alone opens a session. What a
browser sent before signing in counts for nothing. An access token is good for 15 minutes and only while its session
stands, which every request asks; a refresh token is good once. What ends a session, suspends a person or a membership
acts at the next request on every node. A login tells an unknown email from a wrong password neither by answer nor work.
A link is 256 random bits, kept as a digest, bound to one purpose and good once, also of two uses at the same moment;
its token stands in the sealed part of a letter and nowhere else. A letter is written in the transaction of what it
tells, in plain text; nothing that somebody chose themselves becomes a header or a link in it.

Announced: `person.registered`, `session.opened`, `session.ended`, `session.reuse_detected`, `user.updated`; those of
passwords and addresses as `announcing` has them.

Refuses: a second account for an email in any case or form (409), an unsafe request by cookie without the CSRF token
(403), a used refresh token (401), the 101st open session (the oldest ends).

Tables: letters, one_time_links. Kept elsewhere: sessions, people, memberships (identity).
"""

from mainstay.accounts import confirming, emails, letters, links, passwords_changing, profiles, registering, resetting
from mainstay.accounts.cookies import give_anew as give_cookies
from mainstay.accounts.cookies import take_away as take_cookies
from mainstay.accounts.ground import Arrival, Ground
from mainstay.accounts.letters import write_letter
from mainstay.accounts.link_errors import LinkOver
from mainstay.accounts.routes import router
from mainstay.accounts.sessions import MOST_OPEN, Opened, end_session, end_sessions, list_sessions
from mainstay.accounts.signing_in import (
    CHALLENGE_LIFETIME,
    Challenged,
    SignedIn,
    answer_challenge,
    sign_in,
    step_up,
    switch,
)
from mainstay.accounts.tasks import schedules, tasks
from mainstay.accounts.telling import MFA_CHANGES, tell_of_mfa

__all__ = [
    "CHALLENGE_LIFETIME",
    "MFA_CHANGES",
    "MOST_OPEN",
    "Arrival",
    "Challenged",
    "Ground",
    "LinkOver",
    "Opened",
    "SignedIn",
    "answer_challenge",
    "confirming",
    "emails",
    "end_session",
    "end_sessions",
    "give_cookies",
    "letters",
    "links",
    "list_sessions",
    "passwords_changing",
    "profiles",
    "registering",
    "resetting",
    "router",
    "schedules",
    "sign_in",
    "step_up",
    "switch",
    "take_cookies",
    "tasks",
    "tell_of_mfa",
    "write_letter",
]
