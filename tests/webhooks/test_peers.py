"""Receivers under Node that no one here wrote accept what we sign, refuse what was changed, and may re-serialise it."""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.webhooks.signing import headers_for, new_secret
from tests import npm

PEERS = Path(__file__).parent / "peers"
FILES = ("package.json", "package-lock.json", ".npmrc", "verify.mjs")
INTEGER_MAX = 2**53 - 1

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NUMBER = st.integers(-INTEGER_MAX, INTEGER_MAX) | st.decimals(
    -1_000_000, 1_000_000, places=3, allow_nan=False
).map(float).filter(lambda number: number != int(number))  # fmt: skip
_KEY = _TEXT.filter(lambda key: not key.isdecimal())
_PAYLOAD = st.dictionaries(
    _KEY,
    st.recursive(
        st.none() | st.booleans() | _NUMBER | _TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEY, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@pytest.fixture(scope="session")
def peers() -> Path:
    """A directory outside the tree with the locked packages installed, made once and shared by later runs."""
    return npm.installed("peers", PEERS, FILES)


def verdicts(home: Path, cases: list[tuple[str, dict[str, str], bytes]]) -> list[dict[str, str]]:
    """What each Node verifier says of each (secret, headers, body)."""
    lines = [
        json.dumps({"secret": secret, "headers": headers, "body_base64": base64.b64encode(body).decode()})
        for secret, headers, body in cases
    ]
    done = subprocess.run(
        ["node", "verify.mjs"],
        cwd=home,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def headers_of(*secrets: str, body: bytes, at_seconds: float | None = None) -> dict[str, str]:
    return headers_for(
        brand="NovaPulse",
        webhook_id="wh_1",
        message_id="msg_1",
        event_type="task.created",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="00f067aa0ba902b7",
        timestamp_seconds=int(time.time() if at_seconds is None else at_seconds),
        secrets=secrets,
        body=body,
    )


def test_node_verifiers_accept_ours_and_refuse_what_was_changed(peers: Path) -> None:
    new, old, body = new_secret(), new_secret(), '{"type":"task.created","data":{"name":"Zoë 🙂"}}'.encode()
    headers = headers_of(new, body=body)
    both = headers_of(new, old, body=body)
    accepted = verdicts(peers, [(new, headers, body), (new, both, body)])
    assert all(verdict == "accepted" for case in accepted for verdict in case.values())
    (rotated,) = verdicts(peers, [(old, both, body)])
    assert (rotated["standardwebhooks"], rotated["svix"]) == ("accepted", "accepted")
    refused = verdicts(
        peers,
        [
            (new, headers, body.replace(b"task", b"tusk")),
            (old, headers, body),
            (new, headers | {"X-NovaPulse-Signature": "sha256=" + "0" * 64, "webhook-id": "msg_2"}, body),
        ],
    )
    assert all(verdict.startswith("refused") for case in refused for verdict in case.values())
    assert len(refused) == 3
    for away_seconds in (-310, 310):
        (late,) = verdicts(peers, [(new, headers_of(new, body=body, at_seconds=time.time() + away_seconds), body)])
        assert late["standardwebhooks"].startswith("refused")
        assert late["svix"].startswith("refused")


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(payloads=st.lists(_PAYLOAD, min_size=20, max_size=60))
def test_a_receiver_may_parse_and_serialise_again_before_it_verifies(
    peers: Path, payloads: list[dict[str, Any]]
) -> None:
    secret = new_secret()
    bodies = [orjson.dumps(payload) for payload in payloads]
    found = verdicts(peers, [(secret, headers_of(secret, body=body), body) for body in bodies])
    for body, case in zip(bodies, found, strict=True):
        assert set(case.values()) == {"accepted"}, body


def test_a_body_with_spaces_would_not_survive_serialising_again(peers: Path) -> None:
    secret = new_secret()
    (spaced,) = verdicts(peers, [(secret, headers_of(secret, body=b'{"a": 1}'), b'{"a": 1}')])
    assert spaced == {"standardwebhooks": "accepted", "svix": "accepted", "documented": "refused: no match"}
