"""Signatures: the published vector, verifiers that others wrote, and every way in which a message may be wrong."""

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from mainstay.webhooks.signing import (
    BadSignature,
    documented_signature,
    headers_for,
    new_secret,
    public_key,
    sign,
    verify,
)

VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = 1_614_265_330
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
VECTOR_HEADERS = {
    "webhook-id": VECTOR_ID,
    "webhook-timestamp": str(VECTOR_TIME),
    "webhook-signature": VECTOR_SIGNATURE,
}
BODY = '{"type":"task.created","data":{"name":"Zoë 🙂"}}'.encode()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

Verifier = Callable[[str, bytes, dict[str, str]], object]
PEERS: dict[str, Verifier] = {
    "standardwebhooks": lambda secret, body, headers: standardwebhooks.Webhook(secret).verify(body, headers),
    "svix": lambda secret, body, headers: svix.webhooks.Webhook(secret).verify(body, headers),
    "ours": lambda secret, body, headers: verify([secret], headers, body, now_seconds=time.time()),
}


def headers_of(*secrets: str, body: bytes = BODY, at_seconds: int | None = None, **changed: Any) -> dict[str, str]:
    return headers_for(
        brand=changed.get("brand", "NovaPulse"),
        webhook_id=changed.get("webhook_id", "wh_1"),
        message_id=changed.get("message_id", "msg_1"),
        event_type=changed.get("event_type", "task.created"),
        trace_id=changed.get("trace_id", TRACE),
        span_id=changed.get("span_id", "00f067aa0ba902b7"),
        timestamp_seconds=int(time.time()) if at_seconds is None else at_seconds,
        secrets=secrets,
        body=body,
        scheme=changed.get("scheme", "hmac"),
    )


def test_the_published_vector() -> None:
    assert sign([VECTOR_SECRET], VECTOR_ID, VECTOR_TIME, VECTOR_BODY) == VECTOR_SIGNATURE
    verify([VECTOR_SECRET], VECTOR_HEADERS, VECTOR_BODY, now_seconds=VECTOR_TIME)


def test_a_new_secret_is_32_random_bytes_behind_the_prefix() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_the_documented_signature_is_keyed_with_the_secrets_text() -> None:
    secret = new_secret()
    expected = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    assert documented_signature(secret, BODY) == f"sha256={expected}"
    assert expected == expected.lower()
    assert len(expected) == 64


def test_every_header_of_an_attempt() -> None:
    secret = new_secret()
    headers = headers_of(secret, at_seconds=VECTOR_TIME)
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": "NovaPulse-Webhooks/1.0",
        "X-NovaPulse-Signature": documented_signature(secret, BODY),
        "X-NovaPulse-Event": "task.created",
        "X-NovaPulse-Webhook-Id": "wh_1",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(VECTOR_TIME),
        "webhook-signature": sign([secret], "msg_1", VECTOR_TIME, BODY),
        "X-Trace-Id": TRACE,
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }


def test_the_brand_changes_names_and_no_value() -> None:
    secret = new_secret()
    ours = headers_of(secret, at_seconds=VECTOR_TIME)
    theirs = headers_of(secret, at_seconds=VECTOR_TIME, brand="Acme")
    for name in ("Signature", "Event", "Webhook-Id"):
        assert theirs[f"X-Acme-{name}"] == ours[f"X-NovaPulse-{name}"]
    assert not any("NovaPulse" in name for name in theirs)


@pytest.mark.parametrize("name", ["event_type", "webhook_id", "message_id", "trace_id", "span_id"])
@pytest.mark.parametrize("text", ["a\r\nX-Injected: b", "a\nb", "a\x00b", "a\ud800b"])
def test_a_header_value_with_control_characters_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        headers_of(new_secret(), **{name: text})


def test_a_dot_in_the_message_id_and_a_brand_that_is_no_header_name_are_refused() -> None:
    with pytest.raises(ValueError, match="dot"):
        headers_of(new_secret(), message_id="msg.1")
    for brand in ("", "Nova Pulse", "Nova\r\n", "Növa", "-Nova", "Nova:"):
        with pytest.raises(ValueError, match="BRAND"):
            headers_of(new_secret(), brand=brand)


@pytest.mark.parametrize("peer", PEERS)
def test_verifiers_of_others_accept_ours_and_refuse_what_was_changed(peer: str) -> None:
    accepts, secret = PEERS[peer], new_secret()
    headers = headers_of(secret)
    accepts(secret, BODY, headers)
    tampered = [
        (secret, BODY.replace(b"task", b"tusk"), headers),
        (secret, BODY, headers | {"webhook-id": "msg_2"}),
        (secret, BODY, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}),
        (new_secret(), BODY, headers),
        (secret, BODY, headers_of(secret, at_seconds=int(time.time()) - 310)),
        (secret, BODY, headers_of(secret, at_seconds=int(time.time()) + 310)),
        (secret, BODY, {name: value for name, value in headers.items() if name != "webhook-signature"}),
    ]
    for wrong in tampered:
        with pytest.raises((BadSignature, standardwebhooks.WebhookVerificationError)):
            accepts(*wrong)


