"""Companies with their workspaces, people with memberships and sessions, and API keys: who is calling, and for whom.

    key:     working --rotated, overlap ends--> ended     working --expires_at--> expired     any --revoked--> revoked
    person:  working --suspended--> refused at the next call, whatever tokens they hold
    session: open --ended, idle, too old, person or membership suspended--> over (opened and ended by accounts)

Tenancy is company, then workspace. Every company has one reserved system workspace (D-04); the operator's own company
and workspace have fixed ids. People are global; a membership gives a role in one company, and an access token names
the company for which it acts (D-10).

Guarantees: an email is unique, letter case aside, by the database itself. Passwords are argon2id hashes and keys
SHA-256 digests; a key's secret is shown once. Once `revoke_key` has committed no later request succeeds with the key:
readers ask the database, and writers that use the one-second cache re-check with `mainstay.key_is_valid` in the
statement that writes. A login tells an unknown email from a wrong password neither by its answer nor by its work.
Every change is announced with its actor: `company.opened`, `company.moved`, `workspace.opened`, `person.added`,
`key.issued`, `key.rotated`, `key.changed`, `key.leaked`, `key.revoked`, `login.failed`.
Where a region has a database of its own, its keys are there, companies and people at home; a key is looked for in both.

A key may be narrowed to addresses, to reading and to scopes (`web.scopes`); how it is used and refused is counted; one
that leaked is revoked. A key that makes keys gives no more rights than it has. Requests with an idempotency key make
one key (`kernel.once`).

Refuses: another company's ids (404), a key of the wrong kind or from outside its allow-list (403), writing keys for a
system workspace, a login for whom no thread is free (503), the eleventh wrong password for an email and the
fifty-first from an address within ten minutes (429).
"""

from mainstay.identity import cached, key_health, names, tries
from mainstay.identity.callers import Identity
from mainstay.identity.companies import (
    OPERATOR_COMPANY,
    OPERATOR_WORKSPACE,
    Company,
    Workspace,
    find_company,
    find_workspace,
    get_company,
    get_workspace,
    list_companies,
    list_workspaces,
    open_company,
    open_workspace,
    system_workspaces,
)
from mainstay.identity.keys import ApiKey, get_key, issue_key, list_keys, revoke_key, rotate_key
from mainstay.identity.moving import move_company
from mainstay.identity.passwords import Passwords
from mainstay.identity.people import Person, add_person, recognise
from mainstay.identity.routes import router
from mainstay.identity.sessions import SESSION_IDLE, SESSION_LIFETIME, Session, Sessions
from mainstay.identity.tasks import schedules, tasks
from mainstay.identity.tokens import LIFETIME as ACCESS_LIFETIME

__all__ = [
    "ACCESS_LIFETIME",
    "OPERATOR_COMPANY",
    "OPERATOR_WORKSPACE",
    "SESSION_IDLE",
    "SESSION_LIFETIME",
    "ApiKey",
    "Company",
    "Identity",
    "Passwords",
    "Person",
    "Session",
    "Sessions",
    "Workspace",
    "add_person",
    "cached",
    "find_company",
    "find_workspace",
    "get_company",
    "get_key",
    "get_workspace",
    "issue_key",
    "key_health",
    "list_companies",
    "list_keys",
    "list_workspaces",
    "move_company",
    "names",
    "open_company",
    "open_workspace",
    "recognise",
    "revoke_key",
    "rotate_key",
    "router",
    "schedules",
    "system_workspaces",
    "tasks",
    "tries",
]
