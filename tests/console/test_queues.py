"""Queues in a real browser: who may see them, stopping one by keyboard, and what can be done about dead jobs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from mainstay import functions, jobs
from mainstay.cli import demo_functions
from mainstay.console.queues_one import tabs_of
from mainstay.kernel.db import Database
from tests.console.conftest import NARROW, WIDE, Opener, follow
from tests.console.site import Site, in_turn
from tests.console.work import ACT, EVIL, RUN, die, sql, stats, told

PATH = "/console/queues"
_DEPTHS = """insert into mainstay.queue_minutes (queue, minute, waiting, active, retrying, dead)
             select q.name, date_trunc('minute', mainstay.now()) - make_interval(mins => n::int),
               (40 + 30 * sin(n / 6.0 + length(q.name)))::int, (n * 7 % 5)::int, (n / 20)::int, (n < 12)::int * 3
             from mainstay.queues q, generate_series(1, 58) n on conflict do nothing"""


def press_to(page: Page, name: str) -> None:
    """The focus is moved to the button or link of that name by Tab alone."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"Tab does not lead to {name}")


def test_a_queue_is_paused_and_resumed_by_keyboard_alone(site: Site, open_page: Opener) -> None:
    with open_page("owner") as page:
        page.goto(PATH)
        row = page.locator("tr", has_text=jobs.REPORT)
        row.locator(".row-link").focus()
        press_to(page, "Pause")
        page.keyboard.press("Enter")
        expect(page.locator("[data-panel-title]")).to_be_focused()
        expect(page.locator("[data-panel-title]")).to_have_text(f"Pause {jobs.REPORT}?")
        page.keyboard.press("Escape")
        expect(page).to_have_url(f"{site.url}{PATH}")
        expect(row.get_by_role("link", name="Pause")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("[data-panel-title]")).to_be_focused()
        press_to(page, "Pause the queue")
        page.keyboard.press("Enter")
        expect(page.locator(".notice.good")).to_contain_text(f"{jobs.REPORT} is paused")
        expect(row.locator(".chip")).to_have_text("paused")
        expect(row).to_contain_text("by Owner Person")
        assert stats(site, jobs.REPORT).paused
        expect(page.locator("#queues-standing")).to_contain_text(f"{jobs.REPORT} is paused by Owner Person")
        row.locator(".row-link").focus()
        press_to(page, "Resume")
        page.keyboard.press("Enter")
        expect(page.locator("[data-panel-title]")).to_be_focused()
        press_to(page, "Resume the queue")
        page.keyboard.press("Enter")
        expect(row.locator(".chip")).to_have_text("running")
        assert not stats(site, jobs.REPORT).paused
    for action in ("queue.paused", "queue.resumed"):
        assert (site.emails["owner"], {"queue": jobs.REPORT}) in told(site, action)


def test_the_figures_follow(site: Site, open_page: Opener) -> None:
    with open_page("owner") as page:
        page.goto(PATH)
        expect(page.locator(".is-live")).to_be_visible()
        before = stats(site, jobs.EMAIL).dead
        die(site, 2, queue=jobs.EMAIL)
        cell = page.locator(f"[id='queue-{jobs.EMAIL}-dead']")
        expect(cell).to_have_text(str(before + 2))
        page.locator("tr", has_text=jobs.EMAIL).locator(".row-link").click()
        expect(page).to_have_url(f"{site.url}{PATH}/{jobs.EMAIL}")
        expect(page.locator("[aria-current=true]")).to_have_text(f"Dead {before + 2}")


