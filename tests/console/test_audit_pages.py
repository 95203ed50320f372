"""Pages of the audit log in a real browser: light and dark, wide and narrow, by keyboard, and what axe says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import orjson
import pytest
from playwright.sync_api import Page, expect

from mainstay import plans, streams, templates
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from tests.console.audit import archived
from tests.console.conftest import NARROW, WIDE, Opener, follow
from tests.console.site import Site, in_turn
from tests.tenancy import OPERATOR

SCHEMA = {"type": "object", "properties": {"payload": {"type": "object", "required": ["amount"]}}}
SIEM = {"type": "splunk", "url": "https://93.184.215.14:8088", "token": "t", "index": "audit"}
REFUSED = Sql(
    "t",
    """with aside as (
         insert into mainstay.stream_refusals (stream_id, event_id, company_id, workspace_id, seq, received_at, reason)
         select $1, gen_random_uuid(), $3, $2, n, mainstay.now(), 'answered 400: {"text":"Invalid data"}'
           from generate_series(1, 3) n)
       update mainstay.streams set reason = 'answered 413', backfill_state = 'running', backfill_since = '2026-01-01Z',
              backfill_began_at = mainstay.now(), backfill_sent = 120,
              blocked = jsonb_build_object('eventId', gen_random_uuid(), 'workspaceId', $2::uuid, 'seq', 1204,
                'part', 'live', 'tries', 2, 'receivedAt', mainstay.now(), 'since', '2026-01-01T00:00:00.000Z')
        where id = $1""",
)
"""A stream that stands before an event, has three put aside, and a backfill under way."""
FINDING = {"line": 7, "seq": 5, "id": "0198-5", "kind": "hash", "detail": "the hash is of other content"}


@pytest.fixture(scope="module")
def furnished(site: Site) -> dict[str, str]:
    """A company that uses all of it; the addresses of its pages by name."""
    tenancy, company = site.tenancy, site.tenancy.company_id
    events = [{"action": "invoice.paid", "actor": {"id": "u-1"}, "payload": {"amount": n}} for n in range(30)]
    sent = httpx.post(
        f"{site.url}/v1/key/workspace/events/batch", json={"events": events}, headers=tenancy.auth, timeout=60
    )
    assert sent.status_code == 200

    async def furnish(db: Database) -> dict[str, str]:
        for day in range(1, 9):
            await archived(db, tenancy, f"2026-01-0{day}", bytes=day * 41_300)
        await archived(db, tenancy, "2026-01-09", archived_seq=0, flagged_seq=0, bytes=None, sha256=None,
                       archived_at=None, verified_at=None, outcome=None)  # fmt: skip
        await archived(
            db, tenancy, "2026-01-10", outcome="damaged", finding=orjson.dumps(FINDING).decode(), bytes=9_900
        )
        async with db.begin() as tx:
            await plans.grant_add_on(tx, OPERATOR, company, code=plans.RETENTION_S3_ARCHIVE)
            wanted: dict[str, Any] = {"required_metadata_keys": ["ip"], "default_categories": {"invoice.*": "billing"}}
            made = await templates.create(
                tx, OPERATOR, company, templates.NewTemplate(name="Finance", rules=templates.Rules(**wanted))
            )
            await templates.assign(tx, OPERATOR, company, str(made["id"]), tenancy.other_workspace_id)
            schema = await templates.create_schema(
                tx, OPERATOR, company, None, templates.NewSchema(action="invoice.paid", schema=SCHEMA, mode="warn")
            )
            stream, _ = await streams.create(
                tx,
                OPERATOR,
                company,
                msgspec.convert({"name": "SIEM", "destination": SIEM}, streams.NewStream),
                keyring=Keyring("a master secret of 32 characters or more"),
                allow=parse_allow_list(""),
            )
            await streams.pause(tx, OPERATOR, company, str(stream["id"]))
        await db.run(REFUSED, str(stream["id"]), tenancy.workspace_id, company)
        return {"template": str(made["id"]), "schema": str(schema["id"]), "stream": str(stream["id"])}

    ids: dict[str, str] = site.run(furnish)
    return {
        "archive": "/console/archive",
        "archive-damaged": f"/console/archive/days/2026-01-10.{tenancy.workspace_id}",
        "templates": "/console/templates",
        "template": f"/console/templates/{ids['template']}",
        "template-form": f"/console/templates/{ids['template']}/edit",
        "schema": f"/console/schemas/{ids['schema']}",
        "schema-form": f"/console/schemas/{ids['schema']}/edit",
        "streams": "/console/streams",
        "stream": f"/console/streams/{ids['stream']}",
        "stream-form": f"/console/streams/{ids['stream']}/edit",
        "usage": "/console/usage",
    }


def test_a_view_is_kept_and_applied_by_one_click(site: Site, furnished: dict[str, str], open_page: Opener) -> None:
    with open_page("staff") as page:
        page.goto("/console/events?action=invoice.paid")
        page.locator("summary", has_text="Save").focus()
        page.keyboard.press("Enter")
        page.fill("#saved-as", "Paid invoices")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.locator(".saved li.on")).to_contain_text("Paid invoices")
        page.goto("/console/events")
        follow(page, ".saved a")
        expect(page).to_have_url(f"{site.url}/console/events?action=invoice.paid")
        page.locator("summary", has_text="Export").click()
        with page.expect_download() as waiting:
            page.click("a.menu-item:has-text('NDJSON')")
        lines = Path(waiting.value.path()).read_text().splitlines()
        assert len([line for line in lines if '"action":"invoice.paid"' in line]) == 30
        follow(page, "button[aria-label='Delete the saved filter Paid invoices']")
        expect(page.locator(".saved")).to_have_count(0)


def test_a_threshold_and_a_stream_are_made_by_hand(furnished: dict[str, str], open_page: Opener, shots: Path) -> None:
    with open_page("owner") as page:
        page.goto("/console/usage")
        page.click("summary:has-text('New threshold')")
        page.fill("#field-amount", "80")
        page.fill("#field-targets", "ops@example.com")
        follow(page, "button:has-text('Set threshold')")
        expect(page.locator("table", has_text="Soft, 80 %")).to_be_visible()
        page.goto("/console/streams/new")
        page.fill("#field-name", "Security lake")
        expect(page.locator("#field-bucket")).to_be_visible()
        page.check("#type-https")
        expect(page.locator("#field-bucket")).to_be_hidden()
        page.fill("#field-url", "http://127.0.0.1:9/in")
        follow(page, "button:has-text('Create stream')")
        expect(page.locator(".secret code")).to_contain_text("whsec_")
        page.screenshot(path=shots / "stream-made.png")


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_it(
    colours: str,
    width: str,
    furnished: dict[str, str],
    open_page: Opener,
    violations: Callable[[Page], list[str]],
    shots: Path,
) -> None:
    with open_page("owner", viewport=WIDE if width == "wide" else NARROW, colours=colours) as page:
        for what, address in in_turn(width, furnished.items()):
            page.goto(address)
            expect(page.locator("[data-health=good]")).to_be_visible()
            page.screenshot(path=shots / f"{what}-{width}-{colours}.png", full_page=True)
            assert (what, violations(page)) == (what, [])
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what
        page.goto("/console/events?action=invoice.paid")
        page.locator("summary", has_text="Export").click()
        page.screenshot(path=shots / f"events-export-{width}-{colours}.png")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
