"""What operators do in an incident: closing people's routes, reading what was refused, trying to log in."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from mainstay.kernel.db import Database, Sql
from tests.cli.running import SECRETS, Running, called

LEFT = Sql(
    "test.left",
    """select (select count(*) from mainstay.people) + (select count(*) from mainstay.memberships)
              + (select count(*) from mainstay.sessions)""",
)


def left(url: str) -> int:
    """How many people, memberships and sessions there are."""

    async def count() -> int:
        db = Database(url, size=1)
        found = int(await db.value(LEFT))
        await db.close()
        return found

    return asyncio.run(count())


def shown(out: str) -> Any:
    """The one JSON object that a command printed."""
    return json.loads(out)


@pytest.mark.contract("DR-A-13")
def test_logging_in_is_tried_step_by_step_and_nothing_is_left(served: Running, fresh_url: str) -> None:
    env = {**SECRETS, "DATABASE_URL": fresh_url, "MAINSTAY_URL": served.url}
    tried = called("doctor", "login", "--json", env=env)
    found = shown(tried.out)
    assert (tried.code, found["ok"], found["url"]) == (0, True, served.url), tried.out
    assert [one["name"] for one in found["steps"]] == [
        "make an account", "a wrong password", "log in", "who am I", "refresh", "who am I again", "log out",
        "the token is dead", "so is the refresh", "remove the account",
    ]  # fmt: skip
    assert {one["verdict"] for one in found["steps"]} == {"pass"}
    assert all(0 <= one["seconds"] < 60 for one in found["steps"])
    assert left(fresh_url) == 0

    assert called("restrict", "on", "a breach", env=env).code == 0
    held = shown(called("restrict", "show", "--json", env=env).out)
    assert (held["isRestricted"], held["reason"], held["by"]["id"]) == (True, "a breach", "cli")
    assert "a breach" in called("restrict", "show", env=env).out
    give_up_at = time.monotonic() + 5
    while httpx.post(f"{served.url}/api/v1/me", timeout=60).status_code != 503:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    tried = called("doctor", "login", env=env)
    assert tried.code == 1
    lines = tried.out.splitlines()
    assert lines[1].startswith("FAIL a wrong password")
    assert "answered 503 instead of 401: People's routes are closed" in lines[1]
    assert all(line.startswith("-   ") for line in lines[2:9])
    assert lines[9].startswith("ok   remove the account")
    assert left(fresh_url) == 0
    assert called("restrict", "off", env=env).code == 0
    assert called("restrict", "show", env=env).out == "open\n"
    assert "open already" in called("restrict", "off", env=env).err
    assert called("restrict", "on", "x", env=env).code == 1

    give_up_at = time.monotonic() + 10
    while "restricted" not in called("auth-log", "--since", "1h", env=env).out:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    listed = called("auth-log", "--kind", "login_failed", "--json", env=env)
    assert [json.loads(line)["reason"] for line in listed.out.splitlines()][-1] == "login-refused"
    by_email = called("auth-log", "--email", "nobody@example.com", "--json", env=env)
    assert {json.loads(line)["kind"] for line in by_email.out.splitlines()} <= {"login_failed"}


@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (("doctor", "login", "--data", "/nowhere"), {}, "DATABASE_URL is missing"),
        (("doctor", "login", "--url", "ftp://x"), {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "--url must begin"),
        (("auth-log", "--person", "x"), {}, "--person must be an id"),
        (("auth-log", "--email", "a@b.c"), {}, "MAINSTAY_SECRET"),
    ],
    ids=str,
)
def test_what_cannot_be_done_says_what_to_do(arguments: tuple[str, ...], env: dict[str, str], says: str) -> None:
    ran = called(*arguments, env=env)
    assert (ran.code, says in ran.err) == (2, True), ran


def test_an_api_that_does_not_answer_fails_the_step_and_a_database_the_first(fresh_url: str) -> None:
    away = "http://127.0.0.1:1"
    ran = called("doctor", "login", "--url", away, env={**SECRETS, "DATABASE_URL": fresh_url})
    assert (ran.code, "FAIL a wrong password" in ran.out, f"{away} does not answer" in ran.out) == (1, True, True)
    assert "ok   remove the account" in ran.out


def test_roles_are_printed() -> None:
    told = called("roles").out
    assert "erasures.change" in told
    assert called("roles", "--markdown").out.startswith("| Act |")
