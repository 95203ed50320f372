"""What the members room refuses."""

from mainstay.kernel.errors import Conflict, Forbidden, NotFound, Unauthenticated


class InvitationNotFound(NotFound):
    """There is no such invitation here."""


class MemberNotFound(NotFound):
    """There is no such member here."""


class DepartmentNotFound(NotFound):
    """There is no such department here."""


class PersonNotFound(NotFound):
    """There is no such person here."""


class InvitationClosed(Conflict):
    """This invitation was accepted or withdrawn already."""

    code = "invitation-closed"


class AlreadyMember(Conflict):
    """This person is a member of the company already."""

    code = "already-member"


class CompanyFull(Conflict):
    """The company has 10,000 members and open invitations, which is the most."""

    code = "company-full"


class OwnMembership(Conflict):
    """Somebody else has to do this: nobody changes, suspends or removes themselves; who wants to go, leaves."""

    code = "own-membership"


class OwnersOnly(Forbidden):
    """Only an owner makes owners and changes owners."""

    code = "owners-only"


class LastOwner(Conflict):
    """A company keeps one owner who can act: make somebody else an owner first."""

    code = "last-owner"


class ProofNeeded(Unauthenticated):
    """There is an account with this address: sign in to it, or send its password along."""

    code = "proof-needed"


class NameTaken(Conflict):
    """The company has a department of this name already."""

    code = "name-taken"


class TooManyDepartments(Conflict):
    """The company has 500 departments, which is the most."""

    code = "too-many-departments"


class PersonSuspended(Forbidden):
    """This person is suspended."""

    code = "person-suspended"
