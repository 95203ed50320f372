"""API keys, from the command line."""

from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from mainstay import identity
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, company_named, moment_of, operators_regions, workspace_named
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel import ids, paging
from mainstay.kernel.clock import iso
from mainstay.kernel.errors import NotFound
from mainstay.kernel.regions import Regions

keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="API keys. Works on DATABASE_URL as the operator.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Company = Annotated[str, typer.Option(help="Slug or id of the company.")]
_NAMES = {
    "company_id": "companyId", "workspace_id": "workspaceId", "read_only": "readOnly", "allow_list": "allowList",
    "expires_at": "expiresAt", "created_at": "createdAt", "created_by": "createdBy", "revoked_at": "revokedAt",
    "overlap_ends_at": "overlapEndsAt", "last_used_at": "lastUsedAt", "revoked_reason": "revokedReason",
    "leaked_at": "leakedAt", "leaked_source": "leakedSource",
}  # fmt: skip


@keys.command("create")
def create(
    *,
    company: Company,
    workspace: Annotated[str | None, typer.Option(help="Slug or id; needed for a workspace key.")] = None,
    kind: Annotated[str | None, typer.Option(help="workspace or company; by whether --workspace is given.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    read_only: Annotated[bool, typer.Option("--read-only", help="The key may only read.")] = False,
    allow: Annotated[list[str] | None, typer.Option(help="Address or CIDR it may come from; repeatable.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h, or an ISO time.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="What it may do alone; repeatable. Without one: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key; its secret is shown this once, on standard output and alone.

    \b
      export MAINSTAY_KEY=$(mainstay keys create --company acme --workspace production)
      mainstay keys create --company acme --name "audit reader" --read-only --expires 90d
      mainstay keys create --company acme --workspace production --allow 10.0.0.0/8 --json
      mainstay keys create --company acme --workspace production --scope events.write
    """

    async def issue() -> None:
        expires_at = None if expires is None else moment_of(expires)
        chosen = kind or ("company" if workspace is None else "workspace")
        if chosen not in ("workspace", "company"):
            raise CommandFailed("--kind must be workspace or company", code=USAGE)
        if (chosen == "workspace") != (workspace is not None):
            needs = "needs --workspace" if chosen == "workspace" else "takes no --workspace"
            raise CommandFailed(f"a {chosen} key {needs}", code=USAGE)
        async with operators_regions() as regions:
            home = regions.home
            owner = await company_named(home, company)
            place = None if workspace is None else await workspace_named(home, owner, workspace)
            async with regions.of(owner.data_region).begin() as tx:
                issued = await identity.issue_key(
                    tx, OPERATOR, owner.id, kind="workspace" if place else "company", name=name, read_only=read_only,
                    workspace_id=None if place is None else place.id, allow_list=allow or [], expires_at=expires_at,
                    scopes=scope or None, home=home,
                )  # fmt: skip
        kept = issued.record
        if as_json:
            output.show_json({**_shown(kept), "secret": issued.secret})
            return
        output.tell(f"key {kept.id} ({kept.kind}, '{kept.name}'); note its secret, which is not kept here:")
        print(issued.secret)

    output.run(issue())


@keys.command("list")
def list_keys(
    company: Company,
    workspace: Annotated[str | None, typer.Option(help="Only the keys of this workspace.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a company's keys without their secrets, ended ones too.

    \b
      mainstay keys list --company acme
      mainstay keys list --company acme --json | jq 'select(.lastUsedAt == null)'
    """

    async def find() -> list[identity.ApiKey]:
        found: list[identity.ApiKey] = []
        async with operators_regions() as regions:
            owner = await company_named(regions.home, company)
            place = None if workspace is None else (await workspace_named(regions.home, owner, workspace)).id
            while page := await identity.list_keys(
                regions.of(owner.data_region),
                owner.id,
                workspace_id=place,
                after=found[-1].id if found else None,
                limit=paging.MAX_LIMIT,
            ):
                found += page
        return found

    found = output.run(find())
    if as_json:
        for one in found:
            output.show_json(_shown(one))
        return
    columns = ("id", "begins", "kind", "name", "state", "rights", "ends", "revoked", "last used")
    output.show_table(columns, map(_row, found), empty="The company has no key.")


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'keys list' shows it.")],
    company: Annotated[str | None, typer.Option(help="Its company, where it is known: spares a search.")] = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; no later request succeeds with it.

    \b
      mainstay keys revoke 0197c2b4-3b1e-7d3c-9c55-0b7b8a1f2e3d
    """

    async def end() -> identity.ApiKey:
        if not ids.is_uuid(key_id):
            hint = "'mainstay keys list --company SLUG' shows the ids."
            raise CommandFailed("a key is revoked by its id, not by its secret", hint, code=USAGE)
        async with operators_regions() as regions:
            if company is not None:
                return await _revoke(regions, await company_named(regions.home, company), key_id)
            after = None
            while page := await identity.list_companies(regions.home, after=after, limit=paging.MAX_LIMIT):
                for owner in page:
                    with suppress(NotFound):
                        await identity.get_key(regions.of(owner.data_region), owner.id, key_id)
                        return await _revoke(regions, owner, key_id)
                after = page[-1].id
        raise CommandFailed(f"there is no key {key_id}", "'mainstay keys list --company SLUG' shows the ids.")

    ended = output.run(end())
    if as_json:
        output.show_json(_shown(ended))
    else:
        output.tell(f"key {ended.id} ('{ended.name}') is revoked since {_time(ended.revoked_at)}")


async def _revoke(regions: Regions, owner: identity.Company, key_id: str) -> identity.ApiKey:
    async with regions.of(owner.data_region).begin() as tx:
        return await identity.revoke_key(tx, OPERATOR, owner.id, key_id)


def _row(key: identity.ApiKey) -> tuple[object, ...]:
    rights = (
        ", ".join((*(() if key.scopes is None else key.scopes), *(("read only",) if key.read_only else ()))) or "all"
    )
    ends = min((moment for moment in (key.expires_at, key.overlap_ends_at) if moment), default=None)
    return (
        key.id, key.prefix, key.kind, key.name, key.state, rights, _time(ends), _time(key.revoked_at),
        _time(key.last_used_at),
    )  # fmt: skip


def _shown(key: identity.ApiKey) -> dict[str, Any]:
    shown = {_NAMES.get(name, name): value for name, value in asdict(key).items()}
    actor = key.created_by
    shown["createdBy"] = {"kind": actor.kind, "id": actor.id, "name": actor.name, "email": actor.email}
    return {name: _time(value) if isinstance(value, datetime) else value for name, value in shown.items()}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
