"""Rate limits, from the command line: what holds, other figures or modes, and whom a limit refuses."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from mainstay import limits as room
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, company_named, moment_of, operators_database
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.settings import parse_rates

limits = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Rate limits. Works on DATABASE_URL as the operator."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, a line each.")]
Limit = Annotated[str, typer.Argument(metavar="LIMIT", help="As 'mainstay limits list' names it.")]
Company = Annotated[str | None, typer.Option(help="Slug or id; without one it is for everybody.")]
Reason = Annotated[str, typer.Option(help="Why; everybody who looks is told.")]
_MODES = ("enforced", "shadow", "off")


@limits.command("list")
def list_limits(*, company: Company = None, as_json: AsJson = False) -> None:
    """Show every limit as it holds for everybody or a company; RATE_LIMITS counts where it is set here, too.

    \b
      mainstay limits list
      mainstay limits list --company acme
    """

    async def read() -> list[dict[str, Any]]:
        async with operators_database() as db:
            company_id = await _id_of(db, company)
            snapshot = await room.Current(db, _policies()).now()
            return [_shown(snapshot.of(name, company_id or "")) for name in snapshot.policies]

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one)
        return
    rows = [
        (one["name"], "none" if one["allowance"] is None else one["allowance"], one["windowSeconds"], one["mode"],
         one["setBy"], one["until"] or "")
        for one in found
    ]  # fmt: skip
    output.show_table(("limit", "calls", "in seconds", "mode", "set by", "until"), rows, empty="There is no limit.")


@limits.command("set")
def set_figures(
    limit: Limit,
    allowance: Annotated[int, typer.Argument(help="Calls that pass in a window.")],
    *,
    reason: Reason,
    company: Company = None,
    window: Annotated[int | None, typer.Option(help="Seconds of a window; the limit's own unless given.")] = None,
    until: Annotated[str | None, typer.Option(help="When it ends: 3d, 12h, or an ISO time.")] = None,
) -> None:
    """Give a limit other figures, for a company or everybody; every node follows within a second.

    \b
      mainstay limits set invites 100 --company acme --until 3d --reason "they move in"
      mainstay limits set general 500 --reason "load test"
    """

    async def change(tx: Tx, company_id: str | None) -> None:
        ends_at = None if until is None else moment_of(until)
        await room.set_override(
            tx, OPERATOR, _policy(limit), company_id, allowance=allowance, window_seconds=window, until=ends_at,
            reason=reason,
        )  # fmt: skip

    output.run(_change(company, change))
    output.tell(f"{limit} lets {allowance} calls pass")


@limits.command("drop")
def drop_figures(limit: Limit, *, company: Company = None) -> None:
    """Take back what 'set' gave a company, or everybody.

    \b
      mainstay limits drop invites --company acme
    """

    async def change(tx: Tx, company_id: str | None) -> None:
        if not await room.drop_override(tx, OPERATOR, _policy(limit), company_id):
            raise CommandFailed(f"nothing was set of {limit} there", "'mainstay limits list' shows what holds.")

    output.run(_change(company, change))
    output.tell(f"what was set of {limit} holds no longer")


@limits.command("mode")
def set_mode(
    limit: Limit, mode: Annotated[str, typer.Argument(help="enforced, shadow or off.")], *, reason: Reason
) -> None:
    """Let a limit refuse, only count whom it would refuse, or do nothing; every node follows within a second.

    \b
      mainstay limits mode general shadow --reason "see who would be hit"
      mainstay limits report general
      mainstay limits mode general enforced --reason "nobody would"
    """
    wanted = next((one for one in _MODES if one == mode), None)
    if wanted is None:
        output.fail(CommandFailed(f"the mode must be one of {', '.join(_MODES)}", code=USAGE))

    async def change(tx: Tx, _: str | None) -> None:
        await room.set_mode(tx, OPERATOR, _policy(limit), mode=wanted, reason=reason)  # type: ignore[arg-type]

    output.run(_change(None, change))
    output.tell(f"{limit} is {'in shadow mode' if mode == 'shadow' else mode}")


@limits.command("report")
def show_report(
    limit: Limit,
    *,
    since: Annotated[str, typer.Option(help="How long back: 24h, 7d, or from an ISO time on; whole hours.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Show which companies a limit refused, or in shadow mode would have.

    \b
      mainstay limits report general --since 7d
    """

    async def read() -> list[dict[str, Any]]:
        policy, now = _policy(limit), datetime.now(UTC)
        named = moment_of(since, now=now)
        async with operators_database() as db:
            rows = await room.report(db, policy.name, since=now - (named - now) if named > now else named)
        return [
            {
                "companyId": None if row["company_id"] is None else str(row["company_id"]),
                "mode": row["mode"],
                "calls": row["calls"],
                "firstAt": iso(row["first_at"]),
                "lastAt": iso(row["last_at"]),
            }
            for row in rows
        ]

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one)
        return
    table = [(one["companyId"] or "nobody known", *list(one.values())[1:]) for one in found]
    output.show_table(("company", "mode", "calls", "first", "last"), table, empty=f"{limit} refused nobody.")


async def _change(company: str | None, change: Any) -> None:
    async with operators_database() as db:
        company_id = await _id_of(db, company)
        async with db.begin() as tx:
            await change(tx, company_id)


async def _id_of(db: Connection, company: str | None) -> str | None:
    return None if company is None else (await company_named(db, company)).id


def _policies() -> Mapping[str, room.Policy]:
    try:
        rates = parse_rates(os.environ.get("RATE_LIMITS", ""))
        return room.policies_with(int(os.environ.get("RATE_LIMIT_GENERAL") or 100), rates)
    except ValueError:
        raise CommandFailed("RATE_LIMITS or RATE_LIMIT_GENERAL is not valid", code=USAGE) from None


def _policy(name: str) -> room.Policy:
    try:
        return room.known_policy(_policies(), name)
    except MainstayError:
        raise CommandFailed(f"there is no limit '{name}'", "'mainstay limits list' shows every limit.") from None


def _shown(figures: Any) -> dict[str, Any]:
    policy = figures.policy
    return {
        "name": policy.name,
        "allowance": policy.allowance,
        "windowSeconds": int(policy.window.total_seconds()),
        "mode": figures.mode if policy.allowance is not None else "off",
        "setBy": policy.set_by,
        "of": "company" if figures.of_company else "everybody",
        "until": figures.until,
    }