def test_a_dead_job_is_looked_at_and_redriven(site: Site, open_page: Opener) -> None:
    sql(site, "update mainstay.queues set paused_at = now(), paused_by = 'a test' where name = $1", jobs.REPORT)
    (job,) = die(site)
    with open_page("owner") as page:
        page.goto(f"{PATH}/{jobs.REPORT}?state=dead")
        page.locator(f"[href$='/jobs/{job}']").press("Enter")
        panel = page.locator("#panel")
        expect(panel.locator("[data-panel-title]")).to_have_text(f"Job {job}")
        expect(page).to_have_url(f"{site.url}{PATH}/{jobs.REPORT}/jobs/{job}")
        expect(panel).to_contain_text("TemplateMissing: no template")
        expect(panel).to_contain_text(EVIL)
        expect(panel.locator(".attempts li")).to_have_count(3)
        assert page.locator("#panel img").count() == 0
        page.get_by_role("button", name="Redrive", exact=True).press("Enter")
        expect(page.locator(".notice.good")).to_have_text(f"Job {job} is in line again.")
        page.goto(f"{PATH}/{jobs.REPORT}/jobs/{job}")
        expect(panel.locator(".facts .chip")).to_have_text("waiting")
        expect(page.locator("[aria-current=true]")).to_contain_text("Waiting")
    assert sql(site, "select state, attempt from mainstay.jobs where id = $1", job) == [("waiting", 0)]
    facts = {"queue": jobs.REPORT, "id": job, "kind": "reports.render"}
    assert (site.emails["owner"], facts) in told(site, "job.redriven")
    site.run(_cancel_all)
    sql(site, "update mainstay.queues set paused_at = null, paused_by = null")


async def _cancel_all(db: Database) -> None:
    async with db.begin() as tx:
        await jobs.dead.cancel_matching(tx, jobs.Match(jobs.REPORT))


def test_all_dead_jobs_are_paged_and_cleared_once_the_name_is_typed(site: Site, open_page: Opener) -> None:
    site.run(_clear_all)
    ids = die(site, 60, queue=jobs.WORKFLOW)
    with open_page("owner") as page:
        page.goto(f"{PATH}/{jobs.WORKFLOW}")
        found = [int(text) for text in page.locator("#job-rows .row-link").all_inner_texts()]
        follow(page, "text=Older")
        found += [int(text) for text in page.locator("#job-rows .row-link").all_inner_texts()]
        assert found == ids
        page.click("text=Newer")
        expect(page.locator("#job-rows .row-link")).to_have_count(50)
        page.locator(f"[href$='/jobs/{ids[0]}']").click()
        page.locator(".danger summary").click()
        page.get_by_role("button", name="Clear the job").click()
        expect(page.locator(".notice.good")).to_have_text(f"Job {ids[0]} is cleared.")
        page.get_by_role("link", name="Clear all").click()
        expect(page.locator("#panel")).to_contain_text("59 dead jobs are removed")
        page.fill("[name=confirm]", "nova:flow")
        page.get_by_role("button", name="Clear 59 dead jobs").click()
        expect(page.locator(".error")).to_contain_text("clearing cannot be undone")
        assert stats(site, jobs.WORKFLOW).dead == 59
        page.goto(f"{PATH}/{jobs.WORKFLOW}/clear")
        page.fill("[name=confirm]", jobs.WORKFLOW)
        page.get_by_role("button", name="Clear 59 dead jobs").click()
        expect(page.locator(".notice.good")).to_have_text(f"59 dead jobs of {jobs.WORKFLOW} cleared.")
        page.goto(f"{PATH}/{jobs.WORKFLOW}?state=dead")
        expect(page.locator(".empty")).to_contain_text("No job is dead")
    assert stats(site, jobs.WORKFLOW).dead == 0
    (facts,) = [facts for email, facts in told(site, "jobs.cleared") if email == site.emails["owner"]]
    assert (facts["queue"], facts["counted"], facts["done"], facts["state"]) == (jobs.WORKFLOW, 59, 59, "done")


async def _clear_all(db: Database) -> None:
    async with db.begin() as tx:
        await jobs.clear_matching(tx, jobs.Match(jobs.WORKFLOW))


