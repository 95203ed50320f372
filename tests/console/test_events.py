"""Events in a real browser: they arrive while somebody looks, are filtered, paged and opened, and prove themselves."""

import json
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from mainstay.console.events import changes_of, filters_of, kept_of, with_filter
from mainstay.console.trail import MOST_STEPS, Trail, trail_of
from tests.console.conftest import NARROW, WIDE, Opener, follow
from tests.console.site import Site, in_turn
from tests.tenancy import Tenancy, open_tenancy

PATH = "/console/events"
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
INVOICE: dict[str, Any] = {
    "action": "invoice.approved",
    "category": "billing",
    "actor": {"id": "usr_8f2", "email": "mara.lindqvist@example.com", "name": "Mara Lindqvist"},
    "target": {"id": "inv_2207", "type": "invoice"},
    "projectId": "prj_north",
    "payload": {"amount": {"value": 128400, "currency": "EUR"}, "lines": [{"sku": "A-1", "count": 3}], "late": False},
    "metadata": {"ip": "203.0.113.7", "client": "web 4.2"},
    "changes": [
        {"field": "status", "old": "draft", "new": "approved"},
        {"field": "approvers", "old": ["usr_101"], "new": ["usr_101", "usr_8f2"]},
        {"field": "note", "new": "checked twice"},
    ],
}
USUAL = [
    ("user.signed_in", "auth", "usr_101", "jonas.weber@example.com", None),
    ("document.exported", "data", "usr_8f2", "mara.lindqvist@example.com", ("document", "doc_771")),
    ("member.invited", "access", "usr_333", "amina.diallo@example.com", ("member", "mem_90")),
    ("api_key.rotated", "access", "svc_deploy", None, ("api_key", "key_12")),
    ("invoice.voided", "billing", "usr_101", "jonas.weber@example.com", ("invoice", "inv_2198")),
]


def send(site: Site, event: dict[str, Any], tenancy: Tenancy | None = None) -> dict[str, Any]:
    """The stored event."""
    auth = (tenancy or site.tenancy).auth
    answer = httpx.post(f"{site.url}/v1/key/workspace/events", json=event, headers=auth, timeout=60)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def send_many(site: Site, many: int) -> str:
    """That many usual events under one project, which is given."""
    project = f"p-{secrets.token_hex(4)}"
    events = []
    for n in range(many):
        action, category, actor, email, target = USUAL[n % len(USUAL)]
        event: dict[str, Any] = {"action": action, "category": category, "projectId": project, "payload": {"n": n}}
        event["actor"] = {"id": actor, **({"email": email} if email else {})}
        if target:
            event["target"] = {"type": target[0], "id": target[1]}
        events.append(event)
    url = f"{site.url}/v1/key/workspace/events/batch"
    answer = httpx.post(url, json={"events": events}, headers=site.tenancy.auth, timeout=60)
    assert answer.status_code == 200, answer.text
    return project


def shown(page: Page) -> list[int]:
    """The seqs in the list, from the top."""
    return [
        int(text.replace("\u202f", "")) for text in page.locator("#events-rows td[data-label=seq]").all_inner_texts()
    ]


def test_an_event_arrives_while_somebody_looks(site: Site, open_page: Opener) -> None:
    send_many(site, 5)
    with open_page("staff") as page:
        page.goto(PATH)
        expect(page.locator(".is-live [data-live-mark]")).to_have_text("live")
        first = page.locator("#events-rows .row-link").first
        first.focus()
        before, top = shown(page), first.element_handle()
        stored = send(site, INVOICE)
        row = page.locator(f"#event-{stored['id']}")
        expect(row).to_be_visible(timeout=15_000)
        assert page.evaluate("top => document.activeElement === top", top)
        assert shown(page) == [stored["seq"], *before]
        send(site, INVOICE)
        expect(page.locator("#events-rows tr")).to_have_count(len(before) + 2)
        row.locator("a").click()
        expect(page.locator("[data-panel-title]")).to_have_text("invoice.approved")
        expect(page).to_have_url(f"{site.url}{PATH}/{stored['id']}")


