"""What the measurements put into the reference: tables between their markers, and plots that any viewer reads."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import chart, written
from tests.architecture.sources import ROOT

BLOCKS = (
    "jobs",
    "jobs-backlog",
    "jobs-open-transaction",
    "growth",
    "delivery",
    "delivery-latency",
    "isolation",
    "reading",
    "limits",
)


def page(docs: Path, text: str) -> Path:
    path = docs / written.PAGE
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_block_is_replaced_and_all_around_it_stays(tmp_path: Path) -> None:
    path = page(tmp_path, "before\n<!-- jobs: begin -->\nold\n<!-- jobs: end -->\nafter\n")
    for text in ("new", "newer"):
        written.write(tmp_path, "jobs", text)
        assert path.read_text() == f"before\n<!-- jobs: begin -->\n{text}\n<!-- jobs: end -->\nafter\n"


@pytest.mark.parametrize("text", ["", "<!-- jobs: begin -->", "<!-- jobs: end --><!-- jobs: begin -->"])
def test_a_page_without_the_place_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = page(tmp_path, text)
    with pytest.raises(SystemExit, match="no place for jobs"):
        written.write(tmp_path, "jobs", "new")
    assert path.read_text() == text


def test_the_reference_has_a_place_for_every_measurement(tmp_path: Path) -> None:
    page(tmp_path, (ROOT / "docs" / written.PAGE).read_text(encoding="utf-8"))
    for name in BLOCKS:
        written.write(tmp_path, name, f"figures of {name}")


def test_a_table_is_markdown() -> None:
    assert written.table(["", "p50"], [["first", "1"]]) == "|  | p50 |\n| --- | --- |\n| first | 1 |"


def circles(svg: str) -> list[tuple[float, float]]:
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    return [(float(one.get("cx", "")), float(one.get("cy", ""))) for one in found]


def test_a_plot_puts_more_to_the_right_and_equal_ratios_equally_far() -> None:
    values = {"a <b> & 'c'": [10.0], "b": [90.0, 100.0, 120.0], "c": [1_000.0]}
    drawn = chart.draw("Title & <more>", [chart.Panel("rate", "more", values)], ours=["b"], note="note")
    (first, top), (second, middle), (third, bottom) = circles(drawn)
    assert top < middle < bottom
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert first < second < third


@pytest.mark.parametrize("value", [0.004, 1.0, 10.0, 999_999.0])
def test_a_plot_of_one_value_has_an_axis(value: float) -> None:
    drawn = chart.draw("One", [chart.Panel("rate", "more", {"a": [value]})], ours=[], note="")
    assert len(circles(drawn)) == 1
