"""What this room refuses."""

from mainstay.kernel.errors import Conflict, NotFound


class EndpointNotFound(NotFound):
    """There is no such webhook."""

    code = "webhook-not-found"


class DeliveryNotFound(NotFound):
    """There is no such delivery at this webhook."""

    code = "delivery-not-found"


class SecretShownBefore(Conflict):
    """This request had its effect before, and the secret was shown only then."""

    code = "secret-shown-before"


class EndpointInactive(Conflict):
    """The webhook is switched off: activate it first."""

    code = "webhook-inactive"


class EndpointBusy(Conflict):
    """The order of delivery changes only while nothing is on its way: try again when the open deliveries have ended."""

    code = "webhook-busy"


class TooManyEndpoints(Conflict):
    """The company has as many webhooks as it may have."""

    code = "too-many-webhooks"


class MessageGone(Conflict):
    """The message of this delivery is no longer kept."""

    code = "message-gone"


class TypeNotFound(NotFound):
    """There is no such event type."""

    code = "event-type-not-found"


class TypeReserved(Conflict):
    """This name is one of Mainstay's own event types, which cannot be changed."""

    code = "event-type-reserved"


class TooManyTypes(Conflict):
    """The company has as many event types as it may have."""

    code = "too-many-event-types"


class ReplayNotFound(NotFound):
    """There is no such replay at this webhook."""

    code = "replay-not-found"


class ReplayOver(Conflict):
    """The replay has come to its end already."""

    code = "replay-over"


class TooManyReplays(Conflict):
    """The webhook has as many running replays as it may have: wait for one to end, or cancel it."""

    code = "too-many-replays"


class NothingToPull(Conflict):
    """This webhook is sent to: only webhooks of the kind pull are read from."""

    code = "webhook-not-pull"
