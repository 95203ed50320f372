"""The company that `mainstay up` shows: made once a database, found again by the file that holds its secrets."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from mainstay import archive, identity, streams, webhooks
from mainstay.cli import demo_log, demo_people
from mainstay.cli.places import DEMO, Place
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbox import Actor

NAME = "Acme Demo"
ACTOR = Actor(kind="operator", id="mainstay up", name="mainstay up")
PEOPLE = (("owner", "Olivia Owner"), ("manager", "Mats Manager"), ("staff", "Samira Staff"))
WORKSPACES = ("production", "staging", "legacy")
"""The last one keeps its events for no day at all, so that there is an archive to look at."""
ENDPOINTS: dict[str, tuple[list[str], int]] = {
    "good": (["*"], 4),
    "slow": (["user.*", "document.*"], 4),
    "failing": (["invoice.*"], 2),
}
"""Subscriptions and retries after the first try; two keep the line of the failing one short."""
STREAM = "stream"


class DemoPerson(msgspec.Struct, frozen=True):
    """Somebody who can log in, with the password made for this data directory."""

    role: str
    email: str
    password: str


class DemoWorkspace(msgspec.Struct, frozen=True):
    """A workspace and its key."""

    id: str
    name: str
    key: str


class DemoEndpoint(msgspec.Struct, frozen=True):
    """An endpoint at the built-in receiver, or a stream to it, and its secret."""

    id: str
    name: str
    secret: str


class DemoCompany(msgspec.Struct, frozen=True):
    """All that is needed to act as the company; kept in `demo.json`, as secrets are shown once."""

    company_id: str
    company_key: str
    people: list[DemoPerson]
    workspaces: list[DemoWorkspace]
    endpoints: list[DemoEndpoint]
    receiver_port: int
    sealed_under: str
    stream: DemoEndpoint | None = None

    @property
    def secrets(self) -> dict[str, str]:
        """What each address of the receiver checks signatures with."""
        signed = [*self.endpoints, *([self.stream] if self.stream is not None else [])]
        return {endpoint.name: endpoint.secret for endpoint in signed}

    @property
    def owner(self) -> DemoPerson:
        """Who may do everything, also in the console."""
        return next(person for person in self.people if person.role == "owner")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the company is made with."""

    place: Place
    db: Database
    keyring: Keyring
    allow: AllowList
    receiver_port: int

    @property
    def sealed_under(self) -> str:
        """Tells whether the endpoints' stored secrets can be opened with today's master secret."""
        return self.keyring.derive("demo")[:8].hex()


def kept(place: Place) -> DemoCompany | None:
    """The company of the last time; None where there is none, or its file is not whole."""
    try:
        return msgspec.convert(place.read(DEMO), DemoCompany)
    except msgspec.ValidationError:
        return None


async def ensure(ground: Ground) -> DemoCompany:
    """The company exists with people, workspaces, keys and endpoints that point at the receiver's port."""
    company = kept(ground.place)
    if company is None or company.sealed_under != ground.sealed_under or not await _exists(ground.db, company):
        return await _open(ground)
    if company.receiver_port != ground.receiver_port:
        company = await _point_at(ground, company)
    return company


async def _exists(db: Database, company: DemoCompany) -> bool:
    return await identity.find_company(db, company.company_id) is not None


