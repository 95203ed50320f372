"""Companies, workspaces and keys as the operator makes them, and events as a key's owner sends and lists them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay.cli.operating import moment_of
from mainstay.cli.output import CommandFailed
from mainstay.kernel.db import Database, Sql
from tests.cli.running import Ran, Running, called, mainstay

OPERATOR_COMPANY = "00000000-0000-7000-8000-000000000000"


def shown(ran: Ran) -> Any:
    """The one JSON line of a command that succeeded."""
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


async def test_a_company_with_owner_workspace_and_key_is_made_and_used(
    fresh_url: str, served: Running, db: Database
) -> None:
    operator = {"DATABASE_URL": fresh_url}
    made = shown(
        mainstay(
            "companies", "create", "Ácme Ltd", "--region", "eu", "--plan", "growth", "--workspace", "Production",
            "--owner-email", "ann@acme.example", "--owner-name", "Ann", "--json",
            env={**operator, "MAINSTAY_OWNER_PASSWORD": "correct horse battery"},
        )
    )  # fmt: skip
    assert (made["slug"], made["dataRegion"], made["plan"], made["owner"]) == (
        "acme-ltd",
        "EU",
        "growth",
        "ann@acme.example",
    )
    assert [one["slug"] for one in made["workspaces"]] == ["production"]
    told = await db.rows(
        Sql("test.told", "select name, actor->>'kind' as kind from mainstay.announcements order by id")
    )
    assert {"company.opened", "workspace.opened", "person.added"} <= {row["name"] for row in told}
    assert {row["kind"] for row in told} == {"operator"}

    listed = mainstay("companies", "list", env=operator)
    assert "acme-ltd" in listed.out
    staging = shown(mainstay("workspaces", "create", "Staging", "--company", "acme-ltd", "--json", env=operator))
    spaces = mainstay("workspaces", "list", "--company", made["id"], "--json", env=operator)
    assert {json.loads(line)["slug"] for line in spaces.out.splitlines()} == {"system", "production", "staging"}
    assert staging["companyId"] == made["id"]

    issued = mainstay("keys", "create", "--company", "acme-ltd", "--workspace", "production", env=operator)
    assert issued.code == 0, issued.err
    assert issued.out.startswith("mk_ws_")
    assert issued.out.strip() not in issued.err
    client = {"MAINSTAY_URL": served.url, "MAINSTAY_KEY": issued.out.strip()}
    stored = shown(
        mainstay(
            "events", "send", "invoice.paid", "--actor-email", "ann@acme.example", "--target-id", "i_1",
            "--payload", '{"amount": 1.50}', "--category", "billing", "--json", env=client,
        )
    )  # fmt: skip
    assert (stored["seq"], stored["actorEmail"], stored["payload"]) == (1, "ann@acme.example", {"amount": 1.5})
    whole = shown(mainstay("events", "send", "--file", "-", "--json", env=client, given=b'{"action":"a.b"}'))
    assert whole["seq"] == 2
    table = mainstay("events", "list", "--category", "billing", env=client)
    assert "invoice.paid" in table.out
    assert "a.b" not in table.out
    assert "1 shown of 1" in table.err

    key_id = json.loads(mainstay("keys", "list", "--company", "acme-ltd", "--json", env=operator).out)["id"]
    ended = mainstay("keys", "revoke", key_id, env=operator)
    assert ended.code == 0, ended.err
    refused = mainstay("events", "send", "a.b", env=client)
    assert refused.code == 1
    assert "refused with 401" in refused.err


def test_a_key_has_the_rights_that_were_asked_for(fresh_url: str) -> None:
    operator = {"DATABASE_URL": fresh_url}
    assert called("companies", "create", "Acme", "--workspace", "Production", env=operator).code == 0
    key = shown(
        called(
            "keys", "create", "--company", "acme", "--name", "audit", "--read-only", "--allow", "10.0.0.0/8",
            "--allow", "::1", "--expires", "90d", "--scope", "usage", "--scope", "exports", "--json", env=operator,
        )
    )  # fmt: skip
    assert (key["kind"], key["name"], key["readOnly"], key["allowList"]) == (
        "company",
        "audit",
        True,
        ["10.0.0.0/8", "::1/128"],
    )
    days = (datetime.fromisoformat(key["expiresAt"]) - datetime.now(UTC)) / timedelta(days=1)
    assert 89.9 < days <= 90
    assert key["secret"].startswith("mk_co_")
    assert (key["scopes"], key["state"], key["leakedAt"]) == (["exports", "usage"], "working", None)
    listed = called("keys", "list", "--company", "acme", env=operator)
    assert key["id"] in listed.out
    assert "exports, usage, read only" in listed.out
    assert key["secret"] not in listed.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("companies", "create", "x", "--region", "MARS"), 2, "--region must be one of US, EU, APAC"),
        (("companies", "create", "x", "--plan", "gold"), 2, "--plan must be one of"),
        (("companies", "create", "x", "--owner-email", "a@b.example"), 2, "MAINSTAY_OWNER_PASSWORD"),
        (("companies", "create", " "), 1, "#/name"),
        (("workspaces", "list", "--company", "nobody"), 1, "there is no company 'nobody'"),
        (("keys", "create", "--company", "operator", "--kind", "workspace"), 2, "needs --workspace"),
        (("keys", "create", "--company", "operator", "--kind", "odd"), 2, "--kind must be"),
        (("keys", "create", "--company", "operator", "--expires", "soon"), 2, "not a duration"),
        (("keys", "create", "--company", OPERATOR_COMPANY, "--expires", "2020-01-01"), 1, "in the future"),
        (("keys", "create", "--company", OPERATOR_COMPANY, "--allow", "10.0.0.1/8"), 1, "CIDR"),
        (("keys", "create", "--company", OPERATOR_COMPANY, "--scope", "all"), 1, "#/scopes/0"),
        (("keys", "create", "--company", OPERATOR_COMPANY, "--workspace", "x"), 1, "has no workspace 'x'"),
        (("keys", "revoke", "mk_ws_secret"), 2, "by its id"),
        (("keys", "revoke", "00000000-0000-7000-8000-00000000dead"), 1, "there is no key"),
        (("keys", "list"), 2, "--company"),
    ],
)
def test_wrong_usage_says_what_is_wrong(fresh_url: str, arguments: tuple[str, ...], code: int, told: str) -> None:
    ran = called(*arguments, env={"DATABASE_URL": fresh_url})
    assert (ran.code, told in ran.err) == (code, True), ran.err
    assert "Traceback" not in ran.err


def test_a_company_is_made_whole_or_not_at_all(fresh_url: str) -> None:
    env = {"DATABASE_URL": fresh_url}
    assert called("companies", "create", "Acme", "--workspace", "A", "--workspace", " ", env=env).code == 1
    assert "acme" not in called("companies", "list", env=env).out


def test_without_a_database_the_variable_is_named() -> None:
    ran = called("companies", "list")
    assert (ran.code, "DATABASE_URL is missing" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("2w", timedelta(weeks=2)),
        ("30m", timedelta(minutes=30)),
    ],
)
def test_a_duration_is_counted_from_now(text: str, after: timedelta) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert moment_of(text, now=now) == now + after


def test_a_time_is_taken_as_it_is_and_anything_else_refused() -> None:
    assert moment_of("2027-01-02T03:04:05+01:00") == datetime(2027, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert moment_of("2027-01-02") == datetime(2027, 1, 2, tzinfo=UTC)
    for text in ("", "d", "1y", "-1d", "9999999d", "1.5h", "never"):
        with pytest.raises(CommandFailed):
            moment_of(text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("send",), "name an action"),
        (("send", "a.b", "--file", "x"), "name an action, or"),
        (("send", "--category", "x"), "an event needs an action"),
        (("send", "a.b", "--payload", "{x}"), "--payload is not valid JSON"),
        (("send", "--file", "no-such-file"), "cannot read no-such-file"),
        (("list", "--order", "up"), "--order must be asc or desc"),
    ],
)
def test_wrong_event_commands_end_with_2(arguments: tuple[str, ...], told: str) -> None:
    ran = called("events", *arguments, env={"MAINSTAY_KEY": "k"})
    assert (ran.code, told in ran.err) == (2, True), ran.err


async def test_a_refused_event_is_told_with_its_pointer(client_env: dict[str, str]) -> None:
    ran = mainstay("events", "send", "bad action", env=client_env)
    assert ran.code == 1
    assert "#/action" in ran.err


def test_a_service_that_is_away_is_told() -> None:
    ran = mainstay("events", "list", env={"MAINSTAY_KEY": "k", "MAINSTAY_URL": "http://127.0.0.1:1"})
    assert ran.code == 1
    assert "does not answer (connection refused)" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "command",
    [
        "api", "worker", "migrate", "up", "doctor", "verify", "companies create", "companies list", "workspaces create",
        "workspaces list", "keys create", "keys list", "keys revoke", "events send", "events list", "events import",
        "webhooks listen",
    ],
)  # fmt: skip
def test_every_command_shows_examples(command: str) -> None:
    ran = called(*command.split(), "--help")
    assert ran.code == 0, ran.err
    below_usage = ran.out.partition("\n")[2]
    assert f"mainstay {command}" in below_usage
