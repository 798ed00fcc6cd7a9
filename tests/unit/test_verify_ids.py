# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from connector.verify.ids import Ids, Occurrence


@pytest.mark.parametrize("limit", [320, 64 * 1024 * 1024])
def test_repeated_ids_are_found_in_memory_and_in_files(limit: int) -> None:
    """
    Every id that came more than once is given with all its places, spilled or not.
    """
    with Ids(memory_limit=limit) as ids:
        for offset in range(1000):
            ids.add(f"id-{offset}".encode(), 2, 0, offset)
        ids.add(b"id-7", 2, 1, 3)
        ids.add(b"id-900", 4, 0, 2000)

        found = sorted(ids.repeated())

        assert found == [
            [Occurrence(2, 0, 7), Occurrence(2, 1, 3)],
            [Occurrence(2, 0, 900), Occurrence(4, 0, 2000)],
        ]
        assert ids.count == 1002
        assert ids.memory + ids.disk == 1002 * 32
        assert ids.memory < max(limit, 1) or not ids.disk


def test_memory_stays_below_the_limit() -> None:
    """
    What is held in memory never reaches the limit, however many ids come.
    """
    with Ids(memory_limit=3200) as ids:
        held = []
        for offset in range(5000):
            ids.add(b"%d" % offset, 0, 0, offset)
            held.append(ids.memory)

        assert max(held) < 3200
        assert ids.disk > 150_000


def test_an_id_that_came_very_often_is_one_finding() -> None:
    """
    One id on every message does not cost more than sorting.
    """
    with Ids() as ids:
        for offset in range(10_000):
            ids.add(b"same", 0, 0, offset)

        found = list(ids.repeated())

        assert [len(places) for places in found] == [10_000]