def test_who_reads_further_down_or_pauses_is_not_disturbed(site: Site, open_page: Opener) -> None:
    send_many(site, 50)
    with open_page("staff") as page:
        page.goto(PATH)
        expect(page.locator(".is-live")).to_be_visible()
        before = shown(page)
        page.evaluate("scrollTo(0, 600)")
        assert page.evaluate("scrollY") > 300
        stored = send(site, INVOICE)
        expect(page.get_by_role("button", name="1 new: show")).to_be_visible(timeout=15_000)
        expect(page.locator("[data-live-mark]")).to_have_text("paused")
        assert shown(page) == before
        page.get_by_role("button", name="1 new: show").click()
        expect(page.locator(f"#event-{stored['id']}")).to_be_in_viewport()
        expect(page.locator("[data-live-mark]")).to_have_text("live")
        page.locator("[data-live-pause]").focus()
        page.keyboard.press("Enter")
        expect(page.locator("[data-live-pause]")).to_have_attribute("aria-pressed", "true")
        later = send(site, INVOICE)
        expect(page.get_by_role("button", name="1 new: show")).to_be_visible(timeout=15_000)
        expect(page.locator(f"#event-{later['id']}")).to_have_count(0)
        page.keyboard.press("Enter")
        expect(page.locator(f"#event-{later['id']}")).to_be_visible()


def test_a_rush_is_told_and_not_hidden(site: Site, open_page: Opener) -> None:
    send_many(site, 3)
    with open_page("staff") as page:
        page.goto(PATH)
        expect(page.locator(".is-live")).to_be_visible()
        first = send(site, INVOICE)
        expect(page.locator(f"#event-{first['id']}")).to_be_visible()
        send_many(site, 150)
        expect(page.locator("#events-rows")).to_contain_text("More arrived than is shown here")
        assert page.locator("#events-rows tr").nth(50).inner_text().startswith("More arrived")


def test_an_empty_workspace_tells_how_to_send_the_first(site: Site, open_page: Opener, shots: Path) -> None:
    with open_page("manager") as page:
        page.goto("/console/place")
        page.click("button:has-text('Staging')")
        page.goto(PATH)
        expect(page.locator(".empty")).to_contain_text(f"curl {site.url}/v1/key/workspace/events")
        page.screenshot(path=shots / "events-empty.png")
        auth = {"authorization": f"Bearer {site.tenancy.other_key}"}
        answer = httpx.post(f"{site.url}/v1/key/workspace/events", json=INVOICE, headers=auth, timeout=60)
        expect(page.locator(f"#event-{answer.json()['id']}")).to_be_visible(timeout=15_000)
        expect(page.locator(".empty")).to_have_count(0)
        expect(page.locator("thead")).not_to_contain_text("Workspace")
        elsewhere = send(site, INVOICE)
        page.goto(f"{PATH}/{elsewhere['id']}")
        expect(page.locator("#panel")).to_contain_text("Production")
        page.goto("/console/place")
        page.click("button:has-text('All workspaces')")


def test_filters_are_chips_and_pages_lead_older_and_newer(site: Site, open_page: Opener) -> None:
    project = send_many(site, 120)
    with open_page("manager") as page:
        page.goto(PATH)
        page.keyboard.press("/")
        page.keyboard.type(project)
        page.select_option("#filter-add", "projectId")
        page.get_by_role("button", name="Filter", exact=True).click()
        expect(page).to_have_url(f"{site.url}{PATH}?projectId={project}")
        expect(page.locator(".heading")).to_contain_text("120 events match")
        pages = [shown(page)]
        for _ in range(2):
            follow(page, "text=Older")
            pages.append(shown(page))
        seqs = [seq for one in pages for seq in one]
        assert [len(one) for one in pages] == [50, 50, 20]
        assert seqs == sorted(set(seqs), reverse=True)
        expect(page.locator("text=Older")).to_have_count(0)
        expect(page.locator("[data-live]")).to_have_count(0)
        follow(page, "text=Newer")
        assert shown(page) == pages[1]
        follow(page, "text=Newer")
        assert shown(page) == pages[0]
        page.goto(f"{PATH}?projectId={project}&action=user.signed_in")
        expect(page.locator(".heading")).to_contain_text("24 events match")
        page.get_by_label(f"Remove the filter Project {project}").focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{site.url}{PATH}?action=user.signed_in")
        page.click("text=Last hour")
        expect(page).to_have_url(f"{site.url}{PATH}?action=user.signed_in&from=1h")
        expect(page.locator("[aria-current=true]")).to_have_text("Last hour")
        assert page.locator("#events-rows tr").count() > 0


