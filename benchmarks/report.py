# SPDX-License-Identifier: Apache-2.0
"""
The results as tables, and their place in README.md.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import confluent_kafka

from benchmarks.contenders import CEILING, CONTENDERS, PARTS, SCRIPT
from benchmarks.latency import POLL_INTERVAL, RATE, Latency
from benchmarks.measure import Timing
from connector.sandbox.artifacts import KAFKA, locked

README = Path(__file__).parent / "README.md"
_BEGIN = "<!-- results: written by python -m benchmarks -->"
_END = "<!-- end of results -->"

_COLUMNS = (
    "",
    "records/s",
    "of the script",
    "of the parts, fastavro",
    "of the parts, our writer",
    "CPU s/M",
    "peak MiB",
    "broker, cores",
    "simulator, cores",
    "exactly once",
)

# The timings of each contender, by round.
Results = Mapping[str, Sequence[Timing]]


def table(results: Results) -> str:
    """
    Write the comparison; a ratio is taken within its round.
    """
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
    ]
    for contender in CONTENDERS:
        timings = results.get(contender.name)
        if not timings:
            continue
        cells = [
            contender.title,
            _spread([each.rate for each in timings], lambda n: f"{n:,.0f}"),
            _ratio(results, contender.name, SCRIPT),
            _ratio(results, contender.name, CEILING),
            _ratio(results, contender.name, PARTS),
            _spread([each.cpu_per_million for each in timings], lambda n: f"{n:.1f}"),
            f"{max(each.memory for each in timings):.0f}",
            f"{median(each.broker for each in timings):.2f}",
            f"{median(each.simulator for each in timings):.2f}",
            contender.exactly_once,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section(
    results: Results, *, events: int, days: float, alone: float, latency: Latency | None
) -> str:
    """
    Write all results with what they were had on.

    Args:
        results: All timings.
        events: Size of the backlog.
        days: Over how many days it is spread.
        alone: Records a second that the simulator serves when nothing else runs.
        latency: From a poll to a reader, if measured.
    """
    rounds = max(len(timings) for timings in results.values())
    loads = [each.load for timings in results.values() for each in timings]
    parts = [
        f"Measured {datetime.now(UTC):%Y-%m-%d}: {events:,} events over {days:g} days.",
        f"{rounds} rounds; median, and lowest to highest; ratios are taken within a round.",
        table(results),
        f"The simulated provider alone serves {alone:,.0f} records/s.",
    ]
    if latency is not None:
        parts.append(
            f"Caught up, {RATE:g} records/s, a poll every {POLL_INTERVAL}: visible to a "
            f"read_committed consumer {latency.p50:.0f} ms (p50), {latency.p99:.0f} ms (p99), "
            f"{latency.highest:.0f} ms (highest) after the answer of the poll that returned it; "
            f"{latency.records:,} records."
        )
    parts.append(
        f"{_cpu()}, {os.cpu_count()} cores for all processes together, {platform.system()}; load "
        f"{min(loads):.1f}-{max(loads):.1f}. Python {platform.python_version()}, librdkafka "
        f"{confluent_kafka.libversion()[0]}, fastavro {version('fastavro')}, requests "
        f"{version('requests')}, Kafka {_kafka()}."
    )
    return "\n\n".join(parts)


def write(text: str) -> None:
    """
    Put the results into README.md, between its markers.
    """
    before, _, rest = README.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    README.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


def _ratio(results: Results, name: str, base: str) -> str:
    if name == base or base not in results:
        return "1" if name == base else "-"
    pairs = zip(results[name], results[base], strict=False)
    return _spread([one.rate / other.rate for one, other in pairs], lambda n: f"{n:.2f}")


def _spread(numbers: Sequence[float], write: Callable[[float], str]) -> str:
    middle = write(median(numbers))
    if len(numbers) == 1:
        return middle
    return f"{middle} ({write(min(numbers))}-{write(max(numbers))})"


def _kafka() -> str:
    return next(one.version for one in locked(KAFKA) if one.name.startswith("kafka_"))


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()
