"""Versions of the payload: the nested one keeps order, bytes of values, and everything that is no event."""

import json

import pytest

from mainstay.webhooks.versions import LATEST, VERSIONS, render

FLAT = (
    '{"type":"invoice.paid","timestamp":"2026-01-02T03:04:05.000006Z","data":{"id":"e1","companyId":"c1",'
    '"action":"invoice.paid","actorId":"u1","actorEmail":null,"actorName":"Zoë \\u0001 \\"Z\\"","targetId":"t1",'
    '"targetType":"invoice","payload":{"big":123456789012345678901234567890,"huge":1e400,"one":1.0,"neg":-0.0,'
    '"exp":1E5,"actorId":"inner","esc":"\\ud83d\\ude00 \\/"},"metadata":null,'
    '"changes":[{"field":"a","old":1}],"seq":7}}'
).encode()
NESTED = (
    '{"type":"invoice.paid","timestamp":"2026-01-02T03:04:05.000006Z","data":{"id":"e1","companyId":"c1",'
    '"action":"invoice.paid","actor":{"id":"u1","email":null,"name":"Zoë \\u0001 \\"Z\\""},'
    '"target":{"id":"t1","type":"invoice"},"payload":{"big":123456789012345678901234567890,"huge":1e400,"one":1.0,'
    '"neg":-0.0,"exp":1E5,"actorId":"inner","esc":"\\ud83d\\ude00 \\/"},"metadata":null,'
    '"changes":[{"field":"a","old":1}],"seq":7}}'
).encode()


def test_version_1_is_the_body_as_stored() -> None:
    assert render(FLAT, 1) is FLAT


def test_version_2_nests_actor_and_target_and_changes_no_byte_of_a_value() -> None:
    assert render(FLAT, 2) == NESTED
    json.loads(NESTED)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"task.created","data":{"title":"x","n":1.50}}',
        b'{"type":"webhook.test","data":{"webhookId":"w"}}',
        b'{"type":"x","data":{"actorId":"u","actorEmail":null,"actorName":null,"targetId":null}}',
        b'{"type":"x","data":[1]}', b'{"type":"x"}', b"[]", b"{", b"", b"\xff", b'"text"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_audit_event_is_the_same_in_every_version(body: bytes, version: int) -> None:
    assert render(body, version) == body


def test_versions_are_numbered_without_gaps_and_others_are_refused() -> None:
    assert tuple(range(1, LATEST + 1)) == VERSIONS
    with pytest.raises(KeyError):
        render(FLAT, LATEST + 1)