@pytest.mark.parametrize("peer", PEERS)
def test_during_a_rotation_the_holder_of_either_secret_accepts(peer: str) -> None:
    new, old = new_secret(), new_secret()
    headers = headers_of(new, old)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert headers["X-NovaPulse-Signature"] == documented_signature(new, BODY)
    PEERS[peer](new, BODY, headers)
    PEERS[peer](old, BODY, headers)


@given(
    body=st.binary(max_size=300),
    message_id=st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
    at_seconds=st.integers(0, 999_999_999_999),
    flip=st.integers(0, 7),
    keys=st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=3),
)
@example(body=b"\xff\xfe not UTF-8", message_id="m", at_seconds=0, flip=0, keys=[b"k"])
def test_what_was_signed_verifies_and_one_flipped_bit_does_not(
    body: bytes, message_id: str, at_seconds: int, flip: int, keys: list[bytes]
) -> None:
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    headers = headers_of(*secrets, body=body, at_seconds=at_seconds, message_id=message_id)
    for secret in secrets:
        verify([secret], headers, body, now_seconds=at_seconds)
    changed = bytes([body[0] ^ 1 << flip]) + body[1:] if body else b"x"
    with pytest.raises(BadSignature, match="no signature matches"):
        verify(secrets, headers, changed, now_seconds=at_seconds)


@pytest.mark.parametrize(
    "extra",
    ["v1", "v1,", "v1,!!!", "v1,é", "v1a,abcd", "v2,abcd", ",", "v1,a,b", "\ud800", "v1," + "A" * 10_000, "   "],
    ids=ascii,
)
def test_tokens_that_do_not_parse_are_skipped_wherever_they_stand(extra: str) -> None:
    for signature in (f"{extra} {VECTOR_SIGNATURE}", f"{VECTOR_SIGNATURE} {extra}"):
        verify([VECTOR_SECRET], VECTOR_HEADERS | {"webhook-signature": signature}, VECTOR_BODY, now_seconds=VECTOR_TIME)
    with pytest.raises(BadSignature):
        verify([VECTOR_SECRET], VECTOR_HEADERS | {"webhook-signature": extra}, VECTOR_BODY, now_seconds=VECTOR_TIME)


@pytest.mark.parametrize("away_seconds", [-300, 0, 300])
def test_the_tolerance_holds_in_both_directions_at_its_edge(away_seconds: int) -> None:
    verify([VECTOR_SECRET], VECTOR_HEADERS, VECTOR_BODY, now_seconds=VECTOR_TIME + away_seconds)


@pytest.mark.parametrize(("away_seconds", "reason"), [(301, "too old.*301 s"), (-301, "too far in the future.*301 s")])
def test_beyond_the_tolerance_the_reason_names_the_clock(away_seconds: int, reason: str) -> None:
    with pytest.raises(BadSignature, match=f"{reason}.*clock"):
        verify([VECTOR_SECRET], VECTOR_HEADERS, VECTOR_BODY, now_seconds=VECTOR_TIME + away_seconds)


@pytest.mark.parametrize("name", VECTOR_HEADERS)
def test_a_missing_header_is_named_and_names_ignore_case(name: str) -> None:
    shouted = {key.upper(): value for key, value in VECTOR_HEADERS.items()}
    verify([VECTOR_SECRET], shouted, VECTOR_BODY, now_seconds=VECTOR_TIME)
    del shouted[name.upper()]
    with pytest.raises(BadSignature, match=f"missing header: {name}"):
        verify([VECTOR_SECRET], shouted, VECTOR_BODY, now_seconds=VECTOR_TIME)


@pytest.mark.parametrize(
    "timestamp", ["soon", "1614265330.0", "-1", "+1614265330", " 1614265330", "1e9", "١٦١٤", "9" * 13]
)
def test_a_timestamp_that_is_no_whole_number_is_refused(timestamp: str) -> None:
    with pytest.raises(BadSignature, match="whole number"):
        verify([VECTOR_SECRET], VECTOR_HEADERS | {"webhook-timestamp": timestamp}, VECTOR_BODY, now_seconds=VECTOR_TIME)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("v1," + VECTOR_SECRET, "pasted with 'v1,'"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("", "does not begin with whsec_"),
        ("whsec_", "not base64"),
        ("whsec_not base64!", "not base64"),
        ("whsec_A", "not base64"),
    ],
)
def test_a_secret_that_cannot_be_right_is_explained(secret: str, reason: str) -> None:
    with pytest.raises(BadSignature, match=reason):
        verify([secret], VECTOR_HEADERS, VECTOR_BODY, now_seconds=VECTOR_TIME)
    with pytest.raises(ValueError, match=reason):
        sign([secret], VECTOR_ID, VECTOR_TIME, VECTOR_BODY)


def test_without_a_secret_nothing_is_accepted() -> None:
    with pytest.raises(BadSignature, match="no secret"):
        verify([], VECTOR_HEADERS, VECTOR_BODY, now_seconds=VECTOR_TIME)


