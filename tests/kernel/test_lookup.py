"""Look-ups of many tenants' names: who keeps silent holds up itself, within stated bounds."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from mainstay.kernel import lookup as module
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.lookup import LookupFailed, VettedLookup, domain_of

LOOPBACK = parse_allow_list("127.0.0.0/8")
PLACE_SECONDS = 0.6


async def until(condition: Callable[[], bool]) -> None:
    """The condition holds, within a minute."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


class NameServers:
    """Answer at once, except for names that begin with 'silent': those wait until the test ends."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.asked: list[str] = []
        self.waiting = 0

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.waiting += 1
            self.end.wait(60)
            raise OSError("no name server answered")
        return ["127.0.0.1"]


@pytest.fixture
def servers() -> Iterator[NameServers]:
    made = NameServers()
    yield made
    made.end.set()


@pytest.fixture
def vetted(servers: NameServers, monkeypatch: pytest.MonkeyPatch) -> VettedLookup:
    monkeypatch.setattr(module, "PLACE_SECONDS", PLACE_SECONDS)
    return VettedLookup(LOOPBACK, module._SystemLookup(servers))


async def ask_in_vain(vetted: VettedLookup, host: str) -> None:
    with pytest.raises((LookupFailed, TimeoutError)):
        async with asyncio.timeout(60):
            await vetted.addresses(host)


async def seconds_of(vetted: VettedLookup, host: str) -> float:
    started = time.monotonic()
    assert await vetted.addresses(host) == ("127.0.0.1",)
    return time.monotonic() - started


def test_the_bounds_are_as_stated() -> None:
    assert (module.LOOKUPS_AT_ONCE, module.LOOKUPS_PER_DOMAIN, module.PLACE_SECONDS) == (64, 8, 3.0)


async def test_hundreds_of_silent_names_of_one_domain_delay_no_other(
    vetted: VettedLookup, servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_seconds = 2.0
    monkeypatch.setattr(module, "PLACE_SECONDS", place_seconds)
    hundreds = [asyncio.create_task(ask_in_vain(vetted, f"silent-{n}.evil.example")) for n in range(300)]
    await until(lambda: servers.waiting == module.LOOKUPS_PER_DOMAIN)
    assert await seconds_of(vetted, "hooks.acme.example") < place_seconds
    # Who found no place in time is told so, and a silent question counts until it ends.
    await until(lambda: sum(task.done() for task in hundreds) == 300 - module.LOOKUPS_PER_DOMAIN)
    assert servers.waiting == module.LOOKUPS_PER_DOMAIN
    await vetted.close()
    servers.end.set()
    await asyncio.gather(*hundreds)


async def test_silent_names_of_many_domains_delay_others_within_the_bound(
    vetted: VettedLookup, servers: NameServers
) -> None:
    domains = 16
    silent = [
        asyncio.create_task(ask_in_vain(vetted, f"silent-{n}.d{n % domains}.example")) for n in range(8 * domains)
    ]
    await until(lambda: servers.waiting == module.LOOKUPS_AT_ONCE)
    assert await seconds_of(vetted, "hooks.acme.example") < 2 * PLACE_SECONDS + 10
    assert servers.waiting == 8 * domains
    await vetted.close()
    servers.end.set()
    await asyncio.gather(*silent)


async def test_a_slow_answer_is_still_taken(vetted: VettedLookup, servers: NameServers) -> None:
    def slow(host: str) -> Sequence[str]:
        time.sleep(PLACE_SECONDS + 0.1)
        return ["127.0.0.1"]

    patient = VettedLookup(LOOPBACK, module._SystemLookup(slow))
    assert await patient.addresses("slow.acme.example") == ("127.0.0.1",)


async def test_threads_are_bounded(vetted: VettedLookup, servers: NameServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS_AT_MOST", 5)
    silent = [asyncio.create_task(ask_in_vain(vetted, f"silent.d{n}.example")) for n in range(5)]
    await until(lambda: servers.waiting == 5)
    with pytest.raises(LookupFailed, match="too many"):
        await vetted.addresses("hooks.acme.example")
    servers.end.set()
    await asyncio.gather(*silent)
    assert await vetted.addresses("other.acme.example") == ("127.0.0.1",)


async def test_a_silent_name_is_not_asked_for_again_soon(vetted: VettedLookup, servers: NameServers) -> None:
    asking = asyncio.create_task(ask_in_vain(vetted, "silent.acme.example"))
    await asyncio.sleep(PLACE_SECONDS + 0.1)
    servers.end.set()
    await asking
    left = vetted._entries["silent.acme.example"].until - time.monotonic()
    assert module.KEEP_FAILURE_SECONDS < left <= module.KEEP_SILENCE_SECONDS
    with pytest.raises(LookupFailed):
        await vetted.addresses("silent.acme.example")
    assert servers.asked == ["silent.acme.example"]


async def test_a_name_with_endless_addresses_is_cut(servers: NameServers) -> None:
    async def many(_: str) -> Sequence[str]:
        return [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(4_000)]

    assert len(await VettedLookup(LOOPBACK, many).addresses("many.example")) == module.ADDRESSES_AT_MOST


@pytest.mark.parametrize(
    ("host", "domain"),
    [("a.b.acme.example", "acme.example"), ("acme.example", "acme.example"), ("localhost", "localhost"),
     ("hooks.acme.co.uk", "acme.co.uk"), ("acme.co.uk", "acme.co.uk"), ("x.y.ibm.com", "ibm.com"),
     ("x.abc.io", "abc.io")],
)  # fmt: skip
def test_a_domain_is_about_what_one_owner_registers(host: str, domain: str) -> None:
    assert domain_of(host) == domain
