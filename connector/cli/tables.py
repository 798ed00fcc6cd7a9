# SPDX-License-Identifier: Apache-2.0
"""
Where commands print their tables. No command of its own.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console

# Wide enough for every column, where no terminal says how wide it is.
_WIDTH: Final = 160


def wide_console() -> Console:
    """
    Give a console of the terminal's width; of 160 columns in a pipe or a file.

    Texts are printed as they are: a path such as artifacts[] is no markup.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    if console.is_terminal:
        return console
    return Console(markup=False, emoji=False, highlight=False, width=_WIDTH)
