"""Webhooks at the console: made, watched, repaired, replayed and ended, by keyboard and by hostile input."""

import asyncio
import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from mainstay.webhooks import signing
from tests.console.conftest import NARROW, WIDE, Opener
from tests.console.site import PASSWORD, Site, csrf_of, in_turn
from tests.receivers import Behaviour, Receiver, ok

PATH = "/console/webhooks"
API = "/v1/key/company/webhooks"
HOSTILE = "<script>alert(1)</script>\"'&{{ 7777 * 7777 }}"


class Elsewhere:
    """A receiver in a thread of its own, beside the browser's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.receiver = Receiver(ok())
        self._do(self.receiver.__aenter__())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def behave(self, *behaviours: Behaviour) -> None:
        """From the next request on, these answers."""
        self.receiver.behave(*behaviours)

    def close(self) -> None:
        """Nobody listens any more."""
        self._do(self.receiver.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


@pytest.fixture
def receiver() -> Iterator[Elsewhere]:
    elsewhere = Elsewhere()
    yield elsewhere
    elsewhere.close()


def signed_in(site: Site, role: str) -> httpx.Client:
    """A browser profile without a browser."""
    client = httpx.Client(base_url=site.url, timeout=60)
    token = csrf_of(client.get("/console/sign-in").text)
    data = {"csrf": token, "email": site.emails[role], "password": PASSWORD}
    assert client.post("/console/sign-in", data=data).status_code == 303
    return client


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[httpx.Client]:
    """The manager's profile."""
    manager = signed_in(site, "manager")
    yield manager
    manager.close()


