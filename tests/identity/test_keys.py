"""API keys: shown once, kept as digests, refused at once when they end, rotated with an overlap."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from mainstay import identity
from mainstay.identity import allow_lists, errors, key_tokens
from mainstay.identity.keys import IssuedKey
from mainstay.kernel import ids
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Invalid
from tests.conftest import SqlClock
from tests.identity.conftest import ACTOR, Client, KeyMaker, announced, issue

HERE = "/v1/key/workspace"


async def _status(client: Client, secret: str, path: str = HERE, **more: Any) -> int:
    async with client(secret, **more) as caller:
        return (await caller.get(path)).status_code


@pytest.mark.contract("HL-E-11")
async def test_a_key_is_shown_once_and_kept_as_a_digest(
    db: Database, workspace: identity.Workspace, workspace_key: KeyMaker, company_key: KeyMaker
) -> None:
    issued = await workspace_key(name="ingest", read_only=True)
    await asyncio.sleep(0.002)
    whole = await company_key()
    assert issued.secret.startswith("mk_ws_")
    assert whole.secret.startswith("mk_co_")
    assert len(issued.secret) == len(whole.secret) == key_tokens.TOKEN_CHARACTERS
    assert issued.secret not in repr(issued)
    listed = await identity.list_keys(db, workspace.company_id)
    assert listed == [issued.record, whole.record]
    assert listed[0].prefix == issued.secret[:12]
    assert (listed[0].name, listed[0].read_only, listed[0].created_by) == ("ingest", True, ACTOR)
    assert await identity.list_keys(db, workspace.company_id, workspace_id=workspace.id) == [issued.record]
    assert await identity.list_keys(db, workspace.company_id, after=issued.record.id, limit=1) == [whole.record]
    async with db.connection() as connection:
        rows = await connection.fetch("select k::text as whole, digest from mainstay.api_keys k order by id")
        facts = await connection.fetchval("select string_agg(data::text, '') from mainstay.announcements")
    assert [row["digest"] for row in rows] == [digest_of(issued.secret), digest_of(whole.secret)]
    for secret in (issued.secret, whole.secret):
        assert secret[12:] not in "".join(row["whole"] for row in rows) + facts + repr(listed)
    told = await announced(db, "key.issued")
    assert {orjson.loads(fact["data"])["keyId"] for fact in told} == {issued.record.id, whole.record.id}
    assert {fact["company_id"] for fact in told} == {workspace.company_id}


@pytest.mark.contract("HL-E-11")
async def test_a_revoked_key_is_refused_at_once_everywhere(
    db: Database, client: Client, company: identity.Company, callers: identity.Identity, workspace_key: KeyMaker
) -> None:
    issued = await workspace_key()
    assert await _status(client, issued.secret) == 200
    assert (await callers.load_key(issued.secret)).caller.id == issued.record.id
    async with db.begin() as tx:
        revoked = await identity.revoke_key(tx, ACTOR, company.id, issued.record.id)
        assert revoked.revoked_at is not None
    assert await _status(client, issued.secret) == 401
    assert callers.find_cached_key(issued.secret) is not None
    assert not await _is_valid(db, issued.record.id)
    with pytest.raises(errors.Unauthenticated):
        await callers.load_key(issued.secret)
    with pytest.raises(errors.Unauthenticated):
        callers.find_cached_key(issued.secret)
    async with db.begin() as tx:
        again = await identity.revoke_key(tx, ACTOR, company.id, issued.record.id)
    assert again.revoked_at == revoked.revoked_at
    assert len(await announced(db, "key.revoked")) == 1


async def test_a_revocation_that_rolls_back_never_was(
    db: Database, client: Client, company: identity.Company, workspace_key: KeyMaker
) -> None:
    issued = await workspace_key()
    with suppress(ZeroDivisionError):
        async with db.begin() as tx:
            assert (await identity.revoke_key(tx, ACTOR, company.id, issued.record.id)).revoked_at is not None
            raise ZeroDivisionError
    assert await _status(client, issued.secret) == 200
    assert await announced(db, "key.revoked") == []


@pytest.mark.contract("HL-E-11")
async def test_an_expired_key_is_refused_from_its_moment_on(
    db: Database, client: Client, sql_clock: SqlClock, workspace_key: KeyMaker
) -> None:
    issued = await workspace_key(expires_at=datetime.now(UTC) + timedelta(hours=1))
    await sql_clock.move(timedelta(minutes=59))
    assert await _status(client, issued.secret) == 200
    assert await _is_valid(db, issued.record.id)
    await sql_clock.move(timedelta(minutes=1))
    assert await _status(client, issued.secret) == 401
    assert not await _is_valid(db, issued.record.id)


@pytest.mark.contract("HL-E-11")
async def test_a_read_only_key_may_not_write(client: Client, workspace_key: KeyMaker) -> None:
    reading, writing = await workspace_key(read_only=True), await workspace_key()
    for issued, expected in ((reading, 403), (writing, 200)):
        async with client(issued.secret) as caller:
            assert (await caller.post(HERE + "/anything")).status_code == expected
            assert (await caller.get(HERE)).status_code == 200


@pytest.mark.contract("HL-E-11")
async def test_after_rotation_both_keys_work_until_the_overlap_ends(
    db: Database, client: Client, sql_clock: SqlClock, company: identity.Company, workspace_key: KeyMaker
) -> None:
    old = await workspace_key(name="ingest", allow_list=["127.0.0.0/8"])
    async with db.begin() as tx:
        new = await identity.rotate_key(tx, ACTOR, company.id, old.record.id, overlap=timedelta(hours=2))
    assert (new.record.replaces, new.record.name, new.record.allow_list) == (old.record.id, "ingest", ("127.0.0.0/8",))
    await sql_clock.move(timedelta(hours=1, minutes=59))
    assert [await _status(client, key.secret) for key in (old, new)] == [200, 200]
    assert [await _is_valid(db, key.record.id) for key in (old, new)] == [True, True]
    await sql_clock.move(timedelta(minutes=1))
    assert [await _status(client, key.secret) for key in (old, new)] == [401, 200]
    assert [await _is_valid(db, key.record.id) for key in (old, new)] == [False, True]
    (fact,) = await announced(db, "key.rotated")
    assert orjson.loads(fact["data"])["replaces"] == old.record.id


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(
    db: Database, client: Client, company: identity.Company, workspace_key: KeyMaker
) -> None:
    old = await workspace_key()
    async with db.begin() as tx:
        new = await identity.rotate_key(tx, ACTOR, company.id, old.record.id, overlap=timedelta(0))
    assert [await _status(client, key.secret) for key in (old, new)] == [401, 200]


async def test_only_a_working_key_is_rotated_and_only_once(
    db: Database, company: identity.Company, workspace_key: KeyMaker
) -> None:
    key, dead = await workspace_key(), await workspace_key()

    async def rotate(one: IssuedKey, overlap: timedelta = timedelta(hours=1)) -> IssuedKey:
        async with db.begin() as tx:
            return await identity.rotate_key(tx, ACTOR, company.id, one.record.id, overlap=overlap)

    for overlap in (timedelta(microseconds=-1), timedelta(days=30, microseconds=1)):
        with pytest.raises(Invalid):
            await rotate(key, overlap)
    results = await asyncio.gather(*(rotate(key, timedelta(days=30)) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["IssuedKey"] + ["KeyNotRotatable"] * 3
    async with db.begin() as tx:
        await identity.revoke_key(tx, ACTOR, company.id, dead.record.id)
    with pytest.raises(errors.KeyNotRotatable):
        await rotate(dead)


async def test_the_revocation_of_a_successor_leaves_the_old_key_its_overlap(
    db: Database, client: Client, company: identity.Company, workspace_key: KeyMaker
) -> None:
    old = await workspace_key()
    async with db.begin() as tx:
        new = await identity.rotate_key(tx, ACTOR, company.id, old.record.id)
        await identity.revoke_key(tx, ACTOR, company.id, new.record.id)
    assert [await _status(client, key.secret) for key in (old, new)] == [200, 401]


@pytest.mark.contract("HL-A-01")
async def test_each_kind_of_key_has_its_own_branch(
    client: Client, workspace: identity.Workspace, workspace_key: KeyMaker, company_key: KeyMaker
) -> None:
    of_workspace, of_company = (await workspace_key()).secret, (await company_key()).secret
    company_paths = ("/v1/key/company", "/v1/key/company/workspaces")
    for path, right, wrong in (
        (HERE, of_workspace, of_company),
        *((p, of_company, of_workspace) for p in company_paths),
    ):
        ways = (
            {"authorization": f"Bearer {right}"},
            {"authorization": f"bearer {right}"},
            {"authorization": f"ApiKey {right}"},
            {"x-api-key": right},
            {"x-hyrelog-key": right},
        )
        for headers in ways:
            async with client(**headers) as caller:
                assert (await caller.get(path)).status_code == 200
            async with client(**{name: value.replace(right, wrong) for name, value in headers.items()}) as caller:
                assert (await caller.get(path)).status_code == 403


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "mk_ws_",
        "mk_ws_" + "a" * 43,
        "mk_co_" + "a" * 43,
        "mk_xx_" + "a" * 43,
        "mk_ws_" + "\xe9" * 43,
        "a" * 9_000,
    ],
)
async def test_what_is_no_key_opens_nothing(client: Client, callers: identity.Identity, text: str) -> None:
    async with client() as caller:
        answer = await caller.get(HERE, headers=[(b"x-api-key", text.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["title"] == "The credential is missing, unknown, expired or revoked."
    with pytest.raises(errors.Unauthenticated):
        callers.find_cached_key(text) or await callers.load_key(text)


async def test_the_secret_of_a_key_in_other_letters_is_no_key(client: Client, workspace_key: KeyMaker) -> None:
    secret = (await workspace_key()).secret
    for wrong in (secret.swapcase(), secret[:-1] + ("A" if secret[-1] != "A" else "B"), secret + "a", secret[:-1]):
        assert await _status(client, wrong) == 401


ALLOWED: Sequence[tuple[list[str], str, bool]] = (
    ([], "203.0.113.9", True),
    ([], "", True),
    (["10.0.0.0/8"], "10.255.255.255", True),
    (["10.0.0.0/8"], "11.0.0.0", False),
    (["10.0.0.0/8"], "9.255.255.255", False),
    (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
    (["10.0.0.0/8"], "::ffff:11.0.0.1", False),
    (["10.0.0.0/8"], "::10.0.0.1", False),
    (["10.0.0.0/8"], "", False),
    (["10.0.0.0/8"], "unix", False),
    (["10.0.0.0/8"], "10.0.0.1, 9.9.9.9", False),
    (["192.0.2.7"], "192.0.2.7", True),
    (["192.0.2.7"], "192.0.2.8", False),
    (["::ffff:192.0.2.0/120"], "192.0.2.255", True),
    (["::ffff:192.0.2.0/120"], "192.0.3.0", False),
    (["::ffff:192.0.2.7"], "::ffff:192.0.2.7", True),
    (["2001:db8::/32"], "2001:db8:ffff::1", True),
    (["2001:db8::/32"], "2001:DB8:FFFF:0::1", True),
    (["2001:db8::/32"], "2001:db9::1", False),
    (["2001:db8::/32"], "10.0.0.1", False),
    (["fe80::/10"], "fe80::1%eth0", True),
    (["0.0.0.0/0"], "203.0.113.9", True),
    (["0.0.0.0/0"], "2001:db8::1", False),
    (["::/0"], "2001:db8::1", True),
    (["::/0"], "203.0.113.9", False),
    (["192.0.2.1", "2001:db8::1"], "2001:db8::1", True),
)


@pytest.mark.parametrize(("networks", "address", "allowed"), ALLOWED)
def test_addresses_are_held_against_the_allow_list(networks: list[str], address: str, allowed: bool) -> None:
    assert allow_lists.is_allowed(allow_lists.networks_of(allow_lists.check_allow_list(networks)), address) is allowed


@pytest.mark.contract("HL-E-11")
async def test_a_key_is_refused_from_outside_its_allow_list(
    client: Client, callers: identity.Identity, workspace_key: KeyMaker
) -> None:
    issued = await workspace_key(allow_list=["192.0.2.0/24", "2001:db8::/48"])
    for address, expected in (
        ("192.0.2.255", 200),
        ("::ffff:192.0.2.1", 200),
        ("2001:db8:0:ffff::1", 200),
        ("192.0.3.0", 403),
        ("2001:db8:1::1", 403),
        ("", 403),
    ):
        assert await _status(client, issued.secret, address=address) == expected
    cached = await callers.load_key(issued.secret)
    assert cached.admit("192.0.2.1").id == issued.record.id
    with pytest.raises(errors.AddressNotAllowed):
        cached.admit("192.0.3.0")


@pytest.mark.parametrize(
    "entry", ["", "x", "10.0.0.1/8", "10.0.0.0/33", "2001:db8::/129", "10.0.0", "010.0.0.1", "fe80::1%eth0", "*"]
)
def test_allow_lists_are_refused(entry: str) -> None:
    with pytest.raises(Invalid) as told:
        allow_lists.check_allow_list(["10.0.0.0/8", entry])
    assert told.value.faults[0].pointer == "#/allowList/1"


def test_an_allow_list_has_at_most_100_entries() -> None:
    assert len(allow_lists.check_allow_list(["10.0.0.1"] * 100)) == 100
    with pytest.raises(Invalid):
        allow_lists.check_allow_list(["10.0.0.1"] * 101)


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        ({"name": ""}, "#/name"),
        ({"kind": "company"}, "#/workspaceId"),
        ({"workspace_id": None}, "#/workspaceId"),
        ({"allow_list": ["x"]}, "#/allowList/0"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "#/expiresAt"),
        ({"expires_at": datetime(2999, 1, 1)}, "#/expiresAt"),
    ],
)
async def test_keys_that_make_no_sense_are_not_issued(
    db: Database, workspace_key: KeyMaker, company: identity.Company, wish: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as told:
        await workspace_key(**wish)
    assert told.value.faults[0].pointer == pointer
    assert await identity.list_keys(db, company.id) == []


async def test_keys_of_system_workspaces_only_read(db: Database, company: identity.Company) -> None:
    (system,) = await identity.list_workspaces(db, company.id)
    with pytest.raises(Invalid):
        await issue(db, company, system)
    assert (await issue(db, company, system, read_only=True)).record.read_only


async def test_another_companys_ids_are_unknown(
    db: Database,
    company: identity.Company,
    other_company: identity.Company,
    workspace: identity.Workspace,
    workspace_key: KeyMaker,
) -> None:
    issued = await workspace_key()
    with pytest.raises(errors.WorkspaceNotFound):
        await issue(db, other_company, workspace)
    with pytest.raises(errors.CompanyNotFound):
        async with db.begin() as tx:
            await identity.issue_key(tx, ACTOR, ids.new_id(), kind="company", name="k")
    async with db.begin() as tx:
        for key_id in (issued.record.id, ids.new_id(), "nonsense"):
            with pytest.raises(errors.KeyNotFound):
                await identity.revoke_key(tx, ACTOR, other_company.id, key_id)
            with pytest.raises(errors.KeyNotFound):
                await identity.rotate_key(tx, ACTOR, other_company.id, key_id)
            with pytest.raises(errors.KeyNotFound):
                await identity.get_key(tx, other_company.id, key_id)
    assert await identity.list_keys(db, other_company.id) == []
    assert (await identity.get_key(db, company.id, issued.record.id)).revoked_at is None


@pytest.mark.parametrize(
    "change",
    [
        "workspace_id = null",
        "kind = 'company'",
        "kind = 'other'",
        "revoked_at = mainstay.now()",
        "digest = '\\x00'",
        "data_region = 'MARS'",
    ],
)
async def test_the_database_refuses_keys_that_contradict_themselves(
    db: Database, workspace_key: KeyMaker, change: str
) -> None:
    await workspace_key()
    async with db.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"update mainstay.api_keys set {change}")


async def test_the_predicate_is_written_into_the_statement_that_asks(db: Database, workspace_key: KeyMaker) -> None:
    key_id = (await workspace_key()).record.id
    async with db.connection() as connection:
        plan = await connection.fetch(
            "explain select 1 from mainstay.api_keys k where k.id = $1 and mainstay.key_is_valid(k)", key_id
        )
    text = "\n".join(row[0] for row in plan)
    assert "revoked_at IS NULL" in text
    assert "key_is_valid" not in text


async def _is_valid(db: Database, key_id: str) -> bool:
    async with db.connection() as connection:
        valid: bool = await connection.fetchval(
            "select mainstay.key_is_valid(k) from mainstay.api_keys k where k.id = $1", key_id
        )
    return valid
