"""URLs that would reach into our own network, or that can be read in two ways, are refused when they are saved."""

import pytest

from mainstay.kernel.addresses import AllowList
from mainstay.kernel.db import Database
from mainstay.kernel.settings import Settings
from tests.webhooks.conftest import COMPANY_PATH, Tenant, count, make_settings

HOSTILE = [
    "", "   ", "x", "/hook", "//example.com/hook", "example.com/hook", "http://", "http:///hook", "http:/example.com",
    "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "data:text/plain,x",
    "http://localhost/", "http://LOCALHOST:8080/", "http://sub.localhost/", "http://printer.local/",
    "http://metadata.google.internal/computeMetadata/v1/", "http://intranet/",
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://0/", "http://0.0.0.0/", "http://127.0.0.1.:80/", "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/latest/meta-data/",
    "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/", "http://192.0.2.1/", "http://198.18.0.1/", "http://224.0.0.1/", "http://255.255.255.255/",
    "http://user:secret@example.com/", "http://example.com@127.0.0.1/", "http://127.0.0.1#@example.com/",
    "http://example.com\\@127.0.0.1/", "http://exa mple.com/", "http://example.com/\n", "http://example.com/\r\nX: y",
    "http://example.com/\0", "http://example.com:0/", "http://example.com:65536/", "http://example.com:x/",
    "http://example.com/" + "a" * 2_048, "http://" + "a" * 64 + ".com/", "http://①②⑦.⓪.⓪.①/", "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/",
    "http://[::1/", "http://]/", "http://%31%32%37.0.0.1/",
]  # fmt: skip


@pytest.fixture
def settings() -> Settings:
    return make_settings(outbound_allow=AllowList())


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_is_refused_and_nothing_is_stored(tenant: Tenant, db: Database, url: str) -> None:
    answer = await tenant.key.post(COMPANY_PATH, json={"url": url, "events": ["*"]})
    assert answer.status_code == 400, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "#/url"
    assert fault["detail"]
    assert await count(db, "endpoints") == 0


async def test_a_change_to_a_hostile_url_is_refused_too(tenant: Tenant) -> None:
    webhook = await tenant.webhook("https://example.com/hook")
    path = f"{COMPANY_PATH}/{webhook['id']}"
    answer = await tenant.key.patch(path, json={"url": "http://169.254.169.254/"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/url")
    assert (await tenant.key.get(path)).json()["url"] == "https://example.com/hook"


@pytest.mark.parametrize(
    "url", ["https://example.com", "http://example.com:8080/a?b=c", "https://sub.example.co.uk/x", "https://8.8.8.8/"]
)
async def test_public_urls_over_both_schemes_are_taken_as_they_are(tenant: Tenant, url: str) -> None:
    assert (await tenant.webhook(url))["url"] == url
