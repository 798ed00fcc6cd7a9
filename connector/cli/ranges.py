# SPDX-License-Identifier: Apache-2.0
"""
Numbers that options take. No command of its own.
"""

from __future__ import annotations

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """
    A range of floats without nan, which click lets through: no bound compares with it.
    """

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """
        Read a number.

        Raises:
            click.BadParameter: It is none, or out of the range.
        """
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
