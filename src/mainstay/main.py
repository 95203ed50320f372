"""The composition root: settings in, API application or worker out."""

from mainstay.kernel.partitions import Partitioned


def partitioned() -> list[Partitioned]:
    """Every table that is cut by time."""
    return []