def test_all_dead_jobs_are_redriven(site: Site, open_page: Opener) -> None:
    sql(site, "update mainstay.queues set paused_at = now(), paused_by = 'a test' where name = $1", jobs.REPORT)
    many = len(die(site, 3)) + stats(site, jobs.REPORT).dead - 3
    with open_page("owner", java_script_enabled=False) as page:
        page.goto(f"{PATH}/{jobs.REPORT}")
        page.click("text=Redrive all")
        page.get_by_role("button", name=f"Redrive {many} dead jobs").click()
        expect(page.locator(".notice.good")).to_have_text(f"{many} dead jobs of {jobs.REPORT} in line again.")
        page.goto(f"{PATH}/{jobs.REPORT}/redrive")
        expect(page.locator("#panel")).to_contain_text("There is no dead job in this queue")
    assert (stats(site, jobs.REPORT).dead, stats(site, jobs.REPORT).waiting) == (0, many)
    site.run(_cancel_all)
    sql(site, "update mainstay.queues set paused_at = null, paused_by = null")


def test_a_kind_is_paused_and_let_go_on_by_a_share_by_keyboard(site: Site, open_page: Opener) -> None:
    with open_page("owner") as page:
        page.goto(f"{PATH}/{jobs.UPKEEP}")
        row = page.locator("#kind-rows tr", has_text="jobs.expire")
        row.locator(".row-link").press("Enter")
        expect(page.locator("[data-panel-title]")).to_be_focused()
        press_to(page, "Pause the kind")
        page.keyboard.press("Enter")
        expect(page.locator(".notice.good")).to_contain_text("jobs.expire is paused")
        expect(page.locator("#kind-rows tr").first).to_contain_text("jobs.expire")
        page.goto(PATH)
        follow(page, "text=Resume it")
        page.get_by_role("button", name="Let 10 of 100 start").press("Enter")
        expect(row.locator(".chip")).to_have_text("10 of 100 start")
        row.locator(".row-link").click()
        page.get_by_role("button", name="Resume all").click()
        expect(row.locator(".chip")).to_have_text("running")
    facts = [one for _, one in told(site, "kind.resumed")]
    assert {"kind": "jobs.expire", "share": 10} in facts


def test_a_run_of_a_function_is_followed_live_from_step_to_step(site: Site, open_page: Opener) -> None:
    async def send(db: Database, name: str, data: dict[str, object]) -> None:
        async with db.begin() as tx:
            await functions.send(tx, [{"name": name, "data": data}])

    site.run(lambda db: send(db, demo_functions.PLACED, {"order": "A-1", "customer": "u-1", "lines": [1, 2]}))
    with open_page("owner") as page:
        page.goto("/console/functions")
        expect(page.locator("#function-rows")).to_contain_text("event shop/order.placed")
        for _ in range(600):
            page.goto("/console/functions/shop.fulfil-order?state=waiting")
            if page.locator("#run-rows .row-link").count():
                break
        follow(page, "#run-rows .row-link")
        expect(page.locator("#run-waits")).to_contain_text("waits for an event shop/order.paid")
        expect(page.locator(".is-live")).to_be_visible()
        site.run(lambda db: send(db, demo_functions.PAID, {"order": "A-1"}))
        expect(page.locator("#run-state .chip")).to_have_text("completed")
        steps = page.locator("#run-steps summary .line-name > span:not(.chip)")
        assert steps.all_inner_texts() == [
            "reserve stock", "payment", "packing", "book the courier", "tell the customer"
        ]  # fmt: skip
        page.locator("summary", has_text="book the courier").press("Enter")
        expect(page.locator("details.line[open]")).to_contain_text("TR-A-1")
        page.reload()
        expect(page.get_by_role("region", name="Output").last).to_contain_text('"outcome": "shipped"')


def test_a_schedule_is_run_by_hand_without_a_script(site: Site, open_page: Opener) -> None:
    with open_page("owner", java_script_enabled=False) as page:
        page.goto("/console/schedules")
        expect(page.locator("#schedules-standing")).to_contain_text("schedule")
        page.click("a:has-text('jobs.partitions')")
        page.click("text=Run now")
        page.get_by_role("button", name="Run it now").click()
        expect(page.locator(".notice.good")).to_contain_text("Job ")
        expect(page.locator("#run-rows")).to_contain_text("by hand")
    assert (site.emails["owner"], "jobs.partitions") in [
        (email, facts["schedule"]) for email, facts in told(site, "schedule.run_by_hand")
    ]