def test_an_event_shows_all_that_the_api_gives_and_its_place(site: Site, open_page: Opener) -> None:
    stored = send(site, INVOICE)
    flat = httpx.get(f"{site.url}/v1/key/workspace/events/{stored['id']}", headers=site.tenancy.auth, timeout=60).json()
    behind = send(site, INVOICE)
    with open_page("staff") as page:
        page.goto(f"{PATH}/{stored['id']}?action=invoice.approved")
        panel = page.locator("#panel")
        assert (
            json.loads(panel.locator("[data-copy][aria-label='Copy event']").get_attribute("data-copy") or "") == flat
        )
        expect(panel).to_contain_text(re.compile(rf"{stored['seq']} of \s*{behind['seq']}"))
        expect(panel).to_contain_text(flat["hash"])
        expect(panel).to_contain_text(flat["prevHash"])
        workspace = site.tenancy.workspace_id
        expect(panel).to_contain_text(f"mainstay verify --company {site.tenancy.company_id} --workspace {workspace}")
        expect(panel.locator(".changes tbody tr").nth(0)).to_have_text(
            re.compile('status.*"draft".*"approved"', re.DOTALL)
        )
        expect(panel.locator(".changes tbody tr").nth(2)).to_have_text(
            re.compile('note.*null.*"checked twice"', re.DOTALL)
        )
        expect(panel.locator(".j-fold:not([open])").first).to_have_text(re.compile("1 item|2 members"))
        expect(panel.get_by_text('"A-1"').first).to_be_hidden()
        panel.locator(".j-fold:not([open]) > summary").first.press("Enter")
        expect(panel.get_by_text('"A-1"').first).to_be_visible()
        assert page.locator("#events-rows tr").count() > 1
        page.locator("[data-close]").click()
        expect(page).to_have_url(f"{site.url}{PATH}?action=invoice.approved")


def test_what_an_event_carries_stays_text(site: Site, open_page: Opener) -> None:
    project = f"p-{secrets.token_hex(4)}"
    evil: dict[str, Any] = {
        "action": "user.renamed", "category": EVIL, "projectId": project,
        "actor": {"id": EVIL, "email": "<b>a</b>@example.com", "name": EVIL}, "target": {"id": EVIL, "type": EVIL},
        "payload": {EVIL: EVIL}, "metadata": {"a": EVIL}, "changes": [{"field": EVIL, "old": EVIL, "new": [EVIL]}],
    }  # fmt: skip
    stored = send(site, evil)
    refused = httpx.post(
        f"{site.url}/v1/key/workspace/events", json={"action": "a<b>"}, headers=site.tenancy.auth, timeout=60
    )
    assert refused.status_code == 400
    with open_page("staff") as page:
        page.goto(f"{PATH}?text={EVIL}&projectId={project}")
        page.locator(f"#event-{stored['id']} a").click()
        expect(page.locator("#panel")).to_contain_text(EVIL)
        expect(page.locator(".set-filters")).to_contain_text(EVIL)
        assert page.locator("main img, #panel img, main script, #panel script, main b, #panel b").count() == 0
        again = send(site, evil)
        expect(page.locator(f"#event-{again['id']}")).to_be_visible(timeout=15_000)
        assert page.locator("main img, main script").count() == 0


WRONG = {
    "?from=yesterday": "From must be a date",
    "?from=2026-02-01&to=2026-01-01": "must not lie after",
    "?cursor=nonsense": "not a cursor of this list",
    f"?action={'a' * 513}": "must have 1 to 512 characters",
    "?add=from&value=12%2F31": "From must be a date",
}


