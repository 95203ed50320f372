"""Limits from the command line: what holds, other figures, modes, and the report."""

import asyncio
import json
from typing import Any

from tests.cli.running import Ran, called
from tests.tenancy import Tenancy


async def _limits(url: str, *arguments: str) -> Ran:
    env = {"DATABASE_URL": url, "RATE_LIMITS": "refund=9/60"}
    return await asyncio.to_thread(called, "limits", *arguments, env=env)


async def _listed(url: str, *more: str) -> dict[str, Any]:
    told = await _limits(url, "list", "--json", *more)
    assert told.code == 0, told
    return {one["name"]: one for one in map(json.loads, told.out.splitlines())}


async def test_operators_change_and_see_limits(fresh_url: str, tenancy: Tenancy) -> None:
    company = ("--company", tenancy.company_id)
    for arguments in (
        ("set", "invites", "100", *company, "--until", "3d", "--reason", "they move in"),
        ("set", "CREDIT_CHARGE", "20", "--window", "30", "--reason", "asked for"),
        ("mode", "general", "shadow", "--reason", "look first"),
    ):
        assert (await _limits(fresh_url, *arguments)).code == 0
    everybody, own = await _listed(fresh_url), await _listed(fresh_url, *company)
    assert (everybody["invites"]["allowance"], own["invites"]["allowance"]) == (10, 100)
    assert own["invites"]["of"] == "company"
    assert (everybody["credit_charge"]["allowance"], everybody["credit_charge"]["windowSeconds"]) == (20, 30)
    assert everybody["general"]["mode"] == "shadow"
    assert (everybody["refund"]["allowance"], everybody["refund"]["setBy"]) == (9, "setting")
    assert (await _limits(fresh_url, "drop", "invites", *company)).code == 0
    assert (await _listed(fresh_url, *company))["invites"]["allowance"] == 10
    report = await _limits(fresh_url, "report", "general", "--since", "7d")
    assert "refused nobody" in report.out + report.err
    assert "shadow" in (await _limits(fresh_url, "list")).out


async def test_what_is_wrong_is_told(fresh_url: str) -> None:
    for arguments, code in (
        (("drop", "invites"), 1),
        (("mode", "invites", "on", "--reason", "r"), 2),
        (("set", "nothing", "1", "--reason", "r"), 1),
        (("set", "invites", "0", "--reason", "r"), 1),
    ):
        told = await _limits(fresh_url, *arguments)
        assert (told.code, bool(told.err)) == (code, True)
