"""The form of a stream: what was typed, what it means, and what is wrong in which field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstay.kernel.errors import Fault

TYPES: Mapping[str, str] = {
    "s3": "S3", "splunk": "Splunk", "datadog": "Datadog", "syslog": "Syslog", "https": "Your own server",
}  # fmt: skip
FIELDS: Mapping[str, tuple[str, ...]] = {
    "s3": ("bucket", "region", "prefix", "endpoint", "accessKeyId", "secretAccessKey"),
    "splunk": ("splunkUrl", "token", "index"),
    "datadog": ("apiKey", "site", "tags"),
    "syslog": ("host", "port", "tls", "authorities"),
    "https": ("url",),
}
SECRETS = frozenset({"secretAccessKey", "token", "apiKey"})
"""Fields that no page ever shows again."""
BLANK: Mapping[str, str] = {
    "name": "", "type": "s3", "form": "native", "actions": "", "onRefusal": "stop",
    "bucket": "", "region": "us-east-1", "prefix": "", "endpoint": "", "accessKeyId": "", "secretAccessKey": "",
    "splunkUrl": "", "token": "", "index": "", "apiKey": "", "site": "datadoghq.com", "tags": "",
    "host": "", "port": "6514", "tls": "", "authorities": "", "url": "",
}  # fmt: skip
_CALLED = {"splunkUrl": "url"}
_NEEDED = ("bucket", "accessKeyId", "secretAccessKey", "splunkUrl", "token", "apiKey", "host", "url")


@dataclass(slots=True)
class Draft:
    """The form as it came, without its secrets in `typed`; `given` is what it means to the room."""

    typed: dict[str, str]
    given: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def take_faults(self, faults: Sequence[Fault]) -> None:
        """What was refused stands at the field where it was typed."""
        kind = self.typed["type"]
        for fault in faults:
            steps = fault.pointer.removeprefix("#/").split("/")
            name = steps[1] if steps[0] in ("destination", "filter") and len(steps) > 1 else steps[0]
            if name == "url" and kind == "splunk":
                name = "splunkUrl"
            words = fault.detail[:1].upper() + fault.detail[1:]
            if name in ("actions", "tags") and steps[-1].isdigit():
                words = f"Entry {int(steps[-1]) + 1}: {fault.detail}"
            self.wrong.setdefault(name if name in BLANK else "name", words)


def blank() -> Draft:
    """The form before anything was typed."""
    return Draft({**BLANK, "tls": "1"})


def of(one: Mapping[str, Any]) -> Draft:
    """The form of a stream that there is, without its secrets."""
    destination = one["destination"]
    kind = destination["type"]
    typed = {**BLANK, "name": one["name"], "type": kind, "form": one["form"], "onRefusal": one["onRefusal"]}
    typed["actions"] = " ".join(one["filter"]["actions"])
    for name in FIELDS[kind]:
        value = destination.get(_CALLED.get(name, name))
        if isinstance(value, list):
            value = " ".join(value)
        typed[name] = ("1" if value else "") if isinstance(value, bool) else str(value or "")
    return Draft(typed)


def read_change(form: Mapping[str, str], one: Mapping[str, Any]) -> Draft:
    """The form of a stream that there is, as it came back: what it does not show stays as it is.

    A destination that stays where it was keeps its secrets; at any other they are typed again.
    """
    before = one["destination"]
    draft = read({**form, "type": before["type"]})
    kept = {name for name in FIELDS[before["type"]] if name in SECRETS}
    wanted = {**{name: value for name, value in before.items() if value is not None}, **draft.given["destination"]}
    for name in FIELDS[before["type"]]:
        if name not in SECRETS and _CALLED.get(name, name) not in draft.given["destination"]:
            wanted.pop(_CALLED.get(name, name), None)
    same = {name: value for name, value in before.items() if value not in (None, "", [])}
    typed_again = kept & wanted.keys()
    if not typed_again and {name: value for name, value in wanted.items() if value not in ("", [])} == same:
        draft.wrong = {name: words for name, words in draft.wrong.items() if name not in kept}
        del draft.given["destination"]
    else:
        draft.given["destination"] = wanted
        for name in kept & draft.wrong.keys():
            draft.wrong[name] = "Type it again, since the destination changes."
    draft.given["filter"] = {**one["filter"], **draft.given["filter"]}
    return draft


def read(form: Mapping[str, str]) -> Draft:
    """The form as it came."""
    every = {name: form.get(name, "").replace("\r\n", "\n").strip() for name in BLANK}
    every["type"] = every["type"] if every["type"] in TYPES else "s3"
    draft = Draft({name: "" if name in SECRETS else value for name, value in every.items()})
    kind = every["type"]
    destination: dict[str, Any] = {"type": kind}
    for name in FIELDS[kind]:
        value: Any = every[name]
        if name == "tls":
            value = bool(value)
        elif name == "tags":
            value = value.replace(",", " ").split()
        elif name == "port":
            if not (value.isascii() and value.isdigit() and len(value) <= 5):
                draft.wrong["port"] = "Must be a port, from 1 to 65535."
                continue
            value = int(value)
        if value not in ("", []):
            destination[_CALLED.get(name, name)] = value
        elif name in _NEEDED:
            draft.wrong[name] = "This is needed."
    if not every["name"]:
        draft.wrong["name"] = "This is needed."
    draft.given = {
        "name": every["name"],
        "form": every["form"] or "native",
        "destination": destination,
        "filter": {"actions": every["actions"].replace(",", " ").split()},
        "onRefusal": every["onRefusal"] or "stop",
    }
    return draft
