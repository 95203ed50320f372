"""What pages are made of, as tables of cases: judgements, words, JSON that cannot break out, tokens, assets."""

import hashlib
import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from mainstay import console
from mainstay.console import csrf, payload, shown
from mainstay.console.concerns import FAILING_SHARE, LEAST_TRIES, SILENT_MINUTES, Standing, concerns_of
from mainstay.console.overview import depth_of
from mainstay.kernel.crypto import Keyring

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
PAGES = Path(payload.__file__).parent / "pages"
STATIC = Path(payload.__file__).parent / "static"


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (Standing(), []),
        (Standing(tries=LEAST_TRIES - 1, tries_failed=LEAST_TRIES - 1), []),
        (Standing(tries=100, tries_failed=int(100 * FAILING_SHARE) - 1), []),
        (Standing(tries=100, tries_failed=int(100 * FAILING_SHARE)), ["warning: 5 % of the tries"]),
        (Standing(tries=100, tries_failed=50), ["bad: 50 % of the tries"]),
        (Standing(silent_minutes=SILENT_MINUTES - 1), []),
        (Standing(silent_minutes=SILENT_MINUTES), ["bad: No worker has been heard of for 3 minutes"]),
        (Standing(endpoints_failing=1), ["warning: 1 endpoint fails now"]),
        (
            Standing(endpoints_failing=2, endpoints_disabled=1, dead=[("q", 3)], paused=["p"]),
            ["bad: 3 jobs of q are dead", "bad: 1 endpoint is switched off", "warning: The queue p is paused",
             "warning: 2 endpoints fail now"],
        ),
    ],
)  # fmt: skip
def test_what_is_not_fine_is_told_the_worst_first(standing: Standing, told: list[str]) -> None:
    found = [f"{one.meaning}: {one.words}" for one in concerns_of(standing)]
    assert len(found) == len(told)
    for one, beginning in zip(found, told, strict=True):
        assert one.startswith(beginning)
    assert all(one.act and one.href.startswith("/console/") for one in concerns_of(standing))


def test_the_depth_of_all_queues_together_has_gaps_where_nobody_counted() -> None:
    minutes = [NOW + timedelta(minutes=n) for n in range(3)]
    depths = {"a": [(minutes[0], 1, 9, 9, 9), (minutes[2], 2, 9, 9, 9)], "b": [(minutes[2], 40, 9, 9, 9)]}
    assert depth_of(depths, minutes) == [(minutes[0], 1), (minutes[1], None), (minutes[2], 42)]


@pytest.mark.parametrize(
    ("away", "told"),
    [
        (timedelta(seconds=1), "now"), (timedelta(seconds=-1), "now"), (timedelta(seconds=59), "59 s ago"),
        (timedelta(seconds=60), "1 min ago"), (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=23), "23 h ago"), (timedelta(hours=24), "1 d ago"), (timedelta(days=60), "2025-11-03"),
        (timedelta(minutes=-4), "in 4 min"),
    ],
)  # fmt: skip
def test_times_are_told_by_how_far_they_are(away: timedelta, told: str) -> None:
    assert shown.ago(NOW - away, NOW) == told


@pytest.mark.parametrize(
    ("milliseconds", "told"),
    [(0, "0 ms"), (999, "999 ms"), (1_240, "1.2 s"), (59_900, "59.9 s"), (250_000, "4 min 10 s"), (7.5e6, "2 h 5 min")],
)
def test_durations_have_their_unit(milliseconds: float, told: str) -> None:
    assert shown.duration(milliseconds) == told


def test_numbers_names_and_lines() -> None:
    assert (shown.count(1_234_567), shown.count(1_000, most=1_000)) == ("1\u202f234\u202f567", "1\u202f000+")
    assert (shown.plural(1, "reply", "replies"), shown.plural(2, "reply", "replies")) == ("1 reply", "2 replies")
    assert shown.chip_of("RETRYING") == ("retrying", "warning", "rotate-cw")
    assert shown.chip_of("of a new kind").meaning == "neutral"
    assert shown.line_of([0, 2, None, 1], width=30, height=10) == "M0.0,10.0 L10.0,0.0 M30.0,5.0"
    assert shown.line_of([], width=30, height=10) == ""


