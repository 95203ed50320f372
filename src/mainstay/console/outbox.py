"""Letters that wait for a sender, as a page of the development profile: their links would be ways into accounts."""

from ipaddress import ip_address

from fastapi import APIRouter, Request, Response

from mainstay import accounts
from mainstay.console.explaining import theme_of
from mainstay.console.ground import Ground
from mainstay.console.guards import pages, read_session
from mainstay.kernel.errors import Forbidden
from mainstay.web.callers import address_of

PATH = "/console/outbox"
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def routes(ground: Ground) -> APIRouter:
    """The route, in the development profile alone."""
    router = pages()
    if ground.settings.profile != "development":
        return router

    @router.get(PATH)
    async def show(request: Request) -> Response:
        """The newest 50 letters, for whoever sits at this machine and for people that CONSOLE_OPERATORS names."""
        if not _is_here(request):
            session = await read_session(ground, request)
            if not ground.is_operator(session.caller.email):
                raise Forbidden("Letters are shown to people that CONSOLE_OPERATORS names, and on this machine itself.")
        found = await accounts.letters.read_letters(ground.home, ground.keyring, ground.settings)
        shown = [
            {
                "to": letter.recipient, "at": letter.created_at, "subject": written.subject,
                "paragraphs": written.text.strip().split("\n\n"), "link": written.link,
            }
            for letter, written in found
        ]  # fmt: skip
        return ground.frame.respond("outbox.html", {"letters": shown, "theme": theme_of(request)})

    return router


def _is_here(request: Request) -> bool:
    """Whether somebody asks from this machine, and by its own name: a page of another site cannot have its name point
    here and read along."""
    try:
        from_here = ip_address(address_of(request.scope.get("client"))).is_loopback
    except ValueError:
        return False
    return from_here and request.url.hostname in _HERE
