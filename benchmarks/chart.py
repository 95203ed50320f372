"""Draws figures as plain SVG: a panel a quantity, a row a side, a dot for the median, a line from least to greatest."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_NAMES, _PANEL, _GAP, _ROW, _TOP, _BOTTOM = 300, 330, 90, 30, 84, 44
_FONT = "font-family='system-ui, sans-serif'"
_OURS, _OTHERS, _INK, _FAINT = "#0b6e4f", "#5b6b7a", "#1f2933", "#d8dee4"


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity of every side: its title, its values by side, and whether more or less is better."""

    title: str
    better: str
    values: Mapping[str, Sequence[float]]


def draw(title: str, panels: Sequence[Panel], *, ours: Sequence[str], note: str) -> str:
    """An SVG document; the axes are logarithmic, so equal distances are equal ratios."""
    names = list(panels[0].values)
    width = _NAMES + len(panels) * (_PANEL + _GAP)
    height = _TOP + len(names) * _ROW + _BOTTOM
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'"
        f" role='img' aria-label='{escape(title, quote=True)}'>",
        f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
        _text(16, 28, title, size=17, weight="600"),
        _text(16, height - 14, note, size=11, fill=_OTHERS),
    ]
    for row, name in enumerate(names):
        colour, weight = (_OURS, "600") if name in ours else (_INK, "400")
        parts.append(_text(_NAMES - 14, _TOP + row * _ROW + 20, name, anchor="end", fill=colour, weight=weight))
    for number, panel in enumerate(panels):
        parts += _panel(panel, names, _NAMES + number * (_PANEL + _GAP), ours)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, names: Sequence[str], left: int, ours: Sequence[str]) -> list[str]:
    every = [value for values in panel.values.values() for value in values]
    low, high = 10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every)) + 1e-9)
    bottom = _TOP + len(names) * _ROW

    def at(value: float) -> float:
        return round(left + _PANEL * math.log10(value / low) / math.log10(high / low), 1)

    parts = [_text(left, _TOP - 26, f"{panel.title} ({panel.better} is better)", weight="600")]
    for tick in _ticks(low, high):
        parts.append(f"<line x1='{at(tick)}' x2='{at(tick)}' y1='{_TOP}' y2='{bottom}' stroke='{_FAINT}'/>")
        parts.append(_text(at(tick), _TOP - 8, f"{tick:,.0f}" if tick >= 1 else f"{tick:g}", size=11, anchor="middle"))
    for row, name in enumerate(names):
        y, values = _TOP + row * _ROW + 15, panel.values[name]
        middle, colour = statistics.median(values), _OURS if name in ours else _OTHERS
        parts.append(
            f"<line x1='{at(min(values))}' x2='{at(max(values))}' y1='{y}' y2='{y}' stroke='{colour}'"
            " stroke-width='3' stroke-linecap='round'/>"
        )
        parts.append(f"<circle cx='{at(middle)}' cy='{y}' r='6' fill='{colour}'/>")
        parts.append(_text(at(max(values)) + 11, y + 4, f"{middle:,.0f}" if middle >= 10 else f"{middle:.2g}", size=12))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and twice and five times of them where there are few."""
    decades = round(math.log10(high / low))
    steps = (1, 2, 5) if decades <= 2 else (1,)
    return [low * 10**n * step for n in range(decades) for step in steps] + [high]


def _text(
    x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", fill: str = _INK, weight: str = "400"
) -> str:
    return (
        f"<text x='{x}' y='{y}' {_FONT} font-size='{size}' font-weight='{weight}' text-anchor='{anchor}'"
        f" fill='{fill}'>{escape(text)}</text>"
    )
