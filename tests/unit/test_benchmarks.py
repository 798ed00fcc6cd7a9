# SPDX-License-Identifier: Apache-2.0
"""
What the benchmark says about its runs: the judge of outputs, and the table.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report
from benchmarks.measure import Sample, Timing, judge
from benchmarks.outcome import Outcome, differences

SAMPLE: dict[bytes, tuple[bytes, int, Any]] = {b"a00": (b"key", 1, {"n": 1})}


def timing(rate: float) -> Timing:
    """Make a timing of so many records a second."""
    return Timing(
        seconds=1.0, records=int(rate), cpu=0.02, broker=0.1, simulator=0.1, memory=50.0, load=1.0
    )


def test_equal_outputs_pass() -> None:
    """All events once, and the same values as the other contender: nothing to say."""
    assert [] == differences(Outcome(10, 10, SAMPLE), 10, Outcome(10, 10, SAMPLE))


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome(9, 9, SAMPLE), "9 messages with 9 ids, not 10"),
        (Outcome(11, 10, SAMPLE), "11 messages with 10 ids, not 10"),
        (Outcome(10, 10, {b"b00": SAMPLE[b"a00"]}), "other events than the first contender"),
        (Outcome(10, 10, {b"a00": (b"key", 1, {"n": 2})}), "1 of 1 sampled records differ"),
        (Outcome(10, 10, {b"a00": (b"other", 1, {"n": 1})}), "1 of 1 sampled records differ"),
    ],
)
def test_other_outputs_are_told(outcome: Outcome, told: str) -> None:
    """A record missing, twice, unknown, with another value or key ends the benchmark."""
    assert [told] == differences(outcome, 10, Outcome(10, 10, SAMPLE))


def test_ratios_are_taken_within_a_round() -> None:
    """A slow round slows all contenders; their ratio in it still counts."""
    results = {
        "script": [timing(100), timing(10)],
        "connector": [timing(200), timing(20)],
    }

    assert "| 2.00 (2.00-2.00) |" in report.table(results)


def test_time_ends_with_the_last_change() -> None:
    """Quiet samples behind the last record do not count, nor does what came before."""
    samples = [
        Sample(1.0, 0, (0.5, 0.0, 0.0)),
        Sample(2.0, 50, (1.0, 0.0, 0.0)),
        Sample(3.0, 100, (1.5, 0.0, 0.0)),
        Sample(9.0, 100, (7.0, 0.0, 0.0)),
    ]

    found = judge(samples, 50.0, began=1.0, records=100)

    assert (2.0, 50.0, 1.0) == (found.seconds, found.rate, found.cpu)


def test_results_stand_between_their_markers(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing twice replaces the results and keeps what people wrote around them."""
    readme = tmp_path / "README.md"
    readme.write_text(report.README.read_text())
    monkeypatch.setattr(report, "README", readme)

    report.write("older results")
    report.write("newer results")

    text = readme.read_text()
    assert (0, 1, 1) == (
        text.count("older results"),
        text.count("newer results"),
        text.count("## How"),
    )
