"""What the routes take and give: destinations with their limits, and a stream without its secrets."""

import re
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType

from mainstay.kernel.addresses import AllowList, RefusedAddress, check_url
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record
from mainstay.kernel.errors import Fault, Invalid
from mainstay.streams.forms import Form
from mainstay.streams.standing import OnRefusal

DATADOG_SITES: Final = (
    "datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com", "ap2.datadoghq.com",
    "ddog-gov.com",
)  # fmt: skip
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/=-]{0,200}")
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*(\.\*)?")
_LINE: Final = r"^[\x20-\x7e]+$"

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Url = Annotated[str, Meta(min_length=1, max_length=2_048)]
Word = Annotated[str, Meta(min_length=1, max_length=128, pattern=_LINE)]
Secret = Annotated[str, Meta(min_length=1, max_length=1_024, pattern=_LINE)]
Pem = Annotated[str, Meta(min_length=1, max_length=32_768)]


class _Destination(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, tag_field="type"):
    """A place that events go to; fields in SECRETS are sealed and never shown."""


class S3(_Destination, tag="s3"):
    """Objects of gzipped NDJSON in a bucket of S3 or of a service that speaks its protocol."""

    bucket: str
    access_key_id: Word
    secret_access_key: Secret
    region: str = "us-east-1"
    prefix: str = ""
    endpoint: Url | None = None
    flush_seconds: Annotated[int, Meta(ge=5, le=900)] = 60


class Splunk(_Destination, tag="splunk"):
    """A Splunk HTTP Event Collector."""

    url: Url
    token: Secret
    index: Word | None = None
    source: Word = "mainstay"
    sourcetype: Word = "mainstay:audit"
    host: Word | None = None
    acknowledge: bool = False


class Datadog(_Destination, tag="datadog"):
    """The logs intake of Datadog."""

    api_key: Secret
    site: str = "datadoghq.com"
    url: Url | None = None
    service: Word = "mainstay"
    tags: Annotated[list[Word], Meta(max_length=20)] = []


class Syslog(_Destination, tag="syslog"):
    """A receiver of syslog (RFC 5424) over TLS or TCP, with octet counting."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65_535)] = 6_514
    tls: bool = True
    authorities: Pem | None = None
    app_name: Annotated[str, Meta(min_length=1, max_length=48, pattern=r"^[\x21-\x7e]+$")] = "mainstay"


class Https(_Destination, tag="https"):
    """A server that takes batches signed as webhooks are."""

    url: Url


Destination = S3 | Splunk | Datadog | Syslog | Https
SECRETS: Final[tuple[str, ...]] = ("secretAccessKey", "token", "apiKey")


class Filter(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which events pass: those that meet each list that is not empty."""

    actions: Annotated[list[Word], Meta(max_length=100)] = []
    categories: Annotated[list[Word], Meta(max_length=100)] = []
    workspace_ids: Annotated[list[Word], Meta(max_length=100)] = []