def test_a_wrong_address_is_answered_in_words(site: Site, open_page: Opener) -> None:
    other = site.run(open_tenancy)
    theirs = send(site, INVOICE, other)
    with open_page("staff") as page:
        for query, words in WRONG.items():
            answer = page.goto(PATH + query)
            assert answer is not None
            assert answer.status == 400, query
            expect(page.locator(".notice.bad")).to_contain_text(words)
        for nothing in (theirs["id"], "no-uuid", "00000000-0000-7000-8000-00000000dead"):
            answer = page.goto(f"{PATH}/{nothing}")
            assert answer is not None
            assert answer.status == 404
            expect(page.locator(".error")).to_contain_text("belong to a company that you do not look at now")
        page.goto(f"{PATH}?add=nonsense&value=x")
        expect(page).to_have_url(f"{site.url}{PATH}")
        page.goto(f"{PATH}?action=never.happened")
        expect(page.locator(".empty")).to_contain_text("No event matches")
        stored = send(site, {"action": "never.happened"})
        expect(page.locator(f"#event-{stored['id']}")).to_be_visible(timeout=15_000)
        expect(page.locator(".empty")).to_have_count(0)


def test_without_scripts_it_reads_filters_and_opens(site: Site, open_page: Opener) -> None:
    project = send_many(site, 60)
    with open_page("staff", java_script_enabled=False) as page:
        page.goto(PATH)
        page.select_option("#filter-add", "projectId")
        page.fill("#filter-value", project)
        page.click("button:has-text('Filter')")
        expect(page.locator("#events-rows tr")).to_have_count(50)
        page.click("text=Older")
        expect(page.locator("#events-rows tr")).to_have_count(10)
        page.locator(".row-link").first.click()
        expect(page.locator("#panel")).to_contain_text("Place in the chain")


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_it(
    colours: str, width: str, site: Site, open_page: Opener, violations: Callable[[Page], list[str]], shots: Path
) -> None:
    project = send_many(site, 20)
    stored = send(site, {**INVOICE, "projectId": project})
    name = f"{width}-{colours}"
    with open_page("owner", viewport=WIDE if width == "wide" else NARROW, colours=colours) as page:
        pages = (
            ("events", PATH),
            ("events-filtered", f"{PATH}?actorEmail=jonas.weber%40example.com&projectId={project}&from=1h"),
            ("events-panel", f"{PATH}/{stored['id']}?projectId={project}"),
            ("events-nothing", f"{PATH}?action=never.was"),
            ("events-wrong", f"{PATH}?from=yesterday"),
        )
        for what, address in in_turn(width, pages):
            page.goto(address)
            expect(page.locator("[data-health=good]")).to_be_visible()
            page.screenshot(path=shots / f"{what}-{name}.png")
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_trail_leads_back_by_the_way_it_came() -> None:
    first = Trail("/l", {"a": "b"})
    assert (first.newer, first.older(None), first.older("c1")) == (None, None, "/l?a=b&cursor=c1")
    second = trail_of("/l", {}, {"cursor": "c1"})
    assert (second.newer, second.older("c2")) == ("/l", "/l?cursor=c2&trail=c1")
    third = trail_of("/l", {}, {"cursor": "c3", "trail": "c1~c2"})
    assert (third.newer, third.older("c4")) == ("/l?cursor=c2&trail=c1", "/l?cursor=c4&trail=c1~c2~c3")
    long = trail_of("/l", {}, {"cursor": "z", "trail": "~".join(f"c{n}" for n in range(MOST_STEPS + 5))})
    assert (len(long.passed), long.passed[-1]) == (MOST_STEPS, f"c{MOST_STEPS + 4}")
    assert trail_of("/l", {}, {"cursor": "z", "trail": "<b>~ok~" + "a" * 1_025}).passed == ("ok",)


def test_filters_of_an_address() -> None:
    assert kept_of({"to": "2026-01-02", "action": "a", "nonsense": "x", "text": ""}) == {
        "action": "a",
        "to": "2026-01-02",
    }
    assert with_filter({"action": "a"}, "action", " b ") == {"action": "b"}
    assert with_filter({"action": "a"}, "text", "  ") == {"action": "a"}
    assert changes_of(None) == []
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert filters_of({"from": "24h"}, noon).since == datetime(2026, 1, 1, 12, tzinfo=UTC)
