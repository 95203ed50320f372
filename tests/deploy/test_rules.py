"""The alerts that an operator loads into Prometheus: sound, each shown to fire, and on metrics that exist."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mainstay import main
from mainstay.kernel import telemetry

PLACE = Path(__file__).parents[2] / "deploy" / "prometheus"
WORDS = {"by", "le", "max", "min", "sum", "rate", "increase", "histogram_quantile", "time"}


def _rules() -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load((PLACE / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def test_every_alert_stands_on_a_metric_that_we_have() -> None:
    assert main
    ours = {name for family in telemetry.REGISTRY.collect() for name in (family.name, *_forms(family.name))}
    for rule in _rules():
        expression = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", "", str(rule["expr"]))
        named = set(re.findall(r"[a-z_]{3,}", expression)) - WORDS
        assert named, rule
        assert named <= ours, named - ours


def _forms(name: str) -> tuple[str, str]:
    return f"{name}_total", f"{name}_bucket"


def test_every_alert_says_what_to_do_and_is_tried() -> None:
    tried = (PLACE / "rules.test.yml").read_text()
    for rule in _rules():
        assert rule["annotations"].keys() == {"summary", "action"}  # type: ignore[attr-defined]
        assert f'alertname="{rule["alert"]}"' in tried


@pytest.mark.parametrize("act", [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]])
def test_prometheus_own_tool_finds_them_sound(act: list[str]) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        if os.environ.get("MAINSTAY_REQUIRE_PEERS") == "1":
            pytest.fail("MAINSTAY_REQUIRE_PEERS=1, but promtool is not installed")
        pytest.skip("promtool is not installed")
    ran = subprocess.run([tool, *act], cwd=PLACE, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