def post(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """The answer to a form as the page sends it."""
    return client.post(path, data={"csrf": csrf_of(client.get("/console").text), **fields})


def make(site: Site, url: str, **more: Any) -> dict[str, Any]:
    """A webhook of the company, made over the API."""
    body = {"url": url, "events": ["never.sent"], **more}
    answer = httpx.post(f"{site.url}{API}", json=body, headers=site.tenancy.company_auth, timeout=60)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def send(site: Site, endpoint: dict[str, Any], status: str) -> str:
    """The id of a test delivery that came to that status."""
    path = f"{site.url}{API}/{endpoint['id']}"
    sent = httpx.post(f"{path}/test", headers=site.tenancy.company_auth, timeout=60)
    assert sent.status_code == 202, sent.text
    for _ in range(1_200):
        log = httpx.get(f"{path}/logs", headers=site.tenancy.company_auth, timeout=60).json()["data"]
        found = {one["id"]: one["status"] for one in log}
        if found.get(sent.json()["deliveryId"]) == status:
            return str(sent.json()["deliveryId"])
        time.sleep(0.05)
    raise AssertionError(found)


def go_to(page: Page, name: str, role: Any = "link") -> None:
    """The keyboard stands on that control; what was pressed before has been done."""
    target = page.get_by_role(role, name=name, exact=True).first
    target.focus()
    expect(target).to_be_focused()


def test_by_keyboard_made_tested_and_delivered(site: Site, open_page: Opener, receiver: Elsewhere) -> None:
    with open_page("manager") as page:
        page.goto(PATH)
        go_to(page, "New webhook")
        page.keyboard.press("Enter")
        page.wait_for_url("**/webhooks/new")
        page.get_by_label("Address", exact=True).focus()
        page.keyboard.type(receiver.receiver.url("/keyboard"))
        page.keyboard.press("Tab")
        page.keyboard.type("invoice.*")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("Made by keyboard")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Your webhook is ready")).to_be_visible()
        secret = page.locator(".secret-value code").inner_text()
        assert secret.startswith("whsec_")
        assert secret not in page.url
        go_to(page, "Send test event", "button")
        page.keyboard.press("Enter")
        page.wait_for_url("**/deliveries/*")
        expect(page.locator("#delivery-state .chip")).to_have_text("delivered")
        expect(page.locator(".try summary")).to_contain_text("200")
        (request,) = receiver.receiver.requests
        signing.verify([secret], request.headers, request.body, now_seconds=time.time())
        page.locator("[data-close]").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/webhooks/[^/]*$"))
        expect(page.locator("#webhook-deliveries")).to_contain_text("webhook.test")
        assert secret not in page.content()
        page.reload()
        assert secret not in page.content()


def test_a_failed_delivery_is_understood_and_replayed(site: Site, open_page: Opener, receiver: Elsewhere) -> None:
    receiver.behave(ok(500, b'{"error": "the ledger is closed <b>today</b>"}', {"x-receiver": "ledger-7"}))
    endpoint = make(site, receiver.receiver.url("/failing"), retries=0)
    send(site, endpoint, "FAILED")
    with open_page("manager") as page:
        page.goto(f"{PATH}/{endpoint['id']}")
        expect(page.locator("#webhook-verdict strong")).to_have_text("Failing.")
        go_to(page, "Failed")
        page.keyboard.press("Enter")
        page.wait_for_url("**?status=FAILED")
        row = page.locator("#webhook-deliveries .row-link").first
        row.focus()
        page.keyboard.press("Enter")
        expect(page.locator("[data-panel-title]")).to_be_focused()
        expect(page.locator("#delivery-tries")).to_contain_text("the ledger is closed <b>today</b>")
        expect(page.locator("#delivery-tries")).to_contain_text("ledger-7")
        expect(page.locator("#delivery-state .delivery-error")).to_contain_text("500")
        receiver.behave(ok())
        go_to(page, "Replay", "button")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("Sent again")
        expect(page.locator("#delivery-state .chip")).to_have_text("delivered")
        expect(page.locator(".delivery")).to_contain_text("A replay of")
        first, again = receiver.receiver.requests
        assert first.headers["webhook-id"] == again.headers["webhook-id"]
        page.keyboard.press("Escape")
        page.wait_for_url(re.compile("/webhooks/[^/]*$"))
        expect(page.locator("#webhook-verdict strong")).to_have_text("Healthy.")


def test_the_list_of_deliveries_is_live(site: Site, open_page: Opener, receiver: Elsewhere) -> None:
    endpoint = make(site, receiver.receiver.url("/live"))
    with open_page("staff") as page:
        page.goto(f"{PATH}/{endpoint['id']}")
        expect(page.get_by_text("No deliveries yet")).to_be_visible()
        send(site, endpoint, "DELIVERED")
        expect(page.locator("#webhook-deliveries .chip")).to_have_text("delivered")
        expect(page.get_by_role("button", name="Send test event")).to_have_count(0)


def test_many_are_replayed_after_a_count(site: Site, open_page: Opener, receiver: Elsewhere) -> None:
    receiver.behave(ok(500))
    endpoint = make(site, receiver.receiver.url("/many"), retries=0)
    for _ in range(3):
        send(site, endpoint, "FAILED")
    receiver.behave(ok())
    with open_page("manager") as page:
        page.goto(f"{PATH}/{endpoint['id']}")
        go_to(page, "Replay many")
        page.keyboard.press("Enter")
        page.wait_for_url("**/replays")
        go_to(page, "Count first", "button")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="would be sent again")).to_contain_text("3 messages")
        assert len(receiver.receiver.requests) == 3
        go_to(page, "Start the replay", "button")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("Started: 3 messages")
        expect(page.locator("#replays-rows .chip")).to_have_text("done")
        expect(page.locator("#replays-rows progress")).to_have_attribute("value", "100")
    for _ in range(1_200):
        if len(receiver.receiver.requests) == 6:
            break
        time.sleep(0.05)
    ids = [one.headers["webhook-id"] for one in receiver.receiver.requests]
    assert sorted(ids[:3]) == sorted(ids[3:])


