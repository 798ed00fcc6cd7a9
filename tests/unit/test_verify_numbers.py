# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from connector.verify.numbers import Numbers


def test_full_run_has_no_gap() -> None:
    """
    Numbers without a hole, over several chunks and in any order, have no gap.
    """
    numbers = Numbers()
    order = list(range(1, 20_001))
    random.Random(1).shuffle(order)

    assert [numbers.add(n) for n in order] == [True] * 20_000
    assert (numbers.lowest, numbers.highest) == (1, 20_000)
    assert list(numbers.gaps(1, 20_000)) == []


def test_gap_over_a_chunk_edge_is_one_range() -> None:
    """
    A hole that spans chunks is one range.
    """
    numbers = Numbers()
    for n in [*range(1, 8000), *range(30_001, 30_011)]:
        numbers.add(n)

    assert list(numbers.gaps(1, 30_010)) == [(8000, 30_000)]


def test_number_added_twice_is_told() -> None:
    """
    The second time a number comes, add says so.
    """
    numbers = Numbers()

    assert [numbers.add(n) for n in (8191, 8192, 8191, 8192, 8193)] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_far_number_costs_one_chunk() -> None:
    """
    A foreign number far away does not make the memory grow with its distance.
    """
    numbers = Numbers()
    numbers.add(1)
    numbers.add(10**15)

    assert numbers.size < 4096
    assert list(numbers.gaps(1, 10**15)) == [(2, 10**15 - 1)]


@given(
    st.sets(st.integers(min_value=1, max_value=20_000), min_size=1),
    st.integers(min_value=1, max_value=20_000),
    st.integers(min_value=1, max_value=20_000),
)
def test_gaps_are_the_complement(seen: set[int], low: int, high: int) -> None:
    """
    For any numbers and bounds, the gaps are exactly what was not added.
    """
    numbers = Numbers()
    for n in seen:
        numbers.add(n)

    found = [n for first, last in numbers.gaps(low, high) for n in range(first, last + 1)]

    assert found == [n for n in range(low, high + 1) if n not in seen]
