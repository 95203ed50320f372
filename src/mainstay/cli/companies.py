"""Companies and their workspaces, from the command line."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mainstay import erasure, identity, templates
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, all_workspaces, company_named, operators_database, operators_regions
from mainstay.cli.queries import REFUSES, carry_rows, in_the_way
from mainstay.kernel import paging
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Tx
from mainstay.kernel.regions import REGIONS, Region

companies = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Companies: the tenants. Works on DATABASE_URL as the operator."
)
workspaces = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Workspaces, where a company's events belong."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
PASSWORD_VARIABLE = "MAINSTAY_OWNER_PASSWORD"  # noqa: S105 - a variable's name


@companies.command("create")
def create_company(
    name: Annotated[str, typer.Argument(help="The company's name.")],
    *,
    region: Annotated[str, typer.Option(help="US, EU or APAC.")] = "US",
    plan: Annotated[str, typer.Option(help="free, starter, growth, scale or enterprise.")] = "free",
    slug: Annotated[str | None, typer.Option(help="Its short name; made from the name unless given.")] = None,
    owner_email: Annotated[str | None, typer.Option(help="Email of its first owner.")] = None,
    owner_name: Annotated[str | None, typer.Option(help="Name of its first owner.")] = None,
    workspace: Annotated[list[str] | None, typer.Option(help="A workspace to open; may be given again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Open a company, with an owner and workspaces if wanted; all of it or nothing.

    \b
    The owner's password is asked for, or read from MAINSTAY_OWNER_PASSWORD.
      mainstay companies create "Acme Ltd" --region EU --workspace Production
      mainstay companies create Acme --owner-email ann@acme.example --owner-name "Ann Lee"
    """
    region, plan = region.upper(), plan.lower()
    _check_choice("--region", region, ("US", "EU", "APAC"))
    _check_choice("--plan", plan, ("free", "starter", "growth", "scale", "enterprise"))
    password = None if owner_email is None else _password()
    owner = None if owner_email is None else (owner_email, owner_name or owner_email)
    made = output.run(_create(name, slug, region, plan, owner=owner, password=password, workspaces=workspace or []))
    if as_json:
        output.show_json(made)
    else:
        output.show_record({key: made[key] for key in ("id", "slug", "name", "dataRegion", "plan", "owner")})
        for one in made["workspaces"]:
            print(f"workspace  {one['slug']}  {one['id']}")


@companies.command("list")
def list_companies(as_json: AsJson = False) -> None:
    """List every company, oldest first.

    \b
      mainstay companies list
      mainstay companies list --json | jq -r .slug
    """
    found = output.run(_list_companies())
    if as_json:
        for one in found:
            output.show_json(_shown(one))
        return
    rows = [(one.slug, one.name, one.data_region, one.plan, one.id) for one in found]
    output.show_table(("slug", "name", "region", "plan", "id"), rows, empty="There is no company yet.")


