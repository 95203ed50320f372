"""A receiver on this machine that checks signatures and shows what arrives, and what is wrong with a webhook."""

import asyncio
import json
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer
from aiohttp import web

from mainstay.cli import output, webhook_doctor
from mainstay.cli.calling import DEFAULT_URL, Key, Service, Url
from mainstay.cli.output import FAILED, USAGE, CommandFailed
from mainstay.cli.webhook_doctor import Examination
from mainstay.webhooks import BadSignature, verify

MAX_BODY_BYTES = 2 * 1024 * 1024
webhooks = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the receiver of webhooks needs.")


@webhooks.callback()
def _group() -> None:
    """What the receiver of webhooks needs."""


@dataclass(frozen=True, slots=True)
class Receiving:
    """How the receiver behaves: whom it believes, how often it fails, how long it waits."""

    secrets: tuple[str, ...]
    fail_rate: float
    delay_seconds: float
    verbose: bool


@webhooks.command("listen")
def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")] = 0,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    secret: Annotated[
        list[str] | None, typer.Option(envvar="MAINSTAY_WEBHOOK_SECRET", help="whsec_…; two while one is rotated.")
    ] = None,
    fail_rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Answer 500 to this share.")] = 0.0,
    delay: Annotated[int, typer.Option(min=0, help="Milliseconds before each answer.")] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each body too.")] = False,
) -> None:
    """Receive webhooks, verify their signatures and print a line each, until Ctrl-C.

    \b
    Answers 200 to what is signed with the secret, 400 to what is not; without a secret nothing is verified.
    The service must be allowed to send here: OUTBOUND_ALLOW=127.0.0.0/8
      mainstay webhooks listen --port 9000 --secret whsec_...
      mainstay webhooks listen --secret whsec_... --fail-rate 0.3 --delay 200
    """
    for one in secret or ():
        try:
            verify([one], {}, b"", now_seconds=0)
        except BadSignature as error:
            if not error.reason.startswith("missing header"):
                output.fail(CommandFailed(f"--secret: {error.reason}", code=USAGE))
    output.run(_listen(host, port, Receiving(tuple(secret or ()), fail_rate, delay / 1_000, verbose)))


@webhooks.command("doctor")
def doctor(
    webhook: Annotated[str, typer.Argument(help="The webhook's id.")],
    *,
    url: Url = DEFAULT_URL,
    key: Key = None,
    secret: Annotated[
        str | None, typer.Option(envvar="MAINSTAY_WEBHOOK_SECRET", help="whsec_…: signs the trial as the service does.")
    ] = None,
    brand: Annotated[str, typer.Option(envvar="BRAND", help="As the service has it: names the headers.")] = "NovaPulse",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many of the newest deliveries to look at.")] = 20,
    send: Annotated[bool, typer.Option("--send/--no-send", help="Send a test message to the URL from here.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Find out why deliveries fail: read the log, try the URL, show signatures to compare, count the tries.

    \b
    Takes a company key. The trial goes out from this machine, signed with the secret that you pass. Ends with 1 where
    something is wrong.
      mainstay webhooks doctor 0197c2b4-3b1e-7d3c-9c55-0b7b8a1f2e3d --secret whsec_...
      mainstay webhooks doctor 0197c2b4-3b1e-7d3c-9c55-0b7b8a1f2e3d --no-send --json
    """

    async def examine() -> Examination:
        webhook_doctor.require_secret(secret)
        async with Service(url, key) as service:
            return await webhook_doctor.examine(service, webhook, secret=secret, brand=brand, limit=limit, sends=send)

    found = output.run(examine())
    if as_json:
        output.show_json(found.as_json())
    else:
        _tell(found)
    if not found.is_well:
        raise typer.Exit(FAILED)


def _tell(found: Examination) -> None:
    """The examination for a person."""
    output.show_record({name: found.webhook.get(name) for name in ("id", "url", "isActive", "events", "maxAttempts")})
    rows = [
        (one["id"], one["eventType"], one["status"], attempt["number"], attempt["startedAt"], attempt["statusCode"],
         attempt["durationMs"], attempt["error"])
        for one in found.deliveries
        for attempt in one["attempts"] or [dict.fromkeys(("number", "startedAt", "statusCode", "durationMs", "error"))]
    ]  # fmt: skip
    columns = ("delivery", "type", "state", "try", "at", "answer", "ms", "error")
    print()
    output.show_table(columns, rows, empty="No delivery is in the log.")
    states = ", ".join(f"{count} {state}" for state, count in sorted(found.counts.items()))
    print(f"\n{found.tries} tries at {len(found.deliveries)} deliveries: {states or 'none'}")
    if found.trial is not None:
        trial = found.trial
        print("\nsent from here, to compare with what the receiver computes over these very bytes:")
        output.show_record({**trial.headers, "body": trial.body})
        output.show_record({"answer": trial.error or trial.status, "after ms": trial.duration_ms, "says": trial.answer})
    print()
    for finding in found.findings:
        print(f"! {finding}")
    if found.is_well:
        print("Nothing is wrong here.")


async def _listen(host: str, port: int, how: Receiving) -> None:
    app = web.Application(client_max_size=MAX_BODY_BYTES)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        refusal = why_refused(how.secrets, request.headers, body, now_seconds=time.time())
        await asyncio.sleep(how.delay_seconds)
        status = 400 if refusal else 500 if random.random() < how.fail_rate else 200  # noqa: S311
        print(line_of(request.headers, body, status, verdict_of(how.secrets, refusal)), flush=True)
        if how.verbose:
            print(pretty(body), flush=True)
        return web.Response(status=status, text=refusal or "")

    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        what = f"cannot listen on {host} port {port}: {error.strerror}"
        raise CommandFailed(what, "Choose another --port.") from None
    checks = "verifying" if how.secrets else "no secret: not verifying"
    output.tell(f"listening on http://{host}:{runner.addresses[0][1]}/ ({checks})")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


def why_refused(secrets: tuple[str, ...], headers: Mapping[str, str], body: bytes, *, now_seconds: float) -> str | None:
    """Why the message is not believed; None where it is, or where there is no secret to check it with."""
    if not secrets:
        return None
    try:
        verify(secrets, headers, body, now_seconds=now_seconds)
    except BadSignature as error:
        return error.reason
    return None


def verdict_of(secrets: tuple[str, ...], refusal: str | None) -> str:
    """Whether the message is believed, in words."""
    return refusal or ("verified" if secrets else "not verified: no secret")


def line_of(headers: Mapping[str, str], body: bytes, status: int, verdict: str) -> str:
    """One delivery in one line: time, type, message id, trace, answer, verdict."""
    given = {name.lower(): value for name, value in headers.items()}
    kind = next((value for name, value in given.items() if name.startswith("x-") and name.endswith("-event")), "?")
    parts = (
        time.strftime("%H:%M:%S"), kind, given.get("webhook-id", "?"), f"trace={given.get('x-trace-id', '?')}",
        f"{len(body)} bytes", str(status), verdict,
    )  # fmt: skip
    return "".join(char if char.isprintable() else "?" for char in "  ".join(parts))


def pretty(body: bytes) -> str:
    """The body as indented JSON, or as it came; nothing in it can steer a terminal."""
    try:
        text = json.dumps(json.loads(body), indent=2)
    except ValueError:
        text = body.decode("utf-8", "replace")
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
