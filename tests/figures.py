"""Figures as /metrics tells them, one at a time: a process that ran thousands of tests has very many."""

from mainstay.kernel.telemetry import REGISTRY


def figure(name: str, labels: dict[str, str]) -> float | None:
    """The value of one sample; None where there is none."""
    for family in REGISTRY.restricted_registry([name]).collect():
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return float(sample.value)
    return None
