# SPDX-License-Identifier: Apache-2.0
"""
How wide a walk's windows are, and how much of it one step takes.
"""

from __future__ import annotations

from dataclasses import dataclass

# The width of a window at first, and what it can grow to: 325 empty windows lead from
# 1970 to now, and a window that turns out full holds no more than two months.
FIRST_SLICE_MS = 24 * 3_600_000
MAX_SLICE_MS = 64 * FIRST_SLICE_MS

# A walk of more pages halves the slice, and no step holds more pages in memory.
MAX_PAGES = 10

# Nor does a step ask for more once it holds so many rows: it becomes one unit.
MAX_ROWS = 20_000

_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The settings that shape a walk.

    Attributes:
        overlap_ms: How long after its event time an event may appear.
        page_limit: Events to ask for in a page.
    """

    overlap_ms: int
    page_limit: int

    @property
    def floor_ms(self) -> int:
        """
        The smallest slice.
        """
        return max(self.overlap_ms, _MINUTE_MS)