class NewStream(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a stream is made from."""

    name: Name
    destination: Destination
    form: Form = "native"
    filter: Filter = msgspec.field(default_factory=Filter)
    on_refusal: OnRefusal = "stop"


class StreamChange(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may be changed; a destination is given whole, with its secrets, and is of the same type."""

    name: Name | UnsetType = UNSET
    destination: Destination | UnsetType = UNSET
    form: Form | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    on_refusal: OnRefusal | UnsetType = UNSET


class AsideChoice(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which events that are put aside are meant; all of them where none is named."""

    event_ids: Annotated[list[Annotated[str, Meta(max_length=36)]], Meta(min_length=1, max_length=1_000)] | None = None


class NewBackfill(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """From when on stored events are sent once more."""

    since: datetime


def check_destination(wanted: Destination, allow: AllowList) -> None:
    """Raises Invalid where a part of it cannot be, such as an address of a private network."""
    faults: list[Fault] = []

    def expect(found: object, detail: str, name: str) -> None:
        if not found:
            faults.append(Fault(detail, f"#/destination/{name}"))

    def expect_url(url: str, name: str) -> None:
        try:
            check_url(url, allow)
        except RefusedAddress as refusal:
            faults.append(Fault(refusal.reason, f"#/destination/{name}"))

    if isinstance(wanted, S3):
        is_name = _BUCKET.fullmatch(wanted.bucket) and ".." not in wanted.bucket
        expect(is_name, "must be the name of a bucket", "bucket")
        expect(_REGION.fullmatch(wanted.region), "must be the name of a region", "region")
        clean = _PREFIX.fullmatch(wanted.prefix) and not {".", ".."} & set(wanted.prefix.split("/"))
        expect(clean, "must be a path of letters, digits and !_.*'()=- of at most 200 characters", "prefix")
        if wanted.endpoint is not None:
            expect_url(wanted.endpoint, "endpoint")
    elif isinstance(wanted, Datadog):
        expect(wanted.site in DATADOG_SITES, f"must be one of {', '.join(DATADOG_SITES)}", "site")
        if wanted.url is not None:
            expect_url(wanted.url, "url")
    elif isinstance(wanted, Syslog):
        expect(_HOST.fullmatch(wanted.host), "must be the name or the address of a host", "host")
        if _HOST.fullmatch(wanted.host):
            host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
            expect_url(f"https://{host}:{wanted.port}/", "host")
        expect(wanted.tls or wanted.authorities is None, "is for TLS", "authorities")
        if wanted.tls and wanted.authorities is not None:
            expect(_are_certificates(wanted.authorities), "must be certificates in PEM", "authorities")
    else:
        expect_url(wanted.url, "url")
    if faults:
        raise Invalid(faults=faults)


def _are_certificates(text: str) -> bool:
    if not text.isascii():
        return False
    try:
        return bool(ssl.create_default_context(cadata=text).get_ca_certs())
    except (ssl.SSLError, ValueError):
        return False


def check_filter(wanted: Filter) -> None:
    """Raises Invalid for what is no action and no pattern of actions."""
    wrong = [n for n, pattern in enumerate(wanted.actions) if _PATTERN.fullmatch(pattern) is None]
    if wrong:
        detail = "must be an action such as user.signed_in, or end in .* for all below"
        raise Invalid(faults=[Fault(detail, f"#/filter/actions/{n}") for n in wrong])


def parted(wanted: Destination) -> tuple[dict[str, Any], dict[str, str]]:
    """The destination as it may be shown, and its secrets."""
    whole: dict[str, Any] = msgspec.to_builtins(wanted)
    secrets = {name: whole.pop(name) for name in SECRETS if name in whole}
    return whole, secrets


def joined(shown: Mapping[str, Any], secrets: Mapping[str, str]) -> Destination:
    """The destination with its secrets again."""
    own = {name: value for name, value in secrets.items() if name in SECRETS}
    found: Destination = msgspec.convert({**shown, **own}, Destination)
    return found


def show(row: Record, **more: Any) -> dict[str, Any]:
    """The stream as its owner reads it."""

    def at(name: str) -> str | None:
        return None if row[name] is None else iso(row[name])

    return {
        "id": str(row["id"]),
        "name": row["name"],
        "destination": orjson.loads(row["destination"]),
        "form": row["form"],
        "filter": orjson.loads(row["filter"]),
        "onRefusal": row["on_refusal"],
        "state": row["state"],
        "reason": row["reason"],
        "failures": row["failures"],
        "failingSince": at("failing_since"),
        "blockedBy": None if row["blocked"] is None else show_blocked(orjson.loads(row["blocked"])),
        "lastSentAt": at("last_sent_at"),
        "sent": row["sent"],
        "probe": None if row["probe"] is None else orjson.loads(row["probe"]),
        "createdAt": at("created_at"),
        "changedAt": at("changed_at"),
        **more,
    }


def show_blocked(blocked: Mapping[str, Any]) -> dict[str, Any]:
    """The refused event that a stream stands before."""
    return {name: blocked[name] for name in ("eventId", "workspaceId", "seq", "tries", "since")}


def show_aside(row: Record) -> dict[str, Any]:
    """An event that was put aside; `isWaiting` where it is about to be sent again."""
    return {
        "eventId": str(row["event_id"]),
        "workspaceId": str(row["workspace_id"]),
        "seq": row["seq"],
        "reason": row["reason"],
        "refusedAt": iso(row["refused_at"]),
        "isWaiting": row["asked_at"] is not None,
    }


State = Literal["active", "paused", "failing", "disabled"]
