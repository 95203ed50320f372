"""Sending, listing, exporting and importing events over HTTP."""

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from mainstay.cli import output
from mainstay.cli.calling import DEFAULT_URL, Key, Refused, Service, Url
from mainstay.cli.exporting import export_events
from mainstay.cli.importing import import_events
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel import ids

EVENTS_PATH = "/v1/key/workspace/events"
COMPANY_EVENTS_PATH = "/v1/key/company/events"
CHECKPOINT_PATH = "/v1/key/workspace/checkpoint"
PAGE = 1_000
events = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Events, over HTTP with an API key: MAINSTAY_URL (or --url) and MAINSTAY_KEY.",
)  # fmt: skip
events.command("export")(export_events)
events.command("import")(import_events)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, an event a line.")]


@events.command("send")
def send(
    action: Annotated[str | None, typer.Argument(help="What was done: subject.past_tense.")] = None,
    *,
    category: Annotated[str | None, typer.Option()] = None,
    actor_id: Annotated[str | None, typer.Option()] = None,
    actor_email: Annotated[str | None, typer.Option()] = None,
    actor_name: Annotated[str | None, typer.Option()] = None,
    target_id: Annotated[str | None, typer.Option()] = None,
    target_type: Annotated[str | None, typer.Option()] = None,
    project_id: Annotated[str | None, typer.Option()] = None,
    occurred_at: Annotated[str | None, typer.Option(help="ISO time with a zone; now unless given.")] = None,
    payload: Annotated[str | None, typer.Option(help="A JSON object.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object.")] = None,
    file: Annotated[str | None, typer.Option(help="The whole event as JSON; - for standard input.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key within 24 h stores nothing twice.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Store one event and print where it stands in the chain.

    \b
      mainstay events send invoice.paid --actor-email ann@acme.example --payload '{"amount": 120}'
      mainstay events send user.deleted --target-id u_7 --target-type user --json
      echo '{"action": "a.b", "actor": {"id": "1"}}' | mainstay events send --file -
    """
    told = {
        "action": action, "category": category, "projectId": project_id, "occurredAt": occurred_at,
        "actor": _some(id=actor_id, email=actor_email, name=actor_name),
        "target": _some(id=target_id, type=target_type),
        "payload": _json_option("--payload", payload), "metadata": _json_option("--metadata", metadata),
    }  # fmt: skip
    given = {name: value for name, value in told.items() if value is not None}
    if (file is None) == (not given):
        output.fail(CommandFailed("name an action, or give the whole event with --file", code=USAGE))
    if file is None and action is None:
        output.fail(CommandFailed("an event needs an action, such as invoice.paid", code=USAGE))
    body = orjson.dumps(given) if file is None else _read(file)

    async def post() -> Any:
        # A call that names itself can be repeated even where nobody knows whether it arrived.
        headers = {"idempotency-key": idempotency_key or f"cli-{ids.new_id()}"}
        async with Service(url, key) as service:
            return await _asked(service.post(EVENTS_PATH, body, headers))

    stored = output.run(post())
    if as_json:
        output.show_json(stored)
    else:
        output.show_record({name: stored[name] for name in ("id", "seq", "action", "createdAt", "hash", "traceId")})


@events.command("list")
def list_events(
    *,
    action: Annotated[str | None, typer.Option()] = None,
    category: Annotated[str | None, typer.Option()] = None,
    actor_id: Annotated[str | None, typer.Option()] = None,
    actor_email: Annotated[str | None, typer.Option()] = None,
    target_id: Annotated[str | None, typer.Option()] = None,
    project_id: Annotated[str | None, typer.Option()] = None,
    text: Annotated[str | None, typer.Option(help="Found anywhere in the event.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Stored at or after: a date or an ISO time.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Stored at or before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="How many, without --all.")] = 50,
    order: Annotated[str, typer.Option(help="desc (newest first) or asc.")] = "desc",
    every: Annotated[bool, typer.Option("--all", help="All that match, page after page.")] = False,
    proof: Annotated[bool, typer.Option("--proof", help="With what 'mainstay verify' needs; implies --json.")] = False,
    company: Annotated[bool, typer.Option("--company", help="All workspaces, with a company key.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List events of the key's workspace.

    \b
    With --all --order asc --proof the output is an export that can be verified offline:
    its last line is a signed checkpoint, so that even a missing end is seen.
      mainstay events list --action invoice.paid --from 2026-01-01
      mainstay events list --category denied --all --json | jq .actorName
      mainstay events list --all --order asc --proof > export.ndjson && mainstay verify export.ndjson
    """
    if order not in ("asc", "desc"):
        output.fail(CommandFailed("--order must be asc or desc", code=USAGE))
    named = {
        "action": action, "category": category, "actorId": actor_id, "actorEmail": actor_email, "targetId": target_id,
        "projectId": project_id, "text": text, "from": since, "to": until,
    }  # fmt: skip
    filters = {name: value for name, value in named.items() if value is not None}
    query = {**filters, "order": order, "limit": str(PAGE if every else limit)}
    if proof:
        query["include"] = "proof"
    sealed = every and proof and order == "asc" and not company and not filters

    async def work() -> None:
        service = Service(url, key)
        await _list(query, service, every=every, sealed=sealed, company=company, as_json=as_json or proof)

    output.run(work())


async def _list(
    query: dict[str, str], service: Service, *, every: bool, sealed: bool, company: bool, as_json: bool
) -> None:
    path = COMPANY_EVENTS_PATH if company else EVENTS_PATH
    shown: list[tuple[object, ...]] = []
    async with service:
        # The checkpoint is taken first: what it signs is then sure to be among the events that follow.
        note = await _checkpoint(service) if sealed else None
        while True:
            page = await _asked(service.get(path, query))
            for event in page["data"]:
                if as_json:
                    output.show_json(event)
                else:
                    shown.append(_row(event))
            cursor = page["meta"]["nextCursor"]
            if not every or cursor is None:
                break
            query = {**query, "cursor": cursor}
        if note is not None:
            output.show_json({"checkpoint": note})
    if not as_json:
        columns = ("seq", "createdAt", "action", "category", "actor", "target", "id")
        output.show_table(columns, shown, empty="No event matches.")
        total = f"{page['meta']['total']}{' or more' if page['meta']['totalIsFloor'] else ''}"
        output.tell(f"{len(shown)} shown of {total}")


async def _checkpoint(service: Service) -> str | None:
    try:
        return str((await service.get(CHECKPOINT_PATH))["note"])
    except Refused as refusal:
        if refusal.status == 404:
            return None
        raise refusal.failure() from None


async def _asked(call: Any) -> Any:
    try:
        return await call
    except Refused as refusal:
        raise refusal.failure() from None


def _row(event: dict[str, Any]) -> tuple[object, ...]:
    actor = event["actorEmail"] or event["actorName"] or event["actorId"]
    return event["seq"], event["createdAt"], event["action"], event["category"], actor, event["targetId"], event["id"]


def _some(**members: str | None) -> dict[str, str] | None:
    return {name: value for name, value in members.items() if value is not None} or None


def _json_option(option: str, text: str | None) -> orjson.Fragment | None:
    if text is None:
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        hint = f"Quote it for the shell: {option} '{{\"a\": 1}}'"
        output.fail(CommandFailed(f"{option} is not valid JSON: {error}", hint, code=USAGE))
    return orjson.Fragment(text)


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        output.fail(CommandFailed(f"cannot read {file}: {error.strerror}", code=USAGE))
