"""What one line of a foreign log becomes as events of ours: pure, and exact about the payload's bytes.

cloudtrail   action `<service>.<eventName>`; category, the first that holds:
               console-login-failed   a ConsoleLogin whose answer is Failure
               denied                 errorCode says access denied, unauthorized, forbidden or not authorized
               error                  any other errorCode
               auth                   a sign-in or a call to STS
               read, write            by readOnly
             actor from userIdentity, target from resources or requestParameters, payload the whole record,
             metadata region, sourceIp, userAgent, errorCode, account, eventType (texts only)
github       action `<event>.<payload.action>`, actor the sender, target the repository (else organization),
             payload the webhook's, metadata its name; a webhook tells no time, so occurredAt is that of receipt
ndjson       lines of our own shape as they are; HyreLog's flat export (actorId, createdAt …) is put in that shape
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from msgspec import Raw

_UNFIT = re.compile(r"[^A-Za-z0-9_:-]+")
_DENIED = re.compile(r"access_?denied|unauthori[sz]ed|not_?authori[sz]ed|forbidden|authfailure", re.IGNORECASE)
_ACTION_CHARACTERS, _LONG, _SHORT = 128, 512, 128
_TARGETS = (
    ("bucketName", "bucket"), ("roleName", "role"), ("secretId", "secret"), ("userName", "user"),
    ("functionName", "function"), ("instanceId", "instance"), ("dBInstanceIdentifier", "db-instance"),
    ("keyId", "key"), ("policyArn", "policy"), ("roleArn", "role"), ("vpcId", "vpc"), ("name", "name"),
)  # fmt: skip
_FLAT = {
    "actorId": ("actor", "id"), "actorEmail": ("actor", "email"), "actorName": ("actor", "name"),
    "targetId": ("target", "id"), "targetType": ("target", "type"),
}  # fmt: skip
_DERIVED = frozenset({
    "id", "companyId", "workspaceId", "hash", "prevHash", "traceId", "archived", "archivalCandidate", "dataRegion",
    "createdAt", "receivedAt", "seq", "proof",
})  # fmt: skip
"""Members of an exported event that the service makes itself; `id` becomes the idempotency key."""
_NULL = b"null"


class _Delivered(msgspec.Struct):
    Records: list[Raw]


_DELIVERED = msgspec.json.Decoder(_Delivered)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])


class Unmappable(Exception):
    """The line is no record of the kind that was announced; `pointer` says where."""

    def __init__(self, detail: str, pointer: str = "#") -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Mapped:
    """One event as JSON bytes, with the idempotency key that the same record always gets."""

    body: bytes
    key: str


Mapper = Callable[[bytes], Iterator["Mapped | Unmappable"]]


def map_cloudtrail(line: bytes) -> Iterator[Mapped | Unmappable]:
    """The event of a CloudTrail record, or of each in a delivered log file (`{"Records": […]}`); Unmappable."""
    record = _object(line)
    if isinstance(record.get("Records"), list):
        for raw in _DELIVERED.decode(line).Records:
            try:
                yield _cloudtrail(_object(bytes(raw)), bytes(raw))
            except Unmappable as refusal:
                yield refusal
        return
    yield _cloudtrail(record, line.strip())


def map_github(line: bytes) -> Iterator[Mapped | Unmappable]:
    """The event of one GitHub webhook, `{"event", "name", "payload"}`; Unmappable."""
    record = _object(line)
    event, payload = record.get("event"), record.get("payload")
    if not isinstance(event, str) or not event:
        raise Unmappable("must be the name of a GitHub event", "#/event")
    if not isinstance(payload, dict):
        raise Unmappable("must be an object", "#/payload")
    raw = bytes(_MEMBERS.decode(line)["payload"])
    verb = payload.get("action")
    name = record.get("name")
    sender = _dict(payload.get("sender"))
    key = hashlib.sha256(f"{name}\0".encode() + raw).hexdigest()
    yield _mapped(
        {
            "action": _action(event, verb if isinstance(verb, str) and verb else None),
            "category": "github",
            "actor": _some(
                id=_cut(sender.get("id")), email=_cut(sender.get("email"), 320), name=_cut(sender.get("login"))
            ),
            "target": _github_target(payload),
            "metadata": _some(name=_text(name)),
            "payload": orjson.Fragment(raw),
        },
        f"github:{key}",
    )


def map_ndjson(line: bytes) -> Iterator[Mapped | Unmappable]:
    """The event of one line in our own shape, or in the flat shape of an export; Unmappable."""
    record = _object(line)
    raw = {name: bytes(value) for name, value in _MEMBERS.decode(line).items()}
    key = record.get("idempotencyKey") or record.get("id")
    if not isinstance(key, str) or not key:
        key = f"line:{hashlib.sha256(line.strip()).hexdigest()}"
    members: dict[str, Any] = {
        name: orjson.Fragment(value)
        for name, value in raw.items()
        if name not in _FLAT and name not in _DERIVED and name != "idempotencyKey" and value != _NULL
    }
    for name, (part, member) in _FLAT.items():
        if raw.get(name, _NULL) != _NULL:
            inner = members.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Unmappable(f"stands beside '{part}', which says the same", f"#/{name}")
            inner[member] = orjson.Fragment(raw[name])
    if "occurredAt" not in members and raw.get("createdAt", _NULL) != _NULL:
        members["occurredAt"] = orjson.Fragment(raw["createdAt"])
    yield _mapped(members, key)


MAPPINGS: Mapping[str, Mapper] = {"cloudtrail": map_cloudtrail, "github": map_github, "ndjson": map_ndjson}
"""Kind of file -> its mapping."""


def category_of(record: Mapping[str, Any]) -> str:
    """The category of a CloudTrail record, as the module's table says."""
    error = record.get("errorCode")
    name, source = record.get("eventName"), record.get("eventSource")
    if name == "ConsoleLogin" and _dict(record.get("responseElements")).get("ConsoleLogin") == "Failure":
        return "console-login-failed"
    if isinstance(error, str) and error:
        return "denied" if _DENIED.search(error) else "error"
    if source in ("signin.amazonaws.com", "sts.amazonaws.com"):
        return "auth"
    return "read" if record.get("readOnly") is True else "write"