def test_a_count_at_its_bound_says_that_there_may_be_more() -> None:
    counted = jobs.QueueStats(
        queue="a b:c", priority=5, waiting=0, delayed=9_999, active=1, retrying=0, completed=7, dead=10_000,
        paused_at=None, paused_by=None, bound=10_000,
    )  # fmt: skip
    tabs = tabs_of(counted, "dead")
    assert [(words, is_on) for words, _, is_on in tabs][::4] == [
        ("Dead 10\u202f000+", True),
        ("Delayed 9\u202f999", False),
    ]
    assert tabs[0][1] == "/console/queues/a%20b:c?state=dead"


WRONG = {
    "/no:queue": (404, "There is no queue no:queue"),
    f"/{jobs.EMAIL}?state=lost": (400, "There is no state lost"),
    f"/{jobs.EMAIL}?state=dead&cursor=x": (400, "not a cursor of this list"),
    f"/{jobs.EMAIL}/jobs/9223372036854775806": (404, "no job 9223372036854775806"),
    f"/{jobs.EMAIL}/jobs/9223372036854775808": (404, "There is no such job"),
    f"/{jobs.EMAIL}?company=acme": (400, "A company is filtered by its id"),
    f"/{jobs.EMAIL}?state=active&error=x": (400, "Only dead jobs can be filtered by their error"),
    f"/{jobs.EMAIL}/jobs/-1": (404, "There is no such job"),
    f"/{jobs.EMAIL}/jobs/%C2%B2": (404, "There is no such job"),
}


def test_a_wrong_address_is_answered_in_words(site: Site, open_page: Opener) -> None:
    (job,) = die(site, queue=jobs.EMAIL)
    wrong = {**WRONG, f"/{jobs.REPORT}/jobs/{job}": (404, f"no job {job}")}
    with open_page("owner") as page:
        for address, (status, words) in wrong.items():
            answer = page.goto(PATH + address)
            assert answer is not None
            assert answer.status == status, address
            expect(page.locator("main")).to_contain_text(words)


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_it(
    colours: str, width: str, site: Site, open_page: Opener, violations: Callable[[Page], list[str]], shots: Path
) -> None:
    sql(site, _DEPTHS)
    sql(site, "update mainstay.queues set paused_at = now(), paused_by = 'Mara Lindqvist' where name = $1", jobs.REPORT)
    job = die(site, 3, queue=jobs.EMAIL, kind="email.send", error="SmtpRefused: 550 mailbox unavailable")[0]
    (act,) = sql(site, ACT)[0]
    (run,) = sql(site, RUN)[0]
    name = f"{width}-{colours}"
    with open_page("owner", viewport=WIDE if width == "wide" else NARROW, colours=colours) as page:
        pages = (
            ("queues", PATH),
            ("queue", f"{PATH}/{jobs.EMAIL}"),
            ("queue-job", f"{PATH}/{jobs.EMAIL}/jobs/{job}"),
            ("queue-kind", f"{PATH}/{jobs.UPKEEP}/kinds/jobs.fold?state=delayed"),
            ("queue-clear", f"{PATH}/{jobs.EMAIL}/clear?kind=email.send"),
            ("queue-act", f"{PATH}/{jobs.EMAIL}/acts/{act}"),
            ("schedules", "/console/schedules"),
            ("schedule", "/console/schedules/jobs.fold/run"),
            ("functions", "/console/functions"),
            ("function-run", f"/console/functions/runs/{run}"),
        )
        for what, address in in_turn(width, pages):
            page.goto(address)
            expect(page.locator("[data-health=good]")).to_be_visible()
            page.screenshot(path=shots / f"{what}-{name}.png")
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sql(site, "update mainstay.queues set paused_at = null, paused_by = null")
