"""What the members room's routes answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mainstay.kernel.clock import iso
from mainstay.members import company as companies
from mainstay.members.accepting import Joined, Offer
from mainstay.members.changing import Change
from mainstay.members.company import Company, Stats
from mainstay.members.departments import Department
from mainstay.members.gains import Rights
from mainstay.members.inviting import Invitation
from mainstay.members.members import Member
from mainstay.members.people import Person
from mainstay.web.roles import ACTS

KEYS_GO_ON = "API keys that this person made belong to the company and go on working; revoke those that should not."


def member_shown(member: Member) -> dict[str, Any]:
    """A member as answers show it."""
    return {
        "id": member.id,
        "email": member.email,
        "name": member.name,
        "role": member.rights.role,
        "features": member.rights.features,
        "joinedAt": iso(member.joined_at),
        "invitedBy": _actor_shown(member.invited_by),
        "suspendedAt": _moment(member.suspended_at),
        "suspendedBy": _actor_shown(member.suspended_by),
        "suspendedEverywhere": member.is_suspended_everywhere,
        "mfaEnabled": member.has_mfa,
        "emailConfirmed": member.is_confirmed,
        "lastSeenAt": _moment(member.last_seen_at),
    }


def change_shown(change: Change) -> dict[str, Any]:
    """What a member gains and loses, and whether it was done."""
    found = change.difference
    return {
        "applied": change.is_done,
        "before": _rights_shown(change.before),
        "after": _rights_shown(change.after),
        "gains": {"acts": _acts_shown(found.acts_gained), "features": found.features_gained},
        "loses": {"acts": _acts_shown(found.acts_lost), "features": found.features_lost},
    }


def keys_shown(count: int) -> dict[str, Any]:
    """How many keys go on without the person who made them."""
    return {"keysGoingOn": count, "notice": KEYS_GO_ON}


def invitation_shown(invitation: Invitation) -> dict[str, Any]:
    """An invitation as its company is shown it: without the link."""
    return {
        "id": invitation.id,
        "email": invitation.email,
        "role": invitation.rights.role,
        "features": invitation.rights.features,
        "state": invitation.state,
        "invitedBy": _actor_shown(invitation.invited_by),
        "invitedAt": iso(invitation.invited_at),
        "sentAt": iso(invitation.sent_at),
        "timesSent": invitation.times_sent,
        "expiresAt": iso(invitation.expires_at),
        "acceptedAt": _moment(invitation.accepted_at),
        "acceptedBy": invitation.accepted_by,
        "withdrawnAt": _moment(invitation.withdrawn_at),
    }


def offer_shown(offer: Offer) -> dict[str, Any]:
    """An invitation as whoever holds its link is shown it."""
    invitation = offer.invitation
    return {
        "company": {"id": invitation.company_id, "name": offer.company_name},
        "email": invitation.email,
        "role": invitation.rights.role,
        "features": invitation.rights.features,
        "invitedBy": invitation.invited_by.get("name"),
        "expiresAt": iso(invitation.expires_at),
        "hasAccount": offer.has_account,
    }


def joined_shown(joined: Joined) -> dict[str, Any]:
    """Who joined what; they sign in next."""
    return {
        "company": {"id": joined.invitation.company_id, "name": joined.company_name},
        "person": {
            "id": joined.person_id,
            "email": joined.email,
            "name": joined.name,
            "role": joined.invitation.rights.role,
        },
        "features": joined.invitation.rights.features,
        "isNewAccount": joined.is_new,
    }


def department_shown(department: Department) -> dict[str, Any]:
    """A department as answers show it."""
    return {
        "id": department.id,
        "name": department.name,
        "members": department.members,
        "openedAt": iso(department.opened_at),
    }


def company_shown(company: Company) -> dict[str, Any]:
    """The company as its members are shown it; a limit of its own is null where the service's holds."""
    return {
        "id": company.id,
        "name": company.name,
        "slug": company.slug,
        "dataRegion": company.data_region,
        "plan": company.plan,
        "createdAt": iso(company.created_at),
        "updatedAt": iso(company.updated_at),
        "mfaRequiredFrom": _moment(company.mfa_required_from),
        "sessionIdleMinutes": company.session_idle_minutes,
        "sessionLifetimeHours": company.session_lifetime_hours,
        "sessionsIdleAfterSeconds": int(companies.idle_of(company).total_seconds()),
        "sessionsEndAfterSeconds": int(companies.lifetime_of(company).total_seconds()),
    }


def stats_shown(stats: Stats) -> dict[str, Any]:
    """How much the company has."""
    by_role = {"owner": stats.owners, "manager": stats.managers, "staff": stats.staff}
    return {
        "members": {"total": sum(by_role.values()), "byRole": by_role, "suspended": stats.suspended},
        "departments": stats.departments,
        "openInvitations": stats.open_invitations,
        "workspaces": stats.workspaces,
        "keys": stats.keys,
    }


def person_shown(person: Person) -> dict[str, Any]:
    """A person as operators are shown them."""
    return {
        "id": person.id,
        "email": person.email,
        "name": person.name,
        "createdAt": iso(person.created_at),
        "suspendedAt": _moment(person.suspended_at),
        "emailConfirmed": person.is_confirmed,
        "mfaEnabled": person.has_mfa,
        "companies": [
            {
                "id": one.company_id,
                "name": one.company_name,
                "role": one.role,
                "suspended": one.is_suspended,
                "hasNoOwner": one.has_no_owner,
            }
            for one in person.companies
        ],
    }


def _acts_shown(names: Sequence[str]) -> list[dict[str, str]]:
    return [{"act": name, "title": ACTS[name].title} for name in names]


def _rights_shown(rights: Rights) -> dict[str, Any]:
    return {"role": rights.role, "features": rights.features}


def _actor_shown(actor: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if actor is None else {name: actor.get(name) for name in ("kind", "id", "name")}


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
