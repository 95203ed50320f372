"""Object stores: what holds of an S3 bucket and of a local directory alike, and what trouble looks like."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from mainstay.kernel import objects as kernel_objects
from mainstay.kernel import settings
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.objects import PART_BYTES, WHOLE_BYTES, ObjectChanged, ObjectExists, ObjectNotFound, Objects
from tests.objects import S3Server, s3_server

__all__ = ["s3_server"]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "local":
        return Objects.open((tmp_path / "store").as_uri())
    server: S3Server = request.getfixturevalue("s3_server")
    return server.objects(server.bucket(), "some/prefix")


async def content(store: Objects, name: str) -> bytes:
    return b"".join([piece async for piece in store.get(name)])


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def names(store: Objects, prefix: str = "") -> list[str]:
    return [one.name async for one in store.list(prefix)]


async def test_what_is_put_is_read_back(store: Objects) -> None:
    stored = await store.put("a/b.json.gz", b"hello")
    assert (stored.name, stored.bytes) == ("a/b.json.gz", 5)
    assert await store.head("a/b.json.gz") == stored
    assert await content(store, "a/b.json.gz") == b"hello"
    again = await store.put("a/b.json.gz", stream(b"", b"hel", b"lo!"))
    assert again.bytes == 6
    assert again.etag != stored.etag
    assert await content(store, "a/b.json.gz") == b"hello!"
    assert (await store.put("empty", b"")).bytes == 0
    assert await content(store, "empty") == b""


async def test_what_is_not_there_is_not_found(store: Objects) -> None:
    with pytest.raises(ObjectNotFound):
        await store.head("nothing")
    with pytest.raises(ObjectNotFound):
        await content(store, "nothing")
    await store.delete("nothing")
    await store.put("something", b"x")
    await store.delete("something")
    with pytest.raises(ObjectNotFound):
        await store.head("something")
    assert await names(store) == []


async def test_objects_are_listed_in_the_order_of_their_names(store: Objects) -> None:
    for name in ("b/2", "a/1", "b/1", "bb/1"):
        await store.put(name, b"x", create_only=True)
    assert await names(store) == ["a/1", "b/1", "b/2", "bb/1"]
    assert await names(store, "b") == ["b/1", "b/2"]
    assert await names(store, "none") == []


@pytest.mark.parametrize("size", [3, WHOLE_BYTES + 1], ids=["small", "in parts"])
async def test_only_a_new_object_is_created(store: Objects, size: int) -> None:
    first = await store.put("day", stream(b"1" * size), create_only=True)
    with pytest.raises(ObjectExists):
        await store.put("day", stream(b"2" * size), create_only=True)
    assert await store.head("day") == first


@pytest.mark.parametrize("size", [3, WHOLE_BYTES + 1], ids=["small", "in parts"])
async def test_an_object_is_replaced_only_as_it_was_read(store: Objects, size: int) -> None:
    first = await store.put("day", b"one")
    second = await store.put("day", stream(b"2" * size), replaces=first.etag)
    assert second.etag != first.etag
    with pytest.raises(ObjectChanged):
        await store.put("day", stream(b"3" * size), replaces=first.etag)
    with pytest.raises(ObjectChanged):
        await store.put("other", stream(b"3" * size), replaces=first.etag)
    assert await store.head("day") == second
    assert await names(store) == ["day"]


async def test_of_simultaneous_creators_one_wins(store: Objects) -> None:
    tries = await asyncio.gather(
        *(store.put("day", stream(b"%d" % number), create_only=True) for number in range(8)), return_exceptions=True
    )
    won = [number for number, one in enumerate(tries) if not isinstance(one, Exception)]
    assert len(won) == 1
    assert all(isinstance(one, ObjectExists) for number, one in enumerate(tries) if number not in won)
    assert await content(store, "day") == b"%d" % won[0]


@pytest.mark.parametrize("size", [3, PART_BYTES + 1], ids=["small", "in parts"])
@pytest.mark.parametrize("create_only", [True, False])
async def test_a_body_that_fails_leaves_what_was_there(store: Objects, size: int, create_only: bool) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * size
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        await store.put("new", failing(), create_only=create_only)
    assert await names(store) == []
    kept = await store.put("old", b"old")
    with pytest.raises(RuntimeError, match="no more"):
        await store.put("old", failing())
    assert await store.head("old") == kept


async def test_a_reader_never_sees_two_versions_mixed(store: Objects) -> None:
    size = kernel_objects.READ_BYTES + 10
    stored = await store.put("day", b"1" * size)
    reading = store.get("day", etag=stored.etag)
    assert await anext(reading) == b"1" * kernel_objects.READ_BYTES
    await store.put("day", b"2" * size)
    with pytest.raises((ObjectChanged, Unavailable)):
        await anext(reading)
    with pytest.raises(ObjectChanged):
        await anext(store.get("day", etag=stored.etag))


async def test_names_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    store = Objects.open((tmp_path / "store").as_uri())
    for name in ("../x", "a//b", "/x", "a/./b"):
        with pytest.raises(Unavailable):
            await store.put(name, b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


async def test_a_bucket_that_is_away_is_unavailable(s3_server: S3Server) -> None:
    missing = s3_server.objects("no-such-bucket")
    with pytest.raises(Unavailable):
        await missing.put("x", b"x")
    with pytest.raises(Unavailable):
        await missing.head("x")
    with pytest.raises(Unavailable):
        await names(missing)
    nobody = Objects.open("s3://bucket", endpoint="http://127.0.0.1:9", key_id="x", secret="y")
    with pytest.raises(Unavailable):
        await nobody.head("x")


async def test_a_directory_that_vanished_is_unavailable(tmp_path: Path) -> None:
    store = Objects.open((tmp_path / "store").as_uri())
    await store.put("x", b"x")
    await store.delete("x")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        await store.head("x")


async def test_a_directory_that_takes_no_writes_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Objects.open((tmp_path / "file" / "store").as_uri())
    with pytest.raises(Unavailable):
        await store.put("x", b"x")
    full = Objects.open((tmp_path / "full").as_uri())
    (tmp_path / "full" / ".staging").symlink_to("/dev/full")
    with pytest.raises(Unavailable):
        await full.put("x", b"x")


async def test_what_a_killed_writer_left_is_swept_after_a_day(tmp_path: Path) -> None:
    staging = tmp_path / ".staging"
    staging.mkdir()
    for name in ("old", "young"):
        (staging / name).write_bytes(b"half")
    os.utime(staging / "old", (1, 1))
    store = Objects.open(tmp_path.as_uri())
    assert [path.name for path in staging.iterdir()] == ["young"]
    assert await names(store) == []


@pytest.mark.contract("HL-C-02", "HL-C-03", "HL-C-04", "HL-C-05")
async def test_what_the_settings_of_amazon_say_signs_each_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    key_id, secret, asked = "AKIDOFOURS", "a-secret-that-nobody-logs", []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        await reader.readexactly(length)
        writer.write(b'HTTP/1.1 200 OK\r\netag: "1"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = Objects.of(
        settings.load(
            {
                "DATABASE_URL": "postgresql://u@127.0.0.1/x",
                "PROFILE": "development",
                "MAINSTAY_SECRET": "m" * 40,
                "JWT_ACCESS_SECRET": "j" * 40,
                "S3_ENDPOINT": endpoint,
                "AWS_ACCESS_KEY_ID": key_id,
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_REGION": "eu-west-3",
                "AWS_S3_BUCKET": "events-of-ours",
            }
        )
    )
    assert store is not None
    async with server:
        await store.put("day/1", b"content", create_only=True)
    (head,) = asked
    assert head.startswith("PUT /events-of-ours/day/1 ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.splitlines()[1:])}
    parts = dict(part.strip().split("=", 1) for part in headers["authorization"].partition(" ")[2].split(","))
    assert parts["Credential"].split("/")[0] == key_id
    assert parts["Credential"].split("/")[2:] == ["eu-west-3", "s3", "aws4_request"]
    assert parts["Signature"] == signature_of(headers, parts, f"{endpoint}/events-of-ours/day/1", (key_id, secret))
    assert secret not in head + caplog.text


def signature_of(headers: dict[str, str], parts: dict[str, str], url: str, credentials: tuple[str, str]) -> str:
    """What another implementation signs such a request with."""
    signed = {name: headers[name] for name in parts["SignedHeaders"].split(";") if name != "host"}
    request = AWSRequest("PUT", url, headers=signed)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = S3SigV4Auth(Credentials(*credentials), "s3", parts["Credential"].split("/")[2])
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(text, request))
