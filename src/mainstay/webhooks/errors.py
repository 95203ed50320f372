"""What this room refuses."""

from mainstay.kernel.errors import Conflict, NotFound


class EndpointNotFound(NotFound):
    """There is no such webhook."""

    code = "webhook-not-found"


class DeliveryNotFound(NotFound):
    """There is no such delivery at this webhook."""

    code = "delivery-not-found"


class EndpointInactive(Conflict):
    """The webhook is switched off: activate it first."""

    code = "webhook-inactive"


class TooManyEndpoints(Conflict):
    """The company has as many webhooks as it may have."""

    code = "too-many-webhooks"


class MessageGone(Conflict):
    """The message of this delivery is no longer kept."""

    code = "message-gone"
