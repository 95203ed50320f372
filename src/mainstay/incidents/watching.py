"""What the front asks before each request, and tells after each refusal."""

from dataclasses import dataclass
from typing import Self

from mainstay.incidents.auth_log import AuthLog
from mainstay.incidents.restricting import Mode
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.web.asgi import Scope
from mainstay.web.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Watch:
    """Fulfils `web.refusals.Watch`: people's routes may be closed, and what was refused is logged."""

    mode: Mode
    log: AuthLog

    @classmethod
    def over(cls, db: Database, keyring: Keyring) -> Self:
        """One process's watch, on the home database."""
        return cls(Mode(db), AuthLog(keyring))

    async def check(self, scope: Scope) -> None:
        """Restricted where the request is for a route that is closed."""
        await self.mode.check(scope)

    def note(self, refusal: Refusal) -> None:
        """The refusal will be in the log."""
        self.log.note(refusal)
