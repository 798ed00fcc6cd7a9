# SPDX-License-Identifier: Apache-2.0
"""
The table of metrics in ``docs/metrics.md``, made from ``connector.admin.metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from connector.admin.metrics import Metrics
from connector.markdown import table


class Described(NamedTuple):
    """
    One metric, as it is exposed.

    Attributes:
        name: Its name; a counter's ends in ``_total``.
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: Names of its labels.
        meaning: What it counts or measures.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def described() -> Iterator[Described]:
    """
    Describe all metrics of the connector, in the order in which they are declared.
    """
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = tuple(metric._labelnames)  # noqa: SLF001 - told nowhere else before a sample
            yield Described(name, family.type, labels, family.documentation)


def metrics_table() -> str:
    """
    Write the table.
    """
    return table(
        ("metric", "type", "labels", "meaning"),
        (
            (
                f"`{each.name}`",
                each.kind,
                ", ".join(f"`{label}`" for label in each.labels),
                each.meaning,
            )
            for each in described()
        ),
    )
