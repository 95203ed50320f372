"""What somebody meets who has just started Mainstay with one command."""

import json
import re
import shutil
import subprocess
import urllib.request

import httpx
import psutil
import pytest

from tests.up.instances import Up, call, run, wait_until


def test_the_offered_line_sends_an_event(up: Up) -> None:
    line = up.curl()
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    sent = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    event = json.loads(sent.stdout)
    assert event["action"] == "report.exported"
    assert len(event["hash"]) == 64
    key = up.demo()["workspaces"][0]["key"]
    assert call(f"{up.url}/v1/key/workspace/events/{event['id']}", key=key) == (200, event)


def test_events_come_by_themselves_and_reach_a_receiver_that_accepts_their_signature(up: Up) -> None:
    before = wait_until(up.figures)["events in"]
    figures = wait_until(
        lambda: (f := up.figures())["receiver verified"] > 5 and f["delivered"] > 5 and f["events in"] > before and f,
    )
    assert figures["receiver refused"] == 0


def test_a_failing_endpoint_is_retried_and_the_others_are_not_held_up(up: Up) -> None:
    company = up.demo()
    event = {"action": "invoice.paid", "category": "billing", "actor": {"id": "u-1"}}
    status, stored = call(f"{up.url}/v1/key/workspace/events", event, key=company["workspaces"][1]["key"])
    assert status == 201, stored
    ids = {endpoint["name"]: endpoint["id"] for endpoint in company["endpoints"]}

    def state(name: str) -> set[str]:
        _, log = call(f"{up.url}/v1/key/company/webhooks/{ids[name]}/logs?limit=100", key=company["company_key"])
        return {one["status"] for one in log["data"] if one["traceId"] == stored["traceId"]}

    wait_until(lambda: (state("good"), state("failing")) == ({"DELIVERED"}, {"RETRYING"}))
    assert state("slow") == set()


def test_its_people_can_log_in(up: Up) -> None:
    people = up.demo()["people"]
    assert [person["role"] for person in people] == ["owner", "manager", "staff"]
    for person in people:
        assert f"{person['email']}  {person['password']}" in up.output
        wanted = {"email": person["email"], "password": person["password"]}
        assert call(f"{up.url}/api/v1/auth/login", wanted)[0] == 200


def test_the_console_opens_with_what_is_printed(up: Up) -> None:
    console = up.said(r"console: +(\S+)").group(1)
    email, password = up.said(r"  email +(\S+)").group(1), up.said(r"  password +(\S+)").group(1)
    with httpx.Client(timeout=60) as client:
        form = client.get(f"{console}/sign-in").text
        token = re.search(r'name="csrf" value="([^"]+)"', form)
        assert token is not None
        wanted = {"csrf": token.group(1), "email": email, "password": password}
        assert client.post(f"{console}/sign-in", data=wanted).headers["location"] == "/console"
        page = client.get(console)
    assert page.status_code == 200
    assert "Acme Demo" in page.text
    assert "owner, operator" in page.text


def test_the_reference_page_and_the_description_answer(up: Up) -> None:
    page = up.said(r"API reference: +(\S+)").group(1)
    with urllib.request.urlopen(page, timeout=60) as answer:
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    assert "/v1/key/workspace/events" in call(f"{up.url}/openapi.json")[1]["paths"]


def test_secrets_are_private_and_stay_out_of_the_logs(up: Up) -> None:
    for name in ("demo.json", "secrets.json", "up.json"):
        assert (up.data / name).stat().st_mode & 0o777 == 0o600, name
    secrets = json.loads((up.data / "secrets.json").read_text()).values()
    logs = "".join(path.read_text() for path in (up.data / "logs").glob("*.log"))
    assert len(set(secrets)) == 4
    assert not [secret for secret in secrets if secret in logs or secret in up.output]
    for process in psutil.Process(up.pid).children(recursive=True):
        assert not [secret for secret in secrets if secret in " ".join(process.cmdline())]


@pytest.mark.contract("NP-Q-32")
def test_doctor_tells_that_all_is_well(up: Up) -> None:
    told = run("doctor", "--json", "--data", str(up.data))
    report = json.loads(told.stdout)
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert (told.returncode, report["ok"]) == (0, True), told.stdout
    assert [verdicts[name] for name in ("worker", "job store", "queues", "logs")] == ["pass"] * 4
    assert next(c for c in report["checks"] if c["name"] == "redis")["detail"] == "not configured"
    lines = run("doctor", "--data", str(up.data)).stdout.splitlines()
    assert [line.split()[0] for line in lines if "worker " in line or "job store" in line] == ["ok", "ok"]


def test_a_second_one_on_the_same_data_says_who_has_it(up: Up) -> None:
    second = run("up", "--plain", "--data", str(up.data))
    assert second.returncode == 1
    assert f"process {up.pid} already runs `mainstay up`" in second.stderr
    assert up.url in second.stderr
    assert call(f"{up.url}/api/v1/health/live")[0] == 200


@pytest.mark.parametrize("name", ["worker", "api"])
def test_a_process_that_is_killed_starts_again(up: Up, name: str) -> None:
    killed = up.child(name)
    killed.kill()
    up.said(rf"the {name} ended by SIGKILL; it starts again in 0\.5 s")
    assert up.child(name) != killed
    wait_until(lambda: _is_ready(up))
    before = up.events_in_production()
    wait_until(lambda: up.events_in_production() > before)


def test_postgresql_that_is_killed_starts_again_and_nothing_is_lost(up: Up) -> None:
    before = up.events_in_production()
    up.child("postgres").kill()
    up.said("PostgreSQL ended by itself; it starts again")
    wait_until(lambda: _is_ready(up))
    wait_until(lambda: up.events_in_production() > before)


def _is_ready(up: Up) -> bool:
    try:
        return call(f"{up.url}/api/v1/health/ready")[0] == 200
    except OSError:
        return False
