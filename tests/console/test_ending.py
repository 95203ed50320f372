"""A page that is followed live does not hold up the end of the API process."""

import asyncio
import re
import time

import httpx

from tests.conftest import cut_database, drop_database
from tests.console.site import PASSWORD, csrf_of, running_site


def test_an_open_page_is_told_and_the_process_ends_at_once(server_url: str, template_url: str) -> None:
    url = asyncio.run(cut_database(server_url, template_url))
    with running_site(url, shutdown_seconds=60) as site, httpx.Client(base_url=site.url, timeout=60) as client:
        form = {"csrf": csrf_of(client.get("/console/sign-in").text), "email": site.emails["owner"]}
        assert client.post("/console/sign-in", data={**form, "password": PASSWORD}).status_code == 303
        with client.stream("GET", "/console/live/overview") as answer:
            lines = answer.iter_lines()
            while next(lines) != "event: patch":
                pass
            site.end_api()
            asked_at = time.monotonic()  # far less than the processes are given
            rest = list(lines)
        assert "event: away" in rest
        assert time.monotonic() - asked_at < 30
        assert not re.search("event: over", "\n".join(rest))
    asyncio.run(drop_database(server_url, url))
