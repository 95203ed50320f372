"""Every kind of destination takes what is stored: once, whole, in order, in both forms."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from mainstay.streams.destinations import collectors
from tests.objects import KEY_ID, SECRET, S3Server
from tests.receivers import tls_pair
from tests.streams.conftest import Pumping
from tests.streams.peers import API_KEY, TOKEN, Collector, Intake, Peer, Server, http_peer, syslog_peer

KINDS = ("s3", "splunk", "splunk with acknowledgement", "datadog", "syslog", "syslog over tls", "https")


class Bucket(Peer):
    """A bucket seen through its own client library."""

    def __init__(self, server: S3Server) -> None:
        super().__init__()
        self.server = server
        self.name = server.bucket()

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        """The lines of each object, by its name."""
        client = self.server.client()
        names = [one["Key"] for one in client.list_objects_v2(Bucket=self.name).get("Contents", [])]
        bodies = {name: client.get_object(Bucket=self.name, Key=name)["Body"].read() for name in sorted(names)}
        return {
            name: [orjson.loads(line) for line in gzip.decompress(body).splitlines()] for name, body in bodies.items()
        }


@asynccontextmanager
async def peer_of(kind: str, server: S3Server, place: Path) -> AsyncIterator[tuple[Peer, dict[str, Any]]]:
    """A peer of that kind, and the destination that leads there."""
    if kind == "s3":
        bucket = Bucket(server)
        yield bucket, {
            "type": "s3", "bucket": bucket.name, "endpoint": server.endpoint, "accessKeyId": KEY_ID,
            "secretAccessKey": SECRET, "prefix": "audit/our-logs", "flushSeconds": 5,
        }  # fmt: skip
    elif kind.startswith("splunk"):
        collector = Collector()
        collector.acknowledges = "acknowledgement" in kind
        path = "/services/collector"
        async with http_peer(collector, f"{path}/event", collector.take, (f"{path}/ack", collector.tell)):
            yield collector, {
                "type": "splunk", "url": collector.address, "token": TOKEN, "index": "audit",
                "acknowledge": collector.acknowledges,
            }  # fmt: skip
    elif kind == "datadog":
        intake = Intake()
        async with http_peer(intake, "/api/v2/logs", intake.take):
            yield intake, {"type": "datadog", "url": intake.address, "apiKey": API_KEY, "tags": ["env:test"]}
    elif kind == "https":
        own = Server()
        async with http_peer(own, "/in", own.take):
            yield own, {"type": "https", "url": f"{own.address}/in"}
    else:
        tls = tls_pair(place, "127.0.0.1")[0] if "tls" in kind else None
        authorities = next(place.glob("*.pem")).read_text() if tls else None
        async with syslog_peer(tls) as receiver:
            yield receiver, {
                "type": "syslog", "host": "127.0.0.1", "port": int(receiver.address), "tls": tls is not None,
                **({"authorities": authorities} if authorities else {}),
            }  # fmt: skip


@pytest.mark.parametrize("form", ["native", "ocsf"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_stored_arrives_once_and_in_order(
    pumping: Pumping, kind: str, form: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with peer_of(kind, s3_server, tmp_path) as (peer, destination):
        await pumping.send("before.the_stream")
        stream = await pumping.create(destination, form=form)
        if isinstance(peer, Server):
            peer.secret = stream["secret"]
        sent = await pumping.send(
            *({"action": "doc.read", "payload": {"n": n, "text": 'Grüße\n]\\"'}} for n in range(5)),
            {"action": "user.created", "actor": {"id": "u-1", "name": "Ann"}, "target": {"id": "t", "type": "user"}},
        )
        assert (await pumping.read(stream))["lag"]["events"] == 6
        await pumping.settle()
        if isinstance(peer, Bucket):
            peer.taken = [event for lines in peer.objects().values() for event in lines]
        of_form = [event["id"] if form == "native" else event["metadata"]["uid"] for event in peer.taken]
        assert [one for one in of_form if one in sent] == sent
        assert len(of_form) == len(set(of_form)) == 6
        payloads = [event["payload"] if form == "native" else event["unmapped"]["payload"] for event in peer.taken]
        assert payloads[4] == {"n": 4, "text": 'Grüße\n]\\"'}
        found = await pumping.read(stream)
        assert (found["state"], found["sent"], found["lag"]) == ("active", 6, {"events": 0, "seconds": 0.0})


async def test_objects_are_named_by_time_and_flushed_at_their_pace(
    pumping: Pumping, s3_server: S3Server, tmp_path: Path, sql_clock: Any
) -> None:
    async with peer_of("s3", s3_server, tmp_path) as (peer, destination):
        assert isinstance(peer, Bucket)
        await pumping.create(destination)
        first = await pumping.send("a", "b")
        await pumping.settle()
        second = [*(await pumping.send("c")), *(await pumping.send("d"))]
        await pumping.settle()
        assert [event["id"] for lines in peer.objects().values() for event in lines] == first
        await sql_clock.move(timedelta(seconds=6))
        await pumping.settle()
        objects = peer.objects()
        assert [[event["id"] for event in lines] for lines in objects.values()] == [first, second]
        moment = next(iter(objects.values()))[0]["receivedAt"]
        day, digits = moment[:10].replace("-", "/"), moment[:-1].replace("-", "").replace(":", "").replace(".", "")
        assert next(iter(objects)).startswith(f"audit/our-logs/{day}/{digits}Z-")


async def test_a_collector_that_does_not_index_has_not_taken(
    pumping: Pumping, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectors, "ACKNOWLEDGED_WITHIN_SECONDS", 0.0)
    async with peer_of("splunk with acknowledgement", s3_server, tmp_path) as (peer, destination):
        assert isinstance(peer, Collector)
        peer.indexes_at_once = False
        stream = await pumping.create(destination)
        sent = await pumping.send("a")
        await pumping.settle()
        found = await pumping.read(stream)
        assert (found["lag"]["events"], found["reason"]) == (1, "not indexed within 0 s")
        peer.indexes_at_once = True
        await pumping.act(stream, "pause")
        await pumping.act(stream, "resume")
        await pumping.settle()
        assert (peer.ids, (await pumping.read(stream))["lag"]["events"]) == (sent * len(peer.batches), 0)


async def test_an_event_over_the_limit_of_the_intake_goes_without_its_bodies(
    pumping: Pumping, s3_server: S3Server, tmp_path: Path
) -> None:
    async with peer_of("datadog", s3_server, tmp_path) as (peer, destination):
        await pumping.create(destination)
        sent = await pumping.send({"action": "large", "payload": {"x": "y" * 1_020_000}}, "small")
        await pumping.settle()
        assert peer.ids == sent
        assert [event.get("bodiesLeftOut") for event in peer.taken] == [True, None]


async def test_a_syslog_receiver_that_breaks_off_gets_the_batch_again(
    pumping: Pumping, s3_server: S3Server, tmp_path: Path
) -> None:
    async with peer_of("syslog", s3_server, tmp_path) as (peer, destination):
        peer.breaks_after = 2  # type: ignore[attr-defined]
        stream = await pumping.create(destination)
        sent = await pumping.send(*({"action": "a", "payload": {"x": "y" * 100_000}} for _ in range(20)))
        await pumping.settle()
        assert (await pumping.read(stream))["reason"].startswith("the connection broke")
        await pumping.act(stream, "pause")
        await pumping.act(stream, "resume")
        await pumping.settle()
        assert peer.ids == [*sent[:2], *sent]
        assert peer.taken[0]["_msgid"] == "a"


async def test_a_receiver_of_an_unknown_authority_gets_nothing(
    pumping: Pumping, s3_server: S3Server, tmp_path: Path
) -> None:
    async with peer_of("syslog over tls", s3_server, tmp_path) as (peer, destination):
        stream = await pumping.create({**destination, "authorities": None})
        await pumping.send("a")
        await pumping.settle()
        found = await pumping.read(stream)
        assert found["reason"].startswith("no connection: tls")
        assert (peer.taken, found["lag"]["events"]) == ([], 1)
        await pumping.change(stream, destination=destination)
        await pumping.settle()
        assert (await pumping.read(stream))["lag"]["events"] == 0
