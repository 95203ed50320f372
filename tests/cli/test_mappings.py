"""What records of others become, case by case and over every real record."""

import gzip
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from mainstay import events
from mainstay.cli.mappings import Mapped, Unmappable, category_of, map_cloudtrail, map_github, map_ndjson

RECORD: dict[str, Any] = {
    "eventSource": "s3.amazonaws.com",
    "eventName": "PutObject",
    "eventTime": "2023-07-10T11:42:18Z",
    "eventID": "875240ac-e821-4fc6-a311-8c352a1d20f5",
    "userIdentity": {"arn": "arn:aws:iam::1:user/ann", "userName": "ann"},
    "awsRegion": "us-east-1",
    "sourceIPAddress": "10.0.0.1",
    "readOnly": False,
}


def one(mapper: Any, line: bytes) -> tuple[dict[str, Any], str]:
    """The only event of a line, and its key."""
    (found,) = mapper(line)
    assert isinstance(found, Mapped)
    event = orjson.loads(found.body)
    assert event.pop("idempotencyKey") == found.key
    return event, found.key


def cloudtrail(**more: Any) -> dict[str, Any]:
    """The event of a CloudTrail record with these members."""
    return one(map_cloudtrail, orjson.dumps({**RECORD, **more}))[0]


def lines_of(path: Path) -> list[bytes]:
    with gzip.open(path) as source:
        return source.readlines()


def test_a_cloudtrail_record_maps_to_every_part() -> None:
    event, key = one(map_cloudtrail, orjson.dumps(RECORD))
    assert event == {
        "action": "s3.PutObject",
        "category": "write",
        "actor": {"id": "arn:aws:iam::1:user/ann", "name": "ann"},
        "occurredAt": "2023-07-10T11:42:18Z",
        "metadata": {"region": "us-east-1", "sourceIp": "10.0.0.1"},
        "payload": RECORD,
    }
    assert key == "cloudtrail:875240ac-e821-4fc6-a311-8c352a1d20f5"


@pytest.mark.parametrize(
    ("more", "category"),
    [
        ({"readOnly": True}, "read"),
        ({"readOnly": None}, "write"),
        ({"errorCode": "AccessDenied"}, "denied"),
        ({"errorCode": "AccessDeniedException", "readOnly": True}, "denied"),
        ({"errorCode": "Client.UnauthorizedOperation"}, "denied"),
        ({"errorCode": "UnauthorisedAccess"}, "denied"),
        ({"errorCode": "NotAuthorizedException"}, "denied"),
        ({"errorCode": "AWS.Forbidden"}, "denied"),
        ({"errorCode": "ThrottlingException"}, "error"),
        ({"errorCode": ""}, "write"),
        ({"eventSource": "sts.amazonaws.com", "eventName": "AssumeRole"}, "auth"),
        ({"eventSource": "sts.amazonaws.com", "errorCode": "AccessDenied"}, "denied"),
        ({"eventSource": "signin.amazonaws.com", "eventName": "CheckMfa"}, "auth"),
        ({"eventName": "ConsoleLogin", "responseElements": {"ConsoleLogin": "Failure"}}, "console-login-failed"),
        (
            {
                "eventSource": "signin.amazonaws.com",
                "eventName": "ConsoleLogin",
                "errorMessage": "Failed authentication",
                "responseElements": {"ConsoleLogin": "Failure"},
            },
            "console-login-failed",
        ),
        (
            {
                "eventSource": "signin.amazonaws.com",
                "eventName": "ConsoleLogin",
                "responseElements": {"ConsoleLogin": "Success"},
            },
            "auth",
        ),
        ({"eventName": "ConsoleLogin", "responseElements": "odd"}, "write"),
    ],
)
def test_the_first_category_that_holds_is_taken(more: dict[str, Any], category: str) -> None:
    assert category_of({**RECORD, **more}) == category


