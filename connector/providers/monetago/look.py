# SPDX-License-Identifier: Apache-2.0
"""
How far the second look has come: the part ``recount`` of the stored offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from connector.providers.stored import take_number
from connector.unit import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    The hour that comes next, and the window that was not read to its end, if any.

    Attributes:
        hour: Hours since 1970; everything before was compared.
        stop: The first hour behind the window, which begins at ``hour``; None between
            windows, where what follows is 0 or empty.
        pages: Pages of the window so far.
        rows: Rows of the window so far: ``offset`` of its next page.
        found: Events by hour of the window so far.
    """

    hour: int
    stop: int | None = None
    pages: int = 0
    rows: int = 0
    found: tuple[int, ...] = ()

    def store(self) -> dict[str, Json]:
        """
        Write it as JSON.
        """
        return {
            "hour": self.hour,
            "stop": self.stop,
            "pages": self.pages,
            "rows": self.rows,
            "found": list(self.found),
        }

    @classmethod
    def load(cls, value: Json) -> Self:
        """
        Read what ``store`` wrote.

        Raises:
            TypeError, ValueError: It is something else.
        """
        if not isinstance(value, dict):
            raise TypeError("recount is not an object")
        stored = dict(value)
        found = stored.get("found")
        look = cls(
            hour=take_number(stored, "hour"),
            stop=take_number(stored, "stop", optional=True),
            pages=take_number(stored, "pages"),
            rows=take_number(stored, "rows"),
            found=tuple(int(count) for count in found) if isinstance(found, list) else (),
        )
        if len(look.found) != (0 if look.stop is None else look.stop - look.hour):
            raise ValueError("recount is not one count for each hour")
        return look