def test_a_secret_without_padding_is_the_same_secret() -> None:
    secret = new_secret()
    assert sign([secret], "m", 1, b"x") == sign([secret.rstrip("=")], "m", 1, b"x")


def test_the_signed_bytes_are_the_bytes_sent() -> None:
    secret, spaced = new_secret(), json.dumps(json.loads(BODY)).encode()
    assert documented_signature(secret, spaced) != documented_signature(secret, BODY)
    with pytest.raises(BadSignature):
        verify([secret], headers_of(secret), spaced, now_seconds=time.time())


SCHEME_SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def test_ed25519_tokens_hold_by_a_check_that_no_one_here_wrote() -> None:
    raw = base64.b64decode(public_key(SCHEME_SECRET).removeprefix("whpk_"), validate=True)
    tokens = sign([SCHEME_SECRET, new_secret()], "msg_1", 7, BODY, scheme="ed25519").split()
    assert [token[:4] for token in tokens] == ["v1a,", "v1a,"]
    peer = Ed25519PublicKey.from_public_bytes(raw)
    peer.verify(base64.b64decode(tokens[0][4:]), b"msg_1.7." + BODY)
    with pytest.raises(InvalidSignature):
        peer.verify(base64.b64decode(tokens[1][4:]), b"msg_1.7." + BODY)
    with pytest.raises(InvalidSignature):
        peer.verify(base64.b64decode(tokens[0][4:]), b"msg_2.7." + BODY)


def test_the_public_key_is_a_pure_function_of_the_secret_and_tells_nothing_else() -> None:
    seed = hmac.new(SCHEME_SECRET.encode(), b"mainstay ed25519 v1", hashlib.sha256).digest()
    expected = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert public_key(SCHEME_SECRET) == "whpk_" + base64.b64encode(expected).decode()
    assert public_key(new_secret()) != public_key(SCHEME_SECRET)


def test_a_public_key_checks_v1a_tokens_and_a_secret_v1_tokens() -> None:
    now = int(time.time())
    both = headers_of(SCHEME_SECRET) | {
        "webhook-signature": sign([SCHEME_SECRET], "msg_1", now, BODY)
        + " " + sign([SCHEME_SECRET], "msg_1", now, BODY, scheme="ed25519"),
        "webhook-timestamp": str(now),
    }  # fmt: skip
    key = public_key(SCHEME_SECRET)
    for secret in (SCHEME_SECRET, key):
        verify([secret], both, BODY, now_seconds=now)
        with pytest.raises(BadSignature, match="no signature matches"):
            verify([secret], both, BODY + b" ", now_seconds=now)
    verify([new_secret(), key], both, BODY, now_seconds=now)
    for scheme, secret in (("hmac", key), ("ed25519", SCHEME_SECRET)):
        one = both | {"webhook-signature": sign([SCHEME_SECRET], "msg_1", now, BODY, scheme=scheme)}
        with pytest.raises(BadSignature, match="no signature matches"):
            verify([secret], one, BODY, now_seconds=now)
    swapped = both | {"webhook-signature": both["webhook-signature"].replace("v1a,", "v1x,").replace("v1,", "v1a,")}
    with pytest.raises(BadSignature, match="no signature matches"):
        verify([key], swapped, BODY, now_seconds=now)


@pytest.mark.parametrize("key", ["whpk_", "whpk_AAAA", "whpk_!", "whpk_" + "A" * 44, "v1a,whpk_AAAA"])
def test_a_public_key_that_is_none_says_so(key: str) -> None:
    with pytest.raises(BadSignature, match=r"public key|pasted"):
        verify([key], headers_of(SCHEME_SECRET), BODY, now_seconds=time.time())


def test_an_ed25519_try_has_no_header_that_needs_the_secret() -> None:
    headers = headers_of(SCHEME_SECRET, scheme="ed25519")
    assert "X-NovaPulse-Signature" not in headers
    assert headers["webhook-signature"].startswith("v1a,")
    assert headers.keys() | {"X-NovaPulse-Signature"} == headers_of(SCHEME_SECRET).keys()


def test_without_a_trace_there_is_no_trace_header() -> None:
    assert headers_of(SCHEME_SECRET).keys() - headers_of(SCHEME_SECRET, trace_id=None).keys() == {
        "X-Trace-Id",
        "traceparent",
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_checks_the_tokens_with_its_own_crypto() -> None:
    now = int(time.time())
    given = {
        "key": public_key(SCHEME_SECRET),
        "id": "msg_1",
        "timestamp": str(now),
        "signature": sign([new_secret(), SCHEME_SECRET], "msg_1", now, BODY, scheme="ed25519"),
        "body": base64.b64encode(BODY).decode(),
    }
    script = Path(__file__).parent / "peers" / "ed25519.mjs"
    verdicts = []
    for changed in (
        {},
        {"id": "msg_2"},
        {"body": base64.b64encode(BODY + b" ").decode()},
        {"key": public_key(new_secret())},
    ):
        run = subprocess.run(
            ["node", str(script)],
            input=json.dumps(given | changed),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        verdicts.append(run.stdout.strip())
    assert verdicts == ["accepted", "refused", "refused", "refused"]
