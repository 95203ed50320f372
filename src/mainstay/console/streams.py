"""Streams out: where the company's events go all the time, how far behind each is, and what to do about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Response

from mainstay import jobs, streams
from mainstay.console import streams_form
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, ManagerPage, Page, pages
from mainstay.console.streams_form import Draft
from mainstay.kernel.errors import Fault, Invalid, MainstayError
from mainstay.web.json import fault_of

PATH = "/console/streams"
AREA = Area("Streams", PATH, "arrow-right-from-line", "Audit log", actions=(Action("New stream", f"{PATH}/new"),))
ONE = PATH + "/{stream_id}"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: AnyPage) -> Response:
        """The streams, oldest first, each with its lag."""
        return page.show("streams.html", one=None, **await _listed(page))

    @router.get(f"{PATH}/new")
    async def ask_new(page: ManagerPage) -> Response:
        """The form of a new stream."""
        return _form(page, streams_form.blank())

    @router.post(PATH)
    async def create(page: ManagerPage) -> Response:
        """The stream begins with what is stored from now on; where it signs, its secret is shown for the only time."""
        draft = streams_form.read(page.form)
        made = None if draft.wrong else await _create(ground, page, draft)
        if made is None:
            return _form(page, draft, status=400)
        stream_id, secret = made
        if secret is None:
            return page.go(f"{PATH}/{stream_id}", said="The stream has begun. Probe it to see whether it gets through.")
        one = shown(await streams.read(page.db, page.company_id, stream_id))
        return page.show("streams.html", status=201, one=one, secret=secret, **await _listed(page))

    @router.get(ONE)
    async def show_one(page: AnyPage, stream_id: str) -> Response:
        """One stream, beside the list."""
        one = shown(await streams.read(page.db, page.company_id, stream_id))
        listed = {} if page.wanted == "panel" else await _listed(page)
        return page.show("streams.html", one=one, **listed)

    @router.post(ONE + "/act")
    async def act(page: ManagerPage, stream_id: str) -> Response:
        """The stream is paused, resumed or probed."""
        acts = {
            "pause": (streams.pause, "Paused. What is stored meanwhile waits in the log."),
            "resume": (streams.resume, "It goes on from where it stood."),
            "probe": (streams.probe, "A test event is on its way; load the page again in a moment."),
        }
        await streams.read(page.db, page.company_id, stream_id)
        chosen = acts.get(page.form.get("do", ""))
        if chosen is None:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(acts)}", "do")])
        do, said = chosen
        async with page.db.begin() as tx:
            await do(tx, page.caller.actor, page.company_id, stream_id)
        await jobs.wake(page.db, streams.QUEUE)
        return page.go(f"{PATH}/{stream_id}", said=said)

    @router.post(ONE + "/delete")
    async def delete(page: ManagerPage, stream_id: str) -> Response:
        """The stream is gone, where its name was typed."""
        one = await streams.read(page.db, page.company_id, stream_id)
        if page.form.get("confirm", "").strip() != one["name"]:
            raise Invalid(f"Type {one['name']} to delete this stream.")
        async with page.db.begin() as tx:
            await streams.delete(tx, page.caller.actor, page.company_id, stream_id)
        return page.go(PATH, said=f"{one['name']} is deleted.")

    return router


async def _create(ground: Ground, page: Page, draft: Draft) -> tuple[str, str | None] | None:
    """The id of the stream and its secret, where it has one to show; None where something is wrong."""
    try:
        wanted = msgspec.convert(draft.given, streams.NewStream)
        async with page.db.begin() as tx:
            row, secret = await streams.create(
                tx,
                page.caller.actor,
                page.company_id,
                wanted,
                keyring=ground.keyring,
                allow=ground.settings.outbound_allow,
            )
        return str(row["id"]), secret
    except msgspec.ValidationError as error:
        draft.take_faults([fault_of(error)])
    except MainstayError as refusal:
        if refusal.status >= 500:
            raise
        draft.take_faults(refusal.faults or [Fault(refusal.detail, "#/name")])
    return None


def _form(page: Page, draft: Draft, *, status: int = 200) -> Response:
    sites = [(site, site) for site in streams.DATADOG_SITES]
    return page.show("streams_form.html", status=status, draft=draft, types=streams_form.TYPES, sites=sites)


async def _listed(page: Page) -> dict[str, Any]:
    return {"streams": [shown(one) for one in await streams.read_all(page.db, page.company_id)]}


def shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """The stream with its times as moments, where it leads in words, and its kind."""
    moments = {
        name: None if one[name] is None else datetime.fromisoformat(one[name])
        for name in ("failingSince", "lastSentAt", "createdAt")
    }
    return {
        **one,
        **moments,
        "kind": streams_form.TYPES[one["destination"]["type"]],
        "to": place_of(one["destination"]),
    }


def place_of(destination: Mapping[str, Any]) -> str:
    """Where a stream leads, in a few words."""
    match destination["type"]:
        case "s3":
            return f"{destination['bucket']}/{destination['prefix']}"
        case "datadog":
            return str(destination["url"] or destination["site"])
        case "syslog":
            return f"{destination['host']}:{destination['port']}"
        case _:
            return str(destination["url"])
