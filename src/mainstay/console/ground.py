"""What every page stands on: settings, databases, sessions, templates and live parts of one process."""

from dataclasses import dataclass

from mainstay import accounts, events, functions, identity, incidents, plans
from mainstay.console.frame import Frame
from mainstay.console.live import Live
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings


@dataclass(frozen=True, slots=True)
class Ground:
    """The parts that routes of pages are built with."""

    settings: Settings
    regions: Regions
    keyring: Keyring
    cursors: Cursors
    sessions: identity.Sessions
    accounts: accounts.Ground
    frame: Frame
    exporter: events.Exporter
    usage: plans.Parts
    live: Live
    mode: incidents.Mode
    functions: functions.Registry

    @property
    def home(self) -> Database:
        """Where companies, workspaces and people are."""
        return self.regions.home

    @property
    def is_https(self) -> bool:
        """Whether people reach the console over https, as PUBLIC_URL says."""
        return self.settings.base_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; over https the browser itself holds it to this host."""
        return "__Host-mainstay_session" if self.is_https else "mainstay_session"

    def is_operator(self, email: str | None) -> bool:
        """Whether CONSOLE_OPERATORS names the person."""
        named = {one.casefold() for one in self.settings.console_operators}
        return email is not None and email.casefold() in named
