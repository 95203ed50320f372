"""Who belongs to a company: invitations, members and their roles, departments, and the company itself.

    invitation: open --accepted, once--> accepted     open --7 days--> expired --invited again, resent--> open
                open, expired --withdrawn--> withdrawn     an ended one --90 days--> gone
    member:     acting --suspend--> suspended --restore--> acting     either --remove, leave--> gone
    person:     acting --operators suspend--> suspended in every company --operators restore--> acting
    department: open --close--> gone, its history stays in the company's events

Guarantees: an address has one open invitation in a company, and its link stands in a letter alone: who accepts holds
the mailbox. An account that there is joins only after it was proven, and is never changed by an invitation. Suspending
and removing end the sessions in the company, and hold at the next request on every node. A company that its own people
administer keeps an owner who can act, also of several requests at the same moment: who decides about members locks the
company. Each act is announced with its actor: `member.invited|joined|role_changed|features_changed|suspended|restored|
removed`, `invitation.withdrawn`, `person.registered`, `department.opened|renamed|closed|joined|left`,
`company.changed|secured`.
Refuses: another company's ids (404); changes of oneself and of the last owner (409), of owners by others than owners
(403); over 10,000 members and open invitations or 500 departments a company (409).

Tables, all at home: invitations, departments, department_members. API keys that a person made are the company's and
go on without them; answers say how many.
"""

from mainstay.members import accepting, changing, company, departments, inviting, leaving, members
from mainstay.members.company import read_stats
from mainstay.members.inviting import invite
from mainstay.members.people import Person, read_person, restore_person, suspend_person
from mainstay.members.routes import router
from mainstay.members.shown import person_shown, stats_shown
from mainstay.members.tasks import schedules, tasks

__all__ = [
    "Person",
    "accepting",
    "changing",
    "company",
    "departments",
    "invite",
    "inviting",
    "leaving",
    "members",
    "person_shown",
    "read_person",
    "read_stats",
    "restore_person",
    "router",
    "schedules",
    "stats_shown",
    "suspend_person",
    "tasks",
]
