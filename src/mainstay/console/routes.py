"""All routes of the console: the areas in the order of the navigation, signing in, what pages bring along."""

from fastapi import APIRouter, Response
from starlette.responses import RedirectResponse

from mainstay.console import (
    account,
    account_access,
    account_factor,
    account_sessions,
    archive,
    company,
    departments,
    erasures,
    events,
    functions,
    holds,
    joining,
    keys,
    limits,
    limits_of_all,
    members,
    outbox,
    overview,
    proving,
    queues,
    registering,
    resetting,
    restriction,
    schedules,
    schemas,
    signing_in,
    streams,
    templates,
    usage,
    webhooks,
)
from mainstay.console.assets import PREFIX
from mainstay.console.frame import Frame
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, pages
from mainstay.kernel.errors import NotFound

AREAS = (
    overview, events, archive, templates, schemas, streams, erasures, holds, webhooks, queues, schedules, functions,
    usage, limits, limits_of_all, members, departments, keys, company, restriction,
)  # fmt: skip
"""The modules of the areas: each has its `AREA` and `routes(ground)`. A new area is a module and a name here."""

UNLISTED = (
    signing_in, registering, resetting, joining, proving, account, account_access, account_factor, account_sessions,
    outbox,
)  # fmt: skip
"""What no navigation shows: the ways in, and a person's own account."""

_FOR_EVER = "public, max-age=31536000, immutable"


def frame() -> Frame:
    """The frame with every area in its navigation."""
    return Frame([module.AREA for module in AREAS])


def router(ground: Ground) -> APIRouter:
    """The routes over one ground, which the application keeps in `app.state.console`."""
    routes = pages()

    @routes.get("/")
    async def home() -> Response:
        """On to the console."""
        return RedirectResponse("/console", 307)

    @routes.get(PREFIX + "{name}")
    async def asset(name: str) -> Response:
        """A file that pages bring along; its name changes with its content."""
        found = ground.frame.assets.find(PREFIX + name)
        if found is None:
            raise NotFound("There is no such file.")
        return Response(found.content, media_type=found.media_type, headers={"cache-control": _FOR_EVER})

    for module in (*UNLISTED, *AREAS):
        routes.include_router(module.routes(ground))

    @routes.get("/console/{rest:path}")
    async def nothing(page: AnyPage, rest: str) -> Response:
        """What is not there, told within the frame."""
        raise NotFound("There is no such page.")

    return routes
