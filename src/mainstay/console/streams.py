"""Streams out: where the company's events go all the time, how far behind each is, and what to do about it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response

from mainstay import jobs, streams
from mainstay.console import streams_form
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.streams_form import Draft
from mainstay.kernel.errors import Fault, Invalid, MainstayError
from mainstay.web.json import fault_of

_View = Annotated[Page, Depends(PageMay("streams.read"))]
_Edit = Annotated[Page, Depends(PageMay("streams.change"))]

PATH = "/console/streams"
AREA = Area(
    "Streams",
    PATH,
    "arrow-right-from-line",
    "Audit log",
    (Action("New stream", f"{PATH}/new", "streams.change"),),
    act="streams.read",
)
ONE = PATH + "/{stream_id}"
ASIDE_SHOWN = 20
_ACTS = {
    "pause": (streams.pause, "Paused. What is stored meanwhile waits in the log."),
    "resume": (streams.resume, "It goes on from where it stood."),
    "probe": (streams.probe, "A test event is on its way; load the page again in a moment."),
    "cancel-backfill": (streams.cancel_backfill, "Nothing more of the backfill goes out."),
    "skip": (streams.skip, "The event is put aside, and what is behind it goes out."),
}
"""What can be done with one click: the room's verb, and what is said afterwards."""


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The streams, oldest first, each with its lag."""
        return page.show("streams.html", one=None, **await _listed(page))

    @router.get(f"{PATH}/new")
    async def ask_new(page: _Edit) -> Response:
        """The form of a new stream."""
        return _form(page, streams_form.blank())

    @router.post(PATH)
    async def create(page: _Edit) -> Response:
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

    _add_one(ground, router)
    _add_again(router)
    return router


def _add_one(ground: Ground, router: APIRouter) -> None:
    """What is done with one stream."""

    @router.get(ONE)
    async def show_one(page: _View, stream_id: str) -> Response:
        """One stream, beside the list."""
        one = await _one(page, stream_id)
        listed = {} if page.wanted == "panel" else await _listed(page)
        return page.show("streams.html", one=one, **listed)

    @router.get(ONE + "/edit")
    async def ask_change(page: _Edit, stream_id: str) -> Response:
        """The form of the stream."""
        one = await streams.read(page.db, page.company_id, stream_id)
        return _form(page, streams_form.of(one), one=one)

    @router.post(ONE + "/edit")
    async def change(page: _Edit, stream_id: str) -> Response:
        """The stream is as it was typed, from its next batch on."""
        one = await streams.read(page.db, page.company_id, stream_id)
        draft = streams_form.read_change(page.form, one)
        if draft.wrong or not await _change(ground, page, stream_id, draft):
            return _form(page, draft, status=400, one=one)
        return page.go(f"{PATH}/{stream_id}", said="Saved. It holds from the next batch on.")

    @router.post(ONE + "/act")
    async def act(page: _Edit, stream_id: str) -> Response:
        """The stream is paused, resumed or probed, or its backfill ended, or an event put aside."""
        await streams.read(page.db, page.company_id, stream_id)
        chosen = _ACTS.get(page.form.get("do", ""))
        if chosen is None:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(_ACTS)}", "do")])
        do, said = chosen
        async with page.db.begin() as tx:
            await do(tx, page.caller.actor, page.company_id, stream_id)
        await jobs.wake(page.db, streams.QUEUE)
        return page.go(f"{PATH}/{stream_id}", said=said)


def _add_again(router: APIRouter) -> None:
    """What goes out once more: older events, and what was put aside."""

    @router.post(ONE + "/backfill")
    async def backfill(page: _Edit, stream_id: str) -> Response:
        """What was stored since the day goes out once more."""
        await streams.read(page.db, page.company_id, stream_id)
        try:
            since = datetime.strptime(page.form.get("since", ""), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise Invalid(faults=[Fault("must be a day such as 2026-01-31", "since")]) from None
        async with page.db.begin() as tx:
            await streams.start_backfill(tx, page.caller.actor, page.company_id, stream_id, since)
        await jobs.wake(page.db, streams.QUEUE)
        return page.go(f"{PATH}/{stream_id}", said=f"What was stored since {since:%Y-%m-%d} goes out once more.")

    @router.post(ONE + "/aside")
    async def settle_aside(page: _Edit, stream_id: str) -> Response:
        """An event that is put aside, or all of them, goes out again or is forgotten."""
        await streams.read(page.db, page.company_id, stream_id)
        acts = {
            "send": (streams.send_aside, "On its way again; what is refused again stays here with the newer reason."),
            "forget": (streams.forget_aside, "Forgotten here. The log keeps it."),
        }
        chosen, event_id = acts.get(page.form.get("do", "")), page.form.get("event")
        if chosen is None:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(acts)}", "do")])
        do, said = chosen
        async with page.db.begin() as tx:
            wanted = None if event_id is None else [event_id]
            await do(tx, page.caller.actor, page.company_id, stream_id, wanted)
        return page.go(f"{PATH}/{stream_id}", said=said)

    @router.post(ONE + "/delete")
    async def delete(page: _Edit, stream_id: str) -> Response:
        """The stream is gone, where its name was typed."""
        one = await streams.read(page.db, page.company_id, stream_id)
        if page.form.get("confirm", "").strip() != one["name"]:
            raise Invalid(f"Type {one['name']} to delete this stream.")
        async with page.db.begin() as tx:
            await streams.delete(tx, page.caller.actor, page.company_id, stream_id)
        return page.go(PATH, said=f"{one['name']} is deleted.")


async def _one(page: Page, stream_id: str) -> dict[str, Any]:
    """The stream with what is put aside of it, the newest first."""
    one = shown(await streams.read(page.db, page.company_id, stream_id))
    found = await streams.read_aside(page.db, page.company_id, stream_id) if one["aside"] else []
    refused = [{**each, "refusedAt": datetime.fromisoformat(each["refusedAt"])} for each in found]
    return {**one, "refused": refused[: -ASIDE_SHOWN - 1 : -1]}


async def _change(ground: Ground, page: Page, stream_id: str, draft: Draft) -> bool:
    """Whether the stream is as the draft says; else the draft says what is wrong."""
    try:
        wanted = msgspec.convert(draft.given, streams.StreamChange)
        async with page.db.begin() as tx:
            await streams.change(
                tx,
                page.caller.actor,
                page.company_id,
                stream_id,
                wanted,
                keyring=ground.keyring,
                allow=ground.settings.outbound_allow,
            )
    except (msgspec.ValidationError, MainstayError) as refusal:
        _tell(draft, refusal)
        return False
    await jobs.wake(page.db, streams.QUEUE)
    return True


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
    except (msgspec.ValidationError, MainstayError) as refusal:
        _tell(draft, refusal)
    return None


def _tell(draft: Draft, refusal: msgspec.ValidationError | MainstayError) -> None:
    """What was refused stands in the draft, unless the fault is ours."""
    if isinstance(refusal, msgspec.ValidationError):
        draft.take_faults([fault_of(refusal)])
    elif refusal.status >= 500:
        raise refusal
    else:
        draft.take_faults(refusal.faults or [Fault(refusal.detail, "#/name")])


def _form(page: Page, draft: Draft, *, status: int = 200, one: Mapping[str, Any] | None = None) -> Response:
    sites = [(site, site) for site in streams.DATADOG_SITES]
    return page.show("streams_form.html", status=status, draft=draft, types=streams_form.TYPES, sites=sites, one=one)


async def _listed(page: Page) -> dict[str, Any]:
    return {"streams": [shown(one) for one in await streams.read_all(page.db, page.company_id)]}


def shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """The stream with its times as moments, where it leads in words, and its kind."""
    moments = {
        name: None if one[name] is None else datetime.fromisoformat(one[name])
        for name in ("failingSince", "lastSentAt", "createdAt")
    }
    blocked, backfill = one["blockedBy"], one["backfill"]
    return {
        **one,
        **moments,
        "blockedBy": blocked and {**blocked, "since": datetime.fromisoformat(blocked["since"])},
        "backfill": backfill and {**backfill, "since": datetime.fromisoformat(backfill["since"])},
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
