"""What goes out, byte by byte: OCSF, signatures of requests, syslog's frames, and what follows from failures."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from mainstay.kernel.outbound import Answer
from mainstay.streams import forms, ocsf, schemas, standing
from mainstay.streams.destinations.outcomes import judge
from mainstay.streams.destinations.s3 import S3, authorization
from mainstay.streams.destinations.syslog import framed
from mainstay.streams.forms import Batch

NOW = datetime(2026, 3, 4, 5, 6, 7, 89_012, tzinfo=UTC)


def stored(**more: Any) -> dict[str, Any]:
    """A stored event."""
    return {
        "id": "01900000-0000-7000-8000-000000000001", "company_id": "c", "workspace_id": "w", "project_id": None,
        "action": "doc.read", "category": "files", "actor_id": "u-1", "actor_email": "a@example.com",
        "actor_name": "Ann", "target_id": "d-1", "target_type": "doc", "payload": '{"a":1}', "metadata": None,
        "changes": None, "trace_id": "f" * 32, "data_region": "US", "occurred_at": NOW, "received_at": NOW, "seq": 7,
        "prev_hash": bytes(32), "hash": b"\1" * 32, "archived": False, "archival_candidate": False, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("action", "activity"),
    [
        ("user.created", 1), ("key.issued", 1), ("doc.read", 2), ("report.exported", 2), ("doc.updated", 3),
        ("key.rotated", 3), ("doc.deleted", 4), ("key.revoked", 4), ("user.signed_in", 99), ("a", 99),
        ("team.member_added", 1), ("DOC.DELETE", 4), ("doc.re-read", 2),
    ],
)  # fmt: skip
def test_the_activity_is_the_last_word_of_the_action(action: str, activity: int) -> None:
    found = ocsf.api_activity(stored(action=action))
    assert (found["activity_id"], found["type_uid"]) == (activity, 600_300 + activity)


def test_an_event_as_api_activity() -> None:
    found = ocsf.api_activity(stored(metadata='{"ip":"2001:db8::1"}'))
    required = {"activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint"}
    assert required | {"time", "type_uid"} <= found.keys()
    assert (found["category_uid"], found["class_uid"]) == (6, 6003)
    assert found["time"] == 1_772_600_767_089
    assert found["metadata"]["version"] == "1.3.0"
    assert {"name", "vendor_name"} <= found["metadata"]["product"].keys()
    assert found["actor"] == {"user": {"uid": "u-1", "name": "Ann", "email_addr": "a@example.com"}}
    assert found["api"]["operation"] == "doc.read"
    assert found["src_endpoint"] == {"ip": "2001:db8::1"}
    assert found["resources"] == [{"uid": "d-1", "type": "doc"}]
    assert found["unmapped"]["payload"] == {"a": 1}
    json.dumps(found)


@pytest.mark.parametrize(
    ("more", "actor"),
    [
        ({"actor_id": None, "actor_email": None, "actor_name": None}, {"app_name": "files"}),
        ({"actor_id": None, "actor_name": None}, {"user": {"name": "a@example.com", "email_addr": "a@example.com"}}),
        ({"actor_email": None, "actor_name": None}, {"user": {"uid": "u-1"}}),
    ],
)
def test_an_actor_always_has_what_the_schema_asks_for(more: dict[str, Any], actor: dict[str, Any]) -> None:
    assert ocsf.api_activity(stored(**more))["actor"] == actor


@pytest.mark.parametrize("metadata", [None, '{"ip":"nowhere"}', '{"ip":7}', "{}"])
def test_an_unknown_source_is_called_so(metadata: str | None) -> None:
    assert ocsf.api_activity(stored(metadata=metadata))["src_endpoint"] == {"name": "unknown"}


@pytest.mark.parametrize("endpoint", [None, "https://minio.example:9000/base", "https://objects.example:443"])
@pytest.mark.parametrize("prefix", ["", "a=b", "it's(1)/x*y!"])
def test_requests_are_signed_as_the_vendors_library_signs_them(endpoint: str | None, prefix: str) -> None:
    wanted = schemas.S3(
        bucket="b-1", access_key_id="AKID", secret_access_key="secret/+key", region="eu-west-1", prefix=prefix,
        endpoint=endpoint,
    )  # fmt: skip
    sender = S3(wanted, None, NOW)  # type: ignore[arg-type]
    batch = Batch("01900000-0000-7000-8000-00000000aaaa", [forms.render(stored(), "native")])
    scheme, host, path = sender._place(sender._name(batch))
    digest = "ab" * 32
    ours = authorization(host, path, digest, NOW, key_id="AKID", secret="secret/+key", region="eu-west-1")

    class At(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
        def _modify_request_before_signing(self, request: Any) -> None:
            request.headers["X-Amz-Content-SHA256"] = digest

        def payload(self, request: Any) -> str:
            return digest

    request = botocore.awsrequest.AWSRequest("PUT", f"{scheme}://{host}{path}", headers={"host": host})
    request.context["timestamp"] = f"{NOW:%Y%m%dT%H%M%SZ}"
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    request.headers["X-Amz-Content-SHA256"] = digest
    signer = At(botocore.credentials.Credentials("AKID", "secret/+key"), "s3", "eu-west-1")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert ours["Authorization"].endswith(f"Signature={signature}")
    assert f"Credential=AKID/{NOW:%Y%m%d}/eu-west-1/s3/aws4_request" in ours["Authorization"]


def test_the_same_events_make_the_same_batch() -> None:
    events = [forms.render(stored(id=f"01900000-0000-7000-8000-00000000000{n}"), "native") for n in range(3)]
    assert Batch("s", events).id == Batch("s", list(events)).id
    assert len({Batch("s", events).id, Batch("t", events).id, Batch("s", events[:2]).id}) == 3


def test_a_message_of_syslog() -> None:
    event = forms.render(stored(action="a" * 40), "native")
    message = framed(event, "app")
    head = f'<110>1 2026-03-04T05:06:07.089012Z w app - {"a" * 32} [origin software="mainstay"] '
    assert message == head.encode() + event.body


def answered(status: int | None, body: bytes = b"", **headers: str) -> Answer:
    return Answer(
        status, "", headers, body, False, 0.1, "", None if status else "timeout", "" if status else "no answer"
    )


@pytest.mark.parametrize(
    ("status", "ok", "is_permanent"),
    [
        (200, True, False), (204, True, False), (202, True, False), (301, False, True), (400, False, True),
        (401, False, True), (403, False, True), (404, False, True), (408, False, False), (413, False, True),
        (425, False, False), (429, False, False), (500, False, False), (503, False, False), (None, False, False),
    ],
)  # fmt: skip
def test_what_an_answer_says(status: int | None, ok: bool, is_permanent: bool) -> None:
    outcome = judge(answered(status))
    assert (outcome.ok, outcome.is_permanent) == (ok, is_permanent)


def test_a_wish_for_patience_is_bounded_and_a_secret_is_not_repeated() -> None:
    assert judge(answered(503, **{"retry-after": "99999"})).retry_after == timedelta(minutes=15)
    assert judge(answered(503, **{"retry-after": "soon"})).retry_after is None
    assert judge(answered(400, b"bad token abc\n" + b"x" * 500), secrets=["abc"]).reason.startswith(
        "answered 400: bad token (secret) x"
    )
    cut = judge(answered(400, b"x" * 195 + b"a-secret-that-is-long"), secrets=["a-secret-that-is-long"]).reason
    assert cut == "answered 400: " + "x" * 195 + "(secr"


@pytest.mark.parametrize(
    ("state", "failures", "is_permanent", "days", "after"),
    [
        ("active", 0, False, None, "active"), ("active", 3, False, 0, "active"), ("active", 4, False, 0, "failing"),
        ("active", 0, True, None, "failing"), ("failing", 0, False, 0, "failing"), ("failing", 9, True, 29, "failing"),
        ("failing", 9, False, 30, "disabled"),
    ],
)  # fmt: skip
def test_standing(state: str, failures: int, is_permanent: bool, days: int | None, after: str) -> None:
    since = None if days is None else NOW - timedelta(days=days)
    verdict = standing.after_failure(
        state, failures, is_permanent=is_permanent, failing_since=since, now=NOW, rng=Random(1)
    )
    assert verdict.state == after
    assert verdict.rest <= standing.REST_AT_MOST


def test_rests_grow_and_are_spread() -> None:
    def rest(failures: int, seed: int) -> float:
        return standing.after_failure(
            "active", failures, is_permanent=False, failing_since=None, now=NOW, rng=Random(seed)
        ).rest.total_seconds()

    assert [0.5 * 2**n <= rest(n, n) <= 2**n for n in range(8)] == [True] * 8
    assert len({rest(3, seed) for seed in range(20)}) > 10
    assert rest(20, 1) == 300