@pytest.mark.parametrize(
    ("identity", "actor"),
    [
        ({"arn": "a", "principalId": "p", "userName": "u"}, {"id": "a", "name": "u"}),
        ({"principalId": "p", "userName": "u"}, {"id": "p", "name": "u"}),
        ({"arn": "a", "sessionContext": {"sessionIssuer": {"userName": "role"}}}, {"id": "a", "name": "role"}),
        ({"type": "AWSService", "invokedBy": "x.amazonaws.com"}, {"id": "x.amazonaws.com", "name": "x.amazonaws.com"}),
        ({"accountId": "1"}, {"id": "1"}),
        ({"arn": "a" * 600}, {"id": "a" * 512}),
        ({}, None),
        (None, None),
        ("odd", None),
    ],
)
def test_the_actor_is_who_is_named_most_exactly(identity: Any, actor: Any) -> None:
    assert cloudtrail(userIdentity=identity).get("actor") == actor


@pytest.mark.parametrize(
    ("more", "target"),
    [
        ({"resources": [{"ARN": "arn:x", "type": "AWS::S3::Bucket"}]}, {"id": "arn:x", "type": "AWS::S3::Bucket"}),
        ({"resources": [{"accountId": "1"}, {"ARN": "arn:y"}]}, {"id": "arn:y"}),
        ({"requestParameters": {"bucketName": "b"}}, {"id": "b", "type": "bucket"}),
        ({"requestParameters": {"filterSet": {}, "roleName": "r"}}, {"id": "r", "type": "role"}),
        ({"requestParameters": {"name": {"odd": 1}}}, None),
        ({"resources": "odd", "requestParameters": None}, None),
    ],
)
def test_the_target_is_the_resource_or_what_was_asked_for(more: dict[str, Any], target: Any) -> None:
    assert cloudtrail(**more).get("target") == target


@pytest.mark.parametrize(
    ("source", "name", "action"),
    [
        ("resource-explorer-2.amazonaws.com", "Search", "resource-explorer-2.Search"),
        ("odd source", "Do It.now", "odd-source.Do-It-now"),
        ("x" * 200 + ".amazonaws.com", "y" * 200, "x" * 63 + "." + "y" * 63),
    ],
)
def test_an_action_fits_the_pattern(source: str, name: str, action: str) -> None:
    assert cloudtrail(eventSource=source, eventName=name)["action"] == action


def test_the_payload_keeps_the_bytes_of_the_file() -> None:
    line = (
        b'{"eventSource":"a","eventName":"b","eventTime":"t","n":1.0,"big":12345678901234567890123,"dup":1,"dup":2}\n'
    )
    (found,) = map_cloudtrail(line)
    assert isinstance(found, Mapped)
    assert b'"payload":' + line.strip() in found.body


def test_a_delivered_log_file_gives_each_of_its_records() -> None:
    bad = {**RECORD, "eventName": None}
    first, second, third = map_cloudtrail(orjson.dumps({"Records": [RECORD, bad, {**RECORD, "eventID": "2"}]}))
    assert isinstance(first, Mapped)
    assert isinstance(second, Unmappable)
    assert second.pointer == "#/eventName"
    assert isinstance(third, Mapped)
    assert third.key == "cloudtrail:2"


def test_a_github_webhook_maps_to_every_part() -> None:
    payload = {
        "action": "opened",
        "sender": {"id": 7, "login": "ann", "email": None},
        "repository": {"full_name": "acme/app"},
        "n": 1.5,
    }
    line = orjson.dumps({"event": "pull_request", "name": "opened.json", "payload": payload})
    event, key = one(map_github, line)
    assert event == {
        "action": "pull_request.opened",
        "category": "github",
        "actor": {"id": "7", "name": "ann"},
        "target": {"id": "acme/app", "type": "repository"},
        "metadata": {"name": "opened.json"},
        "payload": payload,
    }
    assert one(map_github, line)[1] == key
    assert one(map_github, line.replace(b"opened.json", b"other.json"))[1] != key
    assert one(map_github, line.replace(b"1.5", b"1.6"))[1] != key