def test_a_fault_is_told_at_its_field_and_nothing_typed_is_lost(
    site: Site, open_page: Opener, receiver: Elsewhere, violations: Callable[[Page], list[str]], shots: Path
) -> None:
    endpoint = make(site, receiver.receiver.url("/edited"), headers={"X-Api-Key": "0123456789abcdef"})
    with open_page("owner") as page:
        page.goto(f"{PATH}/{endpoint['id']}/edit")
        page.get_by_label("Address", exact=True).fill("http://10.0.0.1/hook")
        page.get_by_label("Description").fill("Kept <i>as typed</i>")
        page.get_by_text("More: delivery and content").click()
        page.get_by_label("Filter", exact=True).fill('{"data.amount": {"$above": 1}}')
        page.get_by_label("At most a second").fill("many")
        page.get_by_role("button", name="Save", exact=True).last.click()
        expect(page.get_by_role("alert")).to_contain_text("3 things are not right yet")
        expect(page.locator("#hint-url")).to_contain_text("private network")
        expect(page.locator("#hint-filter")).to_contain_text("is no operator")
        expect(page.locator("#hint-rateLimitPerSecond")).to_have_text("Must be a whole number")
        expect(page.get_by_label("Description")).to_have_value("Kept <i>as typed</i>")
        expect(page.get_by_label("At most a second")).to_have_value("many")
        expect(page.get_by_label("Headers of your own")).to_have_value("X-Api-Key: •••• cdef")
        page.screenshot(path=shots / "webhook-fault.png", full_page=True)
        assert violations(page) == []
        page.get_by_label("Address", exact=True).fill(receiver.receiver.url("/edited/2"))
        page.get_by_label("At most a second").fill("20")
        page.get_by_label("Filter", exact=True).fill('{"data.amount": {"$gte": 100}}')
        page.get_by_label("Try the filter on a message").fill('{"data": {"amount": 99}}')
        page.get_by_role("button", name="Try the filter").click()
        expect(page.get_by_role("status").filter(has_text="does not fit")).to_be_visible()
        page.get_by_label("Try the filter on a message").fill('{"data": {"amount": 100}}')
        page.get_by_role("button", name="Try the filter").click()
        expect(page.get_by_role("status").filter(has_text="This message fits")).to_be_visible()
        page.get_by_role("button", name="Save", exact=True).last.click()
        expect(page.locator("#notice")).to_contain_text("Saved.")
        expect(page.locator("dl.facts", has_text="20 a second")).to_be_visible()
    path = f"{site.url}{API}/{endpoint['id']}"
    stored = httpx.get(path, headers=site.tenancy.company_auth, timeout=60).json()
    assert (stored["rateLimitPerSecond"], stored["description"]) == (20, "Kept <i>as typed</i>")
    assert stored["headers"] == {"X-Api-Key": "•••• cdef"}
    send(site, stored, "DELIVERED")
    assert receiver.receiver.requests[0].headers["x-api-key"] == "0123456789abcdef"


