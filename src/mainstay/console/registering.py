"""Registering a company with its first owner, who is signed in at once."""

from fastapi import APIRouter, Request, Response

from mainstay import accounts
from mainstay.console import visiting
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import pages
from mainstay.console.onward import HOME
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.regions import DEFAULT_REGION, REGIONS
from mainstay.web import limiting

PATH = "/console/register"
FIELDS = ("companyName", "name", "email", "password", "region")
_REGION_NAMES = {"US": "United States", "EU": "European Union", "APAC": "Asia and Pacific"}


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def ask(request: Request) -> Response:
        """The form."""
        return _form(ground, request, Draft.of(FIELDS))

    @router.post(PATH)
    async def register(request: Request) -> Response:
        """A company and its owner, who is signed in; a letter asks them to confirm their address."""
        form = await visiting.read_visitor_form(ground, request)
        draft = Draft.of(FIELDS, form, hidden=("password",))
        region = next((one for one in REGIONS if one == draft.typed["region"]), DEFAULT_REGION)
        typed = draft.typed
        given = accounts.registering.Registration(
            typed["companyName"], typed["name"], typed["email"], form.get("password", ""), region
        )
        try:
            await limiting.hold(request, "register")
            signed_in = await accounts.registering.register(ground.accounts, visiting.arrival_of(request), given)
        except MainstayError as refusal:
            draft.take(refusal, {"email-taken": "email"})
            return _form(ground, request, draft, refusal)
        said = f"Welcome. A letter to {typed['email']} asks you to confirm your address."
        return visiting.enter(ground, HOME, signed_in, said=said)

    return router


def _form(ground: Ground, request: Request, draft: Draft, refusal: MainstayError | None = None) -> Response:
    regions = [] if ground.regions.are_one else [(one, _REGION_NAMES[one]) for one in REGIONS]
    return visiting.show(ground, request, "register.html", refusal=refusal, draft=draft, regions=regions, broad=True)