@companies.command("move-region")
def move_region(
    company: Annotated[str, typer.Argument(help="Slug or id of the company.")],
    region: Annotated[str, typer.Argument(help="US, EU or APAC.")],
    leave_archive: Annotated[
        bool, typer.Option("--leave-archive", help="Go although archived days are then read by nobody.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store a company's new events in another region.

    Its keys, templates, schemas, event types, thresholds, saved filters and holds go along; what was stored before
    stays where it is, and is read with it by events/global.

    \b
    Refused while webhooks or streams are set up in a database that it leaves: note them, delete them there, and make
    them again after the move. Refused while an erasure or a person's export is under way. Run it again if it was
    interrupted.
      mainstay companies move-region acme EU
    """
    wanted = next((one for one in REGIONS if one == region.upper()), None)
    if wanted is None:
        output.fail(output.CommandFailed(f"the region must be one of {', '.join(REGIONS)}", code=output.USAGE))
    moved = _shown(output.run(_move(company, wanted, leave_archive=leave_archive)))
    if as_json:
        output.show_json(moved)
    else:
        output.tell(f"new events of {moved['slug']} are stored in {moved['dataRegion']}")


@workspaces.command("create")
def create_workspace(
    name: Annotated[str, typer.Argument(help="The workspace's name.")],
    company: Annotated[str, typer.Option(help="Slug or id of its company.")],
    slug: Annotated[str | None, typer.Option(help="Its short name; made from the name unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Open a workspace in a company.

    \b
      mainstay workspaces create Production --company acme
    """

    async def create() -> identity.Workspace:
        async with operators_database() as db, db.begin() as tx:
            owner = await company_named(tx, company)
            return await identity.open_workspace(tx, OPERATOR, owner.id, name=name, slug=slug)

    made = _shown(output.run(create()))
    if as_json:
        output.show_json(made)
    else:
        output.show_record({key: made[key] for key in ("id", "slug", "name")})


@workspaces.command("list")
def list_workspaces(
    company: Annotated[str, typer.Option(help="Slug or id of the company.")], as_json: AsJson = False
) -> None:
    """List the workspaces of a company; 'system' holds the acts on Mainstay itself.

    \b
      mainstay workspaces list --company acme
    """

    async def find() -> list[identity.Workspace]:
        async with operators_database() as db:
            return await all_workspaces(db, await company_named(db, company))

    found = output.run(find())
    if as_json:
        for one in found:
            output.show_json(_shown(one))
        return
    rows = [(one.slug, one.name, "yes" if one.system else "", one.id) for one in found]
    output.show_table(("slug", "name", "system", "id"), rows, empty="The company has no workspace.")


async def _create(
    name: str,
    slug: str | None,
    region: Any,
    plan: Any,
    *,
    owner: tuple[str, str] | None,
    password: str | None,
    workspaces: list[str],
) -> dict[str, Any]:
    password_hash = None
    if password is not None:
        passwords = identity.Passwords()
        password_hash = await passwords.hash(password, context=(name, *(owner or ())))
        passwords.close()
    async with operators_database() as db, db.begin() as tx:
        made = await identity.open_company(tx, OPERATOR, name=name, slug=slug, region=region, plan=plan)
        if owner is not None and password_hash is not None:
            email, person = owner
            await identity.add_person(
                tx, OPERATOR, made.id, email=email, name=person, password_hash=password_hash, role="owner"
            )
        opened = [await identity.open_workspace(tx, OPERATOR, made.id, name=one) for one in workspaces]
    return {**_shown(made), "owner": owner and owner[0], "workspaces": [_shown(one) for one in opened]}


async def _move(company: str, region: Region, *, leave_archive: bool) -> identity.Company:
    async with operators_regions() as regions:
        owner = await company_named(regions.home, company)
        names = [name for name, db in regions.all() if db is not regions.of(region)]

        async def carry(there: Tx, left: Sequence[Tx]) -> None:
            # Asked after the keys are taken: what was set up with them just before is seen, and a refusal undoes all.
            for name, tx in zip(names, left, strict=True):
                await _refuse_what_stays(tx, owner, name, leave_archive=leave_archive)
                await erasure.carry_holds(tx, there, owner.id)
            await carry_rows(there, left, owner.id)
            for tx in (there, *left):
                await templates.tell_readers(tx, owner.id)

        return await identity.move_company(regions, OPERATOR, owner.id, region, carry=carry)


async def _refuse_what_stays(tx: Tx, owner: identity.Company, name: str, *, leave_archive: bool) -> None:
    found = await in_the_way(tx, owner.id)
    if leave_archive:
        found.pop("archive_days", None)
    if found:
        told = ", ".join(f"{many} {table}" for table, many in found.items())
        hint = " ".join(REFUSES[table] for table in found)
        raise output.CommandFailed(f"{owner.slug} has in the database of {name}: {told}", hint)


async def _list_companies() -> list[identity.Company]:
    found: list[identity.Company] = []
    async with operators_database() as db:
        while page := await identity.list_companies(db, after=found[-1].id if found else None, limit=paging.MAX_LIMIT):
            found += page
    return found


def _password() -> str:
    given = os.environ.get(PASSWORD_VARIABLE)
    if given:
        return given
    if not sys.stdin.isatty():
        output.fail(output.CommandFailed(f"the owner needs a password: set {PASSWORD_VARIABLE}", code=output.USAGE))
    typed: str = typer.prompt("Password of the owner", hide_input=True, confirmation_prompt=True, err=True)
    return typed


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        output.fail(output.CommandFailed(f"{option} must be one of {', '.join(choices)}", code=output.USAGE))


def _shown(thing: identity.Company | identity.Workspace) -> dict[str, Any]:
    names = {"company_id": "companyId", "data_region": "dataRegion", "created_at": "createdAt"}
    shown = {names.get(name, name): value for name, value in asdict(thing).items()}
    return {**shown, "createdAt": iso(shown["createdAt"])}