@pytest.mark.parametrize(("width", "colours"), [("wide", "light"), ("narrow", "dark")])
def test_everybody_can_use_them(
    colours: str,
    width: str,
    site: Site,
    open_page: Opener,
    receiver: Elsewhere,
    violations: Callable[[Page], list[str]],
    shots: Path,
) -> None:
    receiver.behave(ok(), ok(), ok(503, b'{"error": "try later", "queue": [1, 2, 3]}'))
    endpoint = make(
        site, receiver.receiver.url("/seen"), description="Billing of the North", events=["invoice.*", "user.*"]
    )
    for status in ("DELIVERED", "DELIVERED", "RETRYING"):
        delivery = send(site, endpoint, status)
    here = f"{PATH}/{endpoint['id']}"
    with open_page("owner", viewport=WIDE if width == "wide" else NARROW, colours=colours) as page:
        pages = (
            ("list", PATH), ("new", f"{PATH}/new"), ("one", here), ("delivery", f"{here}/deliveries/{delivery}"),
            ("replays", f"{here}/replays"), ("checking", f"{here}/checking"), ("type", f"{PATH}/types/audit.event"),
        )  # fmt: skip
        for name, path in in_turn(width, pages):
            page.goto(path)
            if name == "one":
                expect(page.locator(".chart .uplot").first).to_be_visible()
            page.screenshot(path=shots / f"webhook-{name}-{width}-{colours}.png", full_page=name != "delivery")
            assert violations(page) == [], name
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        page.goto(f"{PATH}/new")
        page.fill("#field-url", receiver.receiver.url("/more"))
        page.fill("#field-events", "user.*")
        page.get_by_text("More: delivery and content").click()
        assert violations(page) == []
        page.screenshot(path=shots / f"webhook-more-{width}-{colours}.png", full_page=True)
        page.get_by_role("button", name="Create webhook").click()
        expect(page.locator(".secret-value")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator(".secret-value code").evaluate("(code) => { code.textContent = 'whsec_shown-once' }")
        page.screenshot(path=shots / f"webhook-secret-{width}-{colours}.png", full_page=True)


def test_without_scripts_forms_work(site: Site, open_page: Opener, receiver: Elsewhere) -> None:
    receiver.behave(ok(500), ok())
    with open_page("manager", java_script_enabled=False) as page:
        page.goto(f"{PATH}/new")
        page.fill("#field-url", receiver.receiver.url("/plain"))
        page.fill("#field-events", "user.*")
        page.click("text=More: delivery and content")
        page.fill("#field-retries", "0")
        page.click("button:has-text('Create webhook')")
        expect(page.locator(".secret-value")).to_contain_text("whsec_")
        page.click("button:has-text('Send test event')")
        page.wait_for_url("**/deliveries/*")
        for _ in range(600):
            if "failed" in page.locator("#delivery-state").inner_text():
                break
            page.reload()
        expect(page.locator("#delivery-tries")).to_contain_text("500")
        page.click("button:has-text('Replay')")
        page.wait_for_url("**/deliveries/*")
        page.click("[data-close]")
        page.click("a:has-text('Failed')")
        expect(page.locator("#webhook-deliveries .chip")).to_have_text(["failed"])
        page.click("a:has-text('Replay many')")
        page.click("button:has-text('Count first')")
        expect(page.locator("[role=status]", has_text="would be sent again")).to_contain_text("1 message")


def sample(page: str, language: str) -> str:
    """The code of that language as the page shows it."""
    found = re.search(rf'aria-label="{language}">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    return html.unescape(re.sub(r"<[^>]+>", "", found.group(1)))


@pytest.mark.parametrize("signed", ["hmac", "ed25519"])
def test_the_samples_verify_what_is_sent_and_nothing_else(
    signed: str, site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    answer = post(client, PATH, url="http://127.0.0.1:9/s", events="never.sent", kind="push", signing=signed)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    secret = re.search(r"<code>(whsec_[^<]+)</code>", answer.text)
    public = re.search(r"<code>(whpk_[^<]+)</code>", answer.text)
    assert (secret is None, public is None) == ((False, True) if signed == "hmac" else (True, False))
    if signed == "hmac":
        assert secret is not None
        key, own = html.unescape(secret.group(1)), html.unescape(secret.group(1))
    else:
        assert public is not None
        own = signing.new_secret()
        key = signing.public_key(own)
        assert len(html.unescape(public.group(1))) == len(key)
    body, now = '{"type":"invoice.paid","data":{"n":"ü"}}'.encode(), int(time.time())
    headers = {
        "webhook-id": "m-1",
        "webhook-timestamp": str(now),
        "webhook-signature": "v9,x " + signing.sign([own], "m-1", now, body, scheme=signed),  # type: ignore[arg-type]
    }
    cases = [
        (headers, body, True),
        (headers, body + b" ", False),
        ({**headers, "webhook-id": "m-2"}, body, False),
        ({**headers, "webhook-timestamp": str(now - 400)}, body, False),
        ({**headers, "webhook-signature": "v1,AAAA v1a,AAAA"}, body, False),
    ]
    given = tmp_path / "cases.json"
    given.write_text(json.dumps([[one, text.decode(), wanted] for one, text, wanted in cases]))
    environment = {**os.environ, "WEBHOOK_SECRET": key, "WEBHOOK_PUBLIC_KEY": key}
    python = tmp_path / "check.py"
    python.write_text(
        sample(answer.text, "Python")
        + "\nimport json, sys\nprint([is_genuine(h, b.encode()) == w for h, b, w in json.load(open(sys.argv[1]))])\n"
    )
    runs = [[sys.executable, str(python), str(given)]]
    node = shutil.which("node")
    if node is not None:
        module = tmp_path / "check.mjs"
        module.write_text(
            sample(answer.text, "Node")
            + '\nimport { readFileSync } from "node:fs";\nconst all = JSON.parse(readFileSync(process.argv[2]));\n'
            "console.log('[' + all.map(([h, b, w]) => isGenuine(h, Buffer.from(b)) === w ? 'True' : 'False')"
            ".join(', ') + ']');\n"
        )
        runs.append([node, str(module), str(given)])
    for command in runs:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.strip() == str([True] * len(cases)), done.stdout + done.stderr
    for language in ("Go", "Ruby"):
        assert "webhook-signature" in sample(answer.text, language)


def test_a_pull_webhook_shows_its_credential_and_a_line_that_reads(site: Site, client: httpx.Client) -> None:
    refused = post(client, PATH, kind="pull", url="http://127.0.0.1:9/x", events="never.sent")
    assert refused.status_code == 400
    assert "leave this empty" in refused.text
    answer = post(client, PATH, kind="pull", url="", events="never.sent", description="Night reader")
    assert answer.status_code == 201
    (credential,) = set(re.findall(r"<code>(whpull_[^<]+)</code>", answer.text))
    (line,) = set(re.findall(r"<code>(curl [^<]+)</code>", answer.text))
    path = re.search(r"(/v1/pull/[0-9a-f-]+)", line)
    assert path is not None
    read = httpx.get(site.url + path.group(1), headers={"authorization": f"Bearer {credential}"}, timeout=60)
    assert (read.status_code, read.json()["data"]) == (200, [])
    endpoint_id = path.group(1).rpartition("/")[2]
    page = client.get(f"{PATH}/{endpoint_id}")
    assert page.status_code == 200
    assert "Ready." in page.text
    assert "Send test event" not in page.text
    edited = post(client, f"{PATH}/{endpoint_id}/edit", events="other.*", description="Reader")
    assert edited.status_code == 303
    assert client.get(f"{PATH}/{endpoint_id}/edit").status_code == 200


def test_what_others_wrote_is_text(site: Site, client: httpx.Client, receiver: Elsewhere) -> None:
    receiver.behave(ok(500, HOSTILE.encode(), {"x-<b>": HOSTILE}))
    query = "/h?q=%3Cscript%3E&r='\"%3E<b>"
    made = post(client, PATH, url=receiver.receiver.url(query), events="never.sent", description=HOSTILE, retries="0")
    if made.status_code == 400:
        made = post(client, PATH, url=receiver.receiver.url("/h?q=%3Cscript%3E"), events="never.sent",
                    description=HOSTILE, retries="0", headers=f"X-Own: {HOSTILE}")  # fmt: skip
    assert made.status_code == 201
    endpoint_id = re.search(rf'href="{PATH}/([0-9a-f-]+)"', made.text)
    assert endpoint_id is not None
    here = f"{PATH}/{endpoint_id.group(1)}"
    delivery = send(site, {"id": endpoint_id.group(1)}, "FAILED")
    for path in (PATH, here, f"{here}/edit", f"{here}/deliveries/{delivery}", f"{here}/checking"):
        page = client.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text, path
        assert "60481729" not in page.text
    assert "&lt;script&gt;alert(1)" in client.get(f"{here}/deliveries/{delivery}").text
    wrong = post(client, PATH, url=HOSTILE, events=HOSTILE, description=HOSTILE, filter=HOSTILE, headers=HOSTILE)
    assert wrong.status_code == 400
    assert "<script>alert" not in wrong.text


BAD_FORMS: list[dict[str, str]] = [
    {},
    {"url": "http://127.0.0.1:9/x"},
    {"url": "ftp://example.com", "events": "a b\x00c"},
    {"url": "http://127.0.0.1:9/x", "events": " ".join(f"a{n}" for n in range(101))},
    {"url": "http://127.0.0.1:9/x", "events": "a", "kind": "both"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "signing": "none"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "retries": "5"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "retries": "-1", "concurrency": "11", "rateLimitPerSecond": "0"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "payloadVersion": "3"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "retryProfile": "weeks", "ordering": "random"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "traceContext": "maybe"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "workspaceId": "nobody"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "filter": "[1]"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "filter": "[" * 5_000},
    {"url": "http://127.0.0.1:9/x", "events": "a", "filter": '{"a": 123456789012345678901234567890}'},
    {"url": "http://127.0.0.1:9/x", "events": "a", "headers": "no colon"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "headers": "Host: x\nX-A: 1\nX-A: 2"},
    {"url": "http://127.0.0.1:9/x", "events": "a", "description": "x" * 513},
    {"url": "http://127.0.0.1:9/x", "events": "a", "description": "x\x00"},
]


def test_bad_input_is_told_in_words_and_makes_nothing(site: Site, client: httpx.Client) -> None:
    def count() -> int:
        listed = httpx.get(f"{site.url}{API}?limit=1000", headers=site.tenancy.company_auth, timeout=60)
        return len(listed.json()["data"])

    before = count()
    endpoint = make(site, "http://127.0.0.1:9/bad")
    for fields in BAD_FORMS:
        answer = post(client, PATH, **fields)
        assert answer.status_code == 400 or fields.get("filter", "").endswith("890}"), fields
        if answer.status_code == 400:
            assert "not right yet" in answer.text, fields
            assert 'aria-invalid="true"' in answer.text or fields.get("kind") == "both", fields
        assert post(client, f"{PATH}/{endpoint['id']}/edit", **fields).status_code in (303, 400), fields
    assert count() <= before + 2
    here = f"{PATH}/{endpoint['id']}"
    for query in ("status=NEVER", "window=year", "cursor=abc", "cursor=%00", "status=%27", "trail=%00&cursor=x"):
        answer = client.get(f"{here}?{query}")
        assert answer.status_code == 400, query
        assert answer.headers["content-type"].startswith("text/html")
    for fields in (
        {"since": ""}, {"since": "yesterday"}, {"since": "0001-01-01T00:00"}, {"since": "9999-12-31T23:59:59-23:59"},
        {"since": "2026-01-02T00:00", "until": "2026-01-01T00:00"}, {"scope": "all"}, {"status": "LOST"},
        {"types": "a b\x00"},
    ):  # fmt: skip
        for do in ("count", "start"):
            answer = post(client, f"{here}/replays", do=do, **fields)
            assert answer.status_code == 400, fields
            assert 'class="hint" id="hint-' in answer.text
    assert post(client, f"{here}/rotate", overlap="-1").status_code == 400
    assert post(client, f"{here}/test", type="no.such").status_code == 400
    assert client.get(f"{PATH}?cursor=x").status_code == 400
    assert client.get(f"{PATH}/types?cursor=x").status_code == 400
    assert client.get(f"{PATH}/types/no.such").status_code == 404
    assert client.get(f"{here}/deliveries/{endpoint['id']}").status_code == 404


def test_pause_resume_rotate_and_delete(site: Site, client: httpx.Client, receiver: Elsewhere) -> None:
    endpoint = make(site, receiver.receiver.url("/end"))
    here = f"{PATH}/{endpoint['id']}"
    assert post(client, f"{here}/switch", on="0").status_code == 303
    assert "Paused." in client.get(here).text
    assert post(client, f"{here}/test").status_code == 409
    assert post(client, f"{here}/replays", do="start", since="2026-01-01T00:00").status_code == 400
    assert post(client, f"{here}/switch", on="1").status_code == 303
    rotated = post(client, f"{here}/rotate", overlap="3600")
    (secret,) = set(re.findall(r"<code>(whsec_[^<]+)</code>", rotated.text))
    assert rotated.headers["cache-control"] == "no-store"
    assert secret != endpoint["secret"]
    assert "stays in force" in rotated.text
    send(site, endpoint, "DELIVERED")
    (request,) = receiver.receiver.requests
    for one in (html.unescape(secret), endpoint["secret"]):
        signing.verify([one], request.headers, request.body, now_seconds=time.time())
    wrong = post(client, f"{here}/delete", confirm="localhost")
    assert wrong.status_code == 400
    assert "Type 127.0.0.1 to delete" in wrong.text
    gone = post(client, f"{here}/delete", confirm="127.0.0.1")
    assert (gone.status_code, gone.headers["location"]) == (303, PATH)
    assert client.get(here).status_code == 404


def test_a_line_says_what_blocks_it(site: Site, client: httpx.Client, receiver: Elsewhere) -> None:
    receiver.behave(ok(500))
    endpoint = make(site, receiver.receiver.url("/line"), ordering="fifo")
    head = send(site, endpoint, "RETRYING")
    send(site, endpoint, "PENDING")
    page = client.get(f"{PATH}/{endpoint['id']}").text
    assert "Blocked." in page
    assert f"deliveries/{head}" in page
    assert re.search(r"1 wait behind it", page)
    assert "blocked" in client.get(PATH).text


def test_staff_read_and_change_nothing(site: Site, receiver: Elsewhere) -> None:
    endpoint = make(site, receiver.receiver.url("/staff"), headers={"X-Api-Key": "0123456789abcdef"})
    delivery = send(site, endpoint, "DELIVERED")
    here = f"{PATH}/{endpoint['id']}"
    staff = signed_in(site, "staff")
    try:
        for path in (PATH, here, f"{here}/deliveries/{delivery}", f"{here}/replays", f"{here}/checking"):
            page = staff.get(path)
            assert page.status_code == 200
            assert endpoint["secret"] not in page.text
            assert "0123456789ab" not in page.text
            assert not re.search(rf'action="{PATH}[^"]*/(test|switch|rotate|delete|replay|edit)"', page.text), path
        assert staff.get(f"{here}/edit").status_code == 403
        assert post(staff, f"{here}/test").status_code == 403
    finally:
        staff.close()


def test_pages_of_the_list_follow_each_other(site: Site, client: httpx.Client, receiver: Elsewhere) -> None:
    endpoint = make(site, receiver.receiver.url("/pages"))
    for _ in range(26):
        last = send(site, endpoint, "DELIVERED")
    first = client.get(f"{PATH}/{endpoint['id']}").text
    assert f"delivery-{last}" in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = client.get(html.unescape(older.group(1))).text
    assert len(re.findall('id="delivery-[0-9a-f]{8}-', second)) == 1
    assert "data-live=" not in second
    newer = re.search(r'rel="prev" href="([^"]+)"', second)
    assert newer is not None
    assert f"delivery-{last}" in client.get(html.unescape(newer.group(1))).text
