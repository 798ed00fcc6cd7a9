# SPDX-License-Identifier: Apache-2.0
"""
The little Markdown that generated documentation needs.
"""

from __future__ import annotations

from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """
    Write a table, a line each row; a bar inside a cell is escaped.
    """
    lines = [head, ("---",) * len(head), *rows]
    escaped = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in escaped)


def replace_part(page: str, name: str, text: str) -> str:
    """
    Put text between the marks ``<!-- <name>: generated -->`` and ``<!-- <name>: end -->``.

    Raises:
        ValueError: The page does not have both marks.
    """
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"Implementation error: the page has no part {name!r}.")
    return f"{before}{begin}\n{text.strip()}\n\n{end}{after}"
