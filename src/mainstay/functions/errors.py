"""What functions refuse."""

from datetime import timedelta

from mainstay.kernel.errors import Conflict, Invalid, NotFound, TooLarge, Unauthenticated


class FunctionNotFound(NotFound):
    """There is no such function."""

    code = "function-not-found"


class RunNotFound(NotFound):
    """There is no such run."""

    code = "run-not-found"


class RunEnded(Conflict):
    """The run has ended already."""

    code = "run-ended"


class EventRefused(Invalid):
    """The event cannot be taken as it was given."""

    code = "event-refused"


class EventKeyRefused(Unauthenticated):
    """Events are taken at /e/{event key}, under the key of the setting INNGEST_EVENT_KEY."""

    code = "event-key-refused"


class EventTooLarge(TooLarge):
    """An event is larger than the stated limit."""

    code = "event-too-large"


class SignatureRefused(Unauthenticated):
    """The signature is not that of this body under the setting INNGEST_SIGNING_KEY, or over 5 minutes old."""

    code = "signature-refused"


class FunctionError(ValueError):
    """A function is declared in a way that cannot be run."""


class AppRefused(Invalid):
    """The application cannot be registered as it describes itself."""

    code = "app-refused"


class SigningKeyRefused(Unauthenticated):
    """Send the hash of the key in the setting INNGEST_SIGNING_KEY as a bearer token, as Inngest's SDKs do."""

    code = "signing-key-refused"


class AppError(Exception):
    """What an application answered in place of a result: final where it says so, or with the time of the next try."""

    def __init__(
        self,
        name: str,
        message: str,
        *,
        stack: str | None = None,
        is_final: bool = False,
        after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.stack = stack
        self.is_final = is_final
        self.after = after


class StepError(Exception):
    """A step failed for good: its last error. A handler may catch it and go on."""

    def __init__(self, step: str, name: str, message: str) -> None:
        super().__init__(f"step {step!r} failed: {name}: {message}" if name else f"step {step!r} failed: {message}")
        self.step = step
        self.name = name
        self.message = message