def _cloudtrail(record: dict[str, Any], raw: bytes) -> Mapped:
    for name in ("eventSource", "eventName", "eventTime"):
        if not isinstance(record.get(name), str) or not record[name]:
            raise Unmappable("a CloudTrail record has this", f"#/{name}")
    event_id = record.get("eventID")
    key = event_id if isinstance(event_id, str) and event_id else hashlib.sha256(raw).hexdigest()
    metadata = {
        "region": "awsRegion", "sourceIp": "sourceIPAddress", "userAgent": "userAgent", "errorCode": "errorCode",
        "account": "recipientAccountId", "eventType": "eventType",
    }  # fmt: skip
    return _mapped(
        {
            "action": _action(record["eventSource"].removesuffix(".amazonaws.com"), record["eventName"]),
            "category": category_of(record),
            "actor": _cloudtrail_actor(_dict(record.get("userIdentity"))),
            "target": _cloudtrail_target(record),
            "occurredAt": record["eventTime"],
            "metadata": _some(**{ours: _text(record.get(theirs)) for ours, theirs in metadata.items()}),
            "payload": orjson.Fragment(raw),
        },
        f"cloudtrail:{key}",
    )


def _cloudtrail_actor(identity: dict[str, Any]) -> dict[str, str] | None:
    issuer = _dict(_dict(identity.get("sessionContext")).get("sessionIssuer"))
    ids = ("arn", "principalId", "invokedBy", "accountId")
    names = (identity.get("userName"), issuer.get("userName"), identity.get("invokedBy"))
    return _some(
        id=next((found for name in ids if (found := _cut(identity.get(name)))), None),
        name=next((found for name in names if (found := _cut(name))), None),
    )


def _cloudtrail_target(record: dict[str, Any]) -> dict[str, str] | None:
    resources = record.get("resources")
    for resource in map(_dict, resources if isinstance(resources, list) else ()):
        if _cut(resource.get("ARN")):
            return _some(id=_cut(resource["ARN"]), type=_cut(resource.get("type"), _SHORT))
    asked = _dict(record.get("requestParameters"))
    for name, kind in _TARGETS:
        if isinstance(asked.get(name), str) and asked[name]:
            return _some(id=_cut(asked[name]), type=kind)
    return None


def _github_target(payload: dict[str, Any]) -> dict[str, str] | None:
    for name, label in (("repository", "full_name"), ("organization", "login"), ("enterprise", "slug")):
        found = _cut(_dict(payload.get(name)).get(label))
        if found:
            return {"id": found, "type": name}
    return None


def _mapped(members: dict[str, Any], key: str) -> Mapped:
    key = key if len(key) <= 256 else hashlib.sha256(key.encode()).hexdigest()
    whole = {name: value for name, value in members.items() if value is not None}
    return Mapped(orjson.dumps({**whole, "idempotencyKey": key}), key)


def _action(first: str, second: str | None) -> str:
    parts = [_UNFIT.sub("-", part)[: _ACTION_CHARACTERS // 2 - 1] for part in (first, second) if part]
    return ".".join(parts)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Unmappable(f"not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise Unmappable("not a JSON object")
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _cut(value: Any, most: int = _LONG) -> str | None:
    """A text or number as text within our limits; the payload has the whole."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:most] or None


def _some(**members: str | None) -> dict[str, str] | None:
    return {name: value for name, value in members.items() if value} or None
