"""Making and changing streams: who may, what is refused, and that secrets stay secret."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from mainstay.kernel.db import Database
from mainstay.streams.streams import STREAMS_AT_MOST
from tests.conftest import running_app
from tests.streams.conftest import PATH, Pumping
from tests.tenancy import Tenancy, open_tenancy

HTTPS = {"type": "https", "url": "http://127.0.0.1:9/in"}
SPLUNK = {"type": "splunk", "url": "http://127.0.0.1:9", "token": "s3cret-of-splunk"}
S3 = {"type": "s3", "bucket": "bucket", "accessKeyId": "AK", "secretAccessKey": "s3cret-of-s3"}
DATADOG = {"type": "datadog", "apiKey": "s3cret-of-datadog"}
SYSLOG = {"type": "syslog", "host": "logs.example.com"}


async def test_secrets_are_sealed_and_never_shown_again(pumping: Pumping, db: Database) -> None:
    made = [await pumping.create(one) for one in (SPLUNK, S3, DATADOG, SYSLOG, HTTPS)]
    secret = made[-1].pop("secret")
    assert secret.startswith("whsec_")
    for one in made:
        await pumping.change(one, name="another name")
        await pumping.act(one, "pause")
    answer = await pumping.api.get(PATH, headers=pumping.tenancy.company_auth)
    assert [one["name"] for one in answer.json()["data"]] == ["another name"] * 5
    async with db.connection() as connection:
        rows = await connection.fetch("select to_jsonb(s)::text as row from mainstay.streams s")
        facts = await connection.fetch("select data::text as row from mainstay.announcements")
    whole = orjson.dumps(made).decode() + answer.text + "".join(row["row"] for row in [*rows, *facts])
    assert len(rows) == 5
    assert "s3cret" not in whole
    assert secret not in whole
    assert made[3]["destination"] == {**SYSLOG, "port": 6_514, "tls": True, "authorities": None, "appName": "mainstay"}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"destination": HTTPS}, ["#"]),
        ({"name": "", "destination": HTTPS}, ["#/name"]),
        ({"name": "n" * 129, "destination": HTTPS}, ["#/name"]),
        ({"name": "n", "destination": {"type": "ftp"}}, ["#/destination/type"]),
        ({"name": "n", "destination": {**HTTPS, "x": 1}}, ["#/destination"]),
        ({"name": "n", "destination": HTTPS, "form": "cef"}, ["#/form"]),
        ({"name": "n", "destination": {**HTTPS, "url": "ftp://x"}}, ["#/destination/url"]),
        ({"name": "n", "destination": {**HTTPS, "url": "https://10.0.0.1/"}}, ["#/destination/url"]),
        ({"name": "n", "destination": {**SPLUNK, "url": "https://169.254.169.254/"}}, ["#/destination/url"]),
        ({"name": "n", "destination": {**SPLUNK, "token": "two\nlines"}}, ["#/destination/token"]),
        ({"name": "n", "destination": {**DATADOG, "site": "evil.example"}}, ["#/destination/site"]),
        ({"name": "n", "destination": {**SYSLOG, "host": "192.168.0.1"}}, ["#/destination/host"]),
        ({"name": "n", "destination": {**SYSLOG, "host": "a/b"}}, ["#/destination/host"]),
        ({"name": "n", "destination": {**SYSLOG, "port": 0}}, ["#/destination/port"]),
        ({"name": "n", "destination": {**SYSLOG, "tls": False, "authorities": "x"}}, ["#/destination/authorities"]),
        ({"name": "n", "destination": {**SYSLOG, "authorities": "no pem"}}, ["#/destination/authorities"]),
        ({"name": "n", "destination": {**SYSLOG, "authorities": "é"}}, ["#/destination/authorities"]),
        ({"name": "n", "destination": {**S3, "bucket": "../other"}}, ["#/destination/bucket"]),
        ({"name": "n", "destination": {**S3, "bucket": "a..b", "region": "x/y"}},
         ["#/destination/bucket", "#/destination/region"]),
        ({"name": "n", "destination": {**S3, "prefix": "a/../b"}}, ["#/destination/prefix"]),
        ({"name": "n", "destination": {**S3, "endpoint": "http://10.1.1.1"}}, ["#/destination/endpoint"]),
        ({"name": "n", "destination": {**S3, "flushSeconds": 4}}, ["#/destination/flushSeconds"]),
        ({"name": "n", "destination": HTTPS, "filter": {"actions": ["ok", "*"]}}, ["#/filter/actions/1"]),
        ({"name": "n", "destination": HTTPS, "filter": {"actions": ["a"] * 101}}, ["#/filter/actions"]),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(
    api: httpx.AsyncClient, tenancy: Tenancy, body: Any, pointers: list[str]
) -> None:
    answer = await api.post(PATH, json=body, headers=tenancy.company_auth)
    assert answer.status_code == 400, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers
    listed = await api.get(PATH, headers=tenancy.company_auth)
    assert listed.json()["data"] == []


async def test_a_company_has_ten_streams_however_they_are_made(
    api: httpx.AsyncClient, fresh_url: str, db: Database, tenancy: Tenancy
) -> None:
    async with running_app(fresh_url) as other:
        answers = await asyncio.gather(
            *(
                node.post(PATH, json={"name": "n", "destination": HTTPS}, headers=tenancy.company_auth)
                for node in (api, other) * 6
            )
        )
    assert sorted(answer.status_code for answer in answers) == [201] * STREAMS_AT_MOST + [409, 409]
    stranger = await open_tenancy(db)
    answer = await api.post(PATH, json={"name": "n", "destination": HTTPS}, headers=stranger.company_auth)
    assert answer.status_code == 201
    made = next(answer.json() for answer in answers if answer.status_code == 201)
    for path, method in (("", "GET"), ("", "DELETE"), ("/pause", "POST"), ("/probe", "POST"), ("/backfill", "DELETE")):
        refused = await api.request(method, f"{PATH}/{made['id']}{path}", headers=stranger.company_auth)
        assert refused.status_code == 404
    gone = await api.delete(f"{PATH}/{made['id']}", headers=tenancy.company_auth)
    assert gone.status_code == 204
    again = await api.post(PATH, json={"name": "n", "destination": HTTPS}, headers=tenancy.company_auth)
    assert again.status_code == 201


async def test_every_act_is_told_with_who_did_it(pumping: Pumping, db: Database) -> None:
    stream = await pumping.create(HTTPS)
    await pumping.change(stream, name="b", filter={"actions": ["doc.*"]})
    for act in ("pause", "pause", "resume", "resume"):
        await pumping.act(stream, act)
    await pumping.act(stream, "probe", 202)
    await pumping.act(stream, "backfill", 202, since="2026-01-01T00:00:00Z")
    path, headers = f"{PATH}/{stream['id']}", pumping.tenancy.company_auth
    await pumping.api.delete(f"{path}/backfill", headers=headers)
    await pumping.api.delete(path, headers=headers)
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select name, actor::text as actor from mainstay.announcements where name like 'stream.%' order by id"
        )
    assert [row["name"].removeprefix("stream.") for row in rows] == [
        "created", "changed", "paused", "resumed", "probed", "backfill_started", "backfill_cancelled", "deleted",
    ]  # fmt: skip
    assert {orjson.loads(row["actor"])["id"] for row in rows} == {pumping.tenancy.company_key_id}
    async with db.connection() as connection:
        assert await connection.fetchval("select count(*) from mainstay.stream_positions") == 0


async def test_a_change_of_the_destination_keeps_its_type_and_the_secret_that_signs(pumping: Pumping) -> None:
    stream = await pumping.create(HTTPS)
    refused = await pumping.api.patch(
        f"{PATH}/{stream['id']}", json={"destination": SPLUNK}, headers=pumping.tenancy.company_auth
    )
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "#/destination/type")
    changed = await pumping.change(stream, destination={**HTTPS, "url": "http://127.0.0.1:9/other"}, form="ocsf")
    assert (changed["destination"]["url"], changed["form"]) == ("http://127.0.0.1:9/other", "ocsf")
    assert "secret" not in changed


@pytest.mark.parametrize(
    "since",
    [
        "yesterday",
        "2026-01-01T00:00:00",
        7,
        None,
        "0001-01-01T00:00:00+14:00",
        "1899-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
    ],
)
async def test_a_backfill_begins_at_a_time_with_a_zone(pumping: Pumping, since: Any) -> None:
    stream = await pumping.create(HTTPS)
    answer = await pumping.api.post(
        f"{PATH}/{stream['id']}/backfill", json={"since": since}, headers=pumping.tenancy.company_auth
    )
    assert answer.status_code == 400


async def test_a_new_master_secret_asks_for_the_secrets_anew(fresh_url: str, pumping: Pumping) -> None:
    made = {one["type"]: await pumping.create(one) for one in (SPLUNK, HTTPS)}
    async with running_app(fresh_url, MAINSTAY_SECRET="another-master-secret-of-forty-characters") as later:
        headers = pumping.tenancy.company_auth
        answers = {
            one["type"]: await later.patch(
                f"{PATH}/{made[one['type']]['id']}", json={"destination": one}, headers=headers
            )
            for one in (SPLUNK, HTTPS)
        }
        assert {name: answer.status_code for name, answer in answers.items()} == {"splunk": 200, "https": 409}
        listed = await later.get(PATH, headers=headers)
        assert listed.status_code == 200