HOSTILE = "</pre><script>alert(1)</script>\"&'\u2028"


@pytest.mark.parametrize(
    "value",
    [
        HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE, {"a": [HOSTILE]}], {"n": 1.5, "t": True, "e": {}, "l": [], "z": None},
        [[[[[1]]]]], {"many": list(range(payload.MOST_VALUES + 1))},
    ],
)  # fmt: skip
def test_json_is_marked_without_a_change_and_breaks_out_of_nothing(value: Any) -> None:
    markup = payload.marked(orjson.dumps(value))
    assert "<script" not in markup
    text = re.sub(r'<span class="j-more">[^<]*</span>|<[^>]+>', "", markup)
    assert orjson.loads(html.unescape(text)) == value
    assert orjson.loads(payload.plain(orjson.dumps(value))) == value


@pytest.mark.parametrize("depth", [payload.MOST_DEPTH + 1, 300, 1_000, 1_025])
def test_what_a_receiver_nested_deeply_is_shown_as_it_is(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"<":' * depth + "1" + "}" * depth):
        assert payload.marked(text) == html.escape(text, quote=False).replace('"', "&#34;")
        assert payload.plain(text.encode()) == text


def test_as_deep_as_is_marked() -> None:
    text = "[" * payload.MOST_DEPTH + "]" * payload.MOST_DEPTH
    assert payload.marked(text).count("<details") == payload.MOST_DEPTH - 2


def test_text_that_is_no_json_is_shown_as_it_is() -> None:
    assert payload.marked("<b> no json") == "&lt;b&gt; no json"
    assert payload.marked(b"\xff<") == "\ufffd&lt;"
    assert payload.plain("no json") == "no json"


def test_a_token_is_of_one_session_and_outlives_a_new_master_secret() -> None:
    old, new = Keyring("a" * 32), Keyring("b" * 32, ["a" * 32])
    token = csrf.token_of(old, "session-1")
    assert csrf.is_token_of(new, "session-1", token)
    assert not csrf.is_token_of(new, "session-2", token)
    assert not csrf.is_token_of(Keyring("b" * 32), "session-1", token)
    assert not csrf.is_token_of(new, "session-1", "")


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True), ({"sec-fetch-site": "same-origin"}, True), ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False), ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "https://console.example"}, True), ({"origin": "http://inner:8080", "host": "inner:8080"}, True),
        ({"origin": "https://evil.example", "host": "console.example"}, False), ({"origin": "null"}, False),
    ],
)  # fmt: skip
def test_where_a_request_comes_from(headers: dict[str, str], is_ours: bool) -> None:
    assert csrf.is_from_us(headers, "https://console.example") is is_ours


def test_every_file_that_pages_bring_along_has_its_content_in_its_name() -> None:
    assets = console.frame().assets
    for path in STATIC.iterdir():
        if path.is_file():
            asset = assets.find(assets.address(path.name))
            assert asset is not None
            assert hashlib.sha256(asset.content).hexdigest()[:12] in asset.address
    assert {path.stem for path in (STATIC / "licences").iterdir()} == {"htmx", "lucide", "uplot"}


@pytest.mark.parametrize("path", sorted(PAGES.iterdir()), ids=lambda path: path.name)
def test_no_template_has_what_the_policy_refuses(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe\b|hx-on", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)
    console.frame()._templates.get_template(path.name)


@pytest.mark.parametrize("path", sorted(PAGES.iterdir()), ids=lambda path: path.name)
def test_every_icon_that_is_used_is_in_the_sprite_and_every_form_has_its_token(path: Path) -> None:
    text, sprite = path.read_text(encoding="utf-8"), (STATIC / "icons.svg").read_text(encoding="utf-8")
    for name in re.findall(r"icon\(\"([a-z0-9-]+)\"", text):
        assert f'id="{name}"' in sprite, name
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
        assert "csrf(page)" in form or 'name="csrf"' in form, form


@pytest.mark.parametrize("state", sorted(shown._STATES))
def test_every_state_has_an_icon_of_the_sprite(state: str) -> None:
    assert f'id="{shown.chip_of(state).icon}"' in (STATIC / "icons.svg").read_text(encoding="utf-8")