@pytest.mark.parametrize(
    ("payload", "action", "target"),
    [
        ({}, "ping", None),
        ({"action": None, "organization": {"login": "acme"}}, "ping", {"id": "acme", "type": "organization"}),
        ({"action": "a b", "enterprise": {"slug": "e"}}, "ping.a-b", {"id": "e", "type": "enterprise"}),
        ({"action": 7, "sender": None}, "ping", None),
    ],
)
def test_a_github_webhook_may_lack_nearly_everything(payload: Any, action: str, target: Any) -> None:
    event, _ = one(map_github, orjson.dumps({"event": "ping", "payload": payload}))
    assert (event["action"], event.get("target")) == (action, target)
    assert "actor" not in event


def test_a_line_of_our_own_shape_passes_as_it_is() -> None:
    line = b'{"action":"a.b","actor":{"id":"1"},"payload":{"n":1.0,"z":1,"a":2},"idempotencyKey":"k","projectId":null}'
    (found,) = map_ndjson(line)
    assert isinstance(found, Mapped)
    assert found.body == b'{"action":"a.b","actor":{"id":"1"},"payload":{"n":1.0,"z":1,"a":2},"idempotencyKey":"k"}'


def test_an_exported_event_takes_our_shape_and_its_id_as_key() -> None:
    line = orjson.dumps(
        {
            "id": "e1", "companyId": "c", "workspaceId": "w", "projectId": "p", "action": "a.b", "category": "x",
            "actorId": "1", "actorEmail": "a@b.example", "actorName": None, "targetId": "t", "targetType": "thing",
            "payload": {"a": 1}, "metadata": None, "changes": None, "hash": "h", "prevHash": "p", "traceId": "t",
            "archived": False, "archivalCandidate": False, "dataRegion": "US", "createdAt": "2026-01-02T03:04:05Z",
        }
    )  # fmt: skip
    event, key = one(map_ndjson, line)
    assert key == "e1"
    assert event == {
        "projectId": "p", "action": "a.b", "category": "x", "actor": {"id": "1", "email": "a@b.example"},
        "target": {"id": "t", "type": "thing"}, "payload": {"a": 1}, "occurredAt": "2026-01-02T03:04:05Z",
    }  # fmt: skip


def test_a_line_without_a_key_gets_one_from_its_content() -> None:
    keys = {one(map_ndjson, line)[1] for line in (b'{"action":"a"}', b'{"action":"a"}\n', b'{"action":"b"}')}
    assert len(keys) == 2
    assert len(one(map_ndjson, orjson.dumps({"action": "a", "id": "x" * 300}))[1]) <= 256


@pytest.mark.parametrize(
    ("mapper", "line", "pointer"),
    [
        (map_cloudtrail, b"not json", "#"),
        (map_cloudtrail, b'{"a":"\xff"}', "#"),
        (map_cloudtrail, b"[]", "#"),
        (map_cloudtrail, b"{}", "#/eventSource"),
        (map_cloudtrail, b'{"eventSource":"a","eventName":"b"}', "#/eventTime"),
        (map_github, b'{"payload":{}}', "#/event"),
        (map_github, b'{"event":"x","payload":[]}', "#/payload"),
        (map_ndjson, b"7", "#"),
        (map_ndjson, b'{"action":"a","actor":{"id":"1"},"actorId":"1"}', "#/actorId"),
    ],
)
def test_what_is_no_such_record_is_refused_with_a_place(mapper: Any, line: bytes, pointer: str) -> None:
    with pytest.raises(Unmappable) as refusal:
        list(mapper(line))
    assert refusal.value.pointer == pointer


def test_every_real_record_becomes_an_event_that_the_service_takes(shared_data: Path) -> None:
    place = events.Place("w", "c", "US", None)
    for name, mapper, count in (("cloudtrail", map_cloudtrail, 2_900), ("github-webhooks", map_github, 273)):
        keys = set()
        for line in lines_of(shared_data / f"{name}.ndjson.gz"):
            (found,) = mapper(line)
            assert isinstance(found, Mapped)
            events.intake.prepare(found.body, place, "0" * 32)
            keys.add(found.key)
            source = json.loads(line)
            assert json.loads(found.body)["payload"] == (source if name == "cloudtrail" else source["payload"])
        assert len(keys) == count