async def _open(ground: Ground) -> DemoCompany:
    passwords = identity.Passwords()
    try:
        given = {role: secrets.token_urlsafe(12) for role, _ in PEOPLE}
        hashes = {role: await passwords.hash(password) for role, password in given.items()}
    finally:
        passwords.close()
    async with ground.db.begin() as tx:
        found = await identity.open_company(tx, ACTOR, name=NAME)
        people = {
            role: await _add_person(tx, found, role=role, name=name, password_hash=hashes[role])
            for role, name in PEOPLE
        }
        await demo_people.furnish(tx, ground.keyring, found, people)
        workspaces = [await _open_workspace(tx, found.id, name) for name in WORKSPACES]
        key = await identity.issue_key(tx, ACTOR, found.id, kind="company", name="Demonstration")
        endpoints = [await _register(tx, ground, found.id, name) for name in ENDPOINTS]
        await demo_log.furnish(tx, ACTOR, found.id, workspaces[0].id, keyring=ground.keyring, allow=ground.allow)
        await archive.override_retention(tx, ACTOR, found.id, workspaces[-1].id, days=0)
        stream = await _open_stream(tx, ground, found.id)
        company = DemoCompany(
            company_id=found.id,
            company_key=key.secret,
            people=[DemoPerson(role, person.email, given[role]) for role, person in people.items()],
            workspaces=workspaces,
            endpoints=endpoints,
            receiver_port=ground.receiver_port,
            sealed_under=ground.sealed_under,
            stream=stream,
        )
        # Before the commit: a file without its company is made anew, a company without its file would be lost.
        _keep(ground.place, company)
    return company


async def _add_person(
    tx: Tx, company: identity.Company, *, role: Any, name: str, password_hash: str
) -> identity.Person:
    email = f"{role}@{company.slug}.example"
    return await identity.add_person(
        tx, ACTOR, company.id, email=email, name=name, password_hash=password_hash, role=role
    )


async def _open_workspace(tx: Tx, company_id: str, name: str) -> DemoWorkspace:
    workspace = await identity.open_workspace(tx, ACTOR, company_id, name=name, slug=name)
    key = await identity.issue_key(
        tx, ACTOR, company_id, kind="workspace", name=f"Demonstration of {name}", workspace_id=workspace.id
    )
    return DemoWorkspace(workspace.id, name, key.secret)


async def _register(tx: Tx, ground: Ground, company_id: str, name: str) -> DemoEndpoint:
    events, retries = ENDPOINTS[name]
    wanted = webhooks.NewEndpoint(
        url=_url(ground.receiver_port, name), events=events, retries=retries, description=f"The {name} receiver"
    )
    row, secret = await webhooks.register(
        tx, ACTOR, wanted, company_id=company_id, keyring=ground.keyring, allow=ground.allow
    )
    return DemoEndpoint(str(row["id"]), name, secret)


async def _open_stream(tx: Tx, ground: Ground, company_id: str) -> DemoEndpoint:
    wanted = {"name": "To the built-in receiver", "destination": _destination(ground), "onRefusal": "skip"}
    made = msgspec.convert(wanted, streams.NewStream)
    row, secret = await streams.create(tx, ACTOR, company_id, made, keyring=ground.keyring, allow=ground.allow)
    return DemoEndpoint(str(row["id"]), STREAM, secret or "")


def _destination(ground: Ground) -> dict[str, str]:
    return {"type": "https", "url": _url(ground.receiver_port, STREAM)}


async def _point_at(ground: Ground, company: DemoCompany) -> DemoCompany:
    """The endpoints point at the receiver's new port, since the old one is taken."""
    async with ground.db.begin() as tx:
        for endpoint in company.endpoints:
            wanted = webhooks.EndpointChange(url=_url(ground.receiver_port, endpoint.name))
            await webhooks.change(
                tx, ACTOR, wanted, company_id=company.company_id, endpoint_id=endpoint.id, allow=ground.allow
            )
        if company.stream is not None:
            changed = msgspec.convert({"destination": _destination(ground)}, streams.StreamChange)
            with suppress(streams.StreamNotFound):
                await streams.change(
                    tx, ACTOR, company.company_id, company.stream.id, changed,
                    keyring=ground.keyring, allow=ground.allow,
                )  # fmt: skip
    company = msgspec.structs.replace(company, receiver_port=ground.receiver_port)
    _keep(ground.place, company)
    return company


def _keep(place: Place, company: DemoCompany) -> None:
    place.write(DEMO, msgspec.to_builtins(company))


def _url(port: int, name: str) -> str:
    return f"http://127.0.0.1:{port}/{name}"
