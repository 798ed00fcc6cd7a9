# SPDX-License-Identifier: Apache-2.0
"""
Writes what is generated of ``docs/``: ``python -m connector.docs``, or ``make docs``.

Settings, schemas and metrics each have one source, the code; a test fails when a page
is not what this makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from connector.admin.docs import metrics_table
from connector.config import docs as configuration
from connector.encoding.docs import tables
from connector.markdown import replace_part

# Parts inside pages that people write, by page and by the name of their marks.
_PARTS = (("docs/consuming.md", "schemas", tables), ("docs/metrics.md", "metrics", metrics_table))


def generated(root: Path) -> dict[str, str]:
    """
    Give the pages with generated parts as they should be, by their path below a root.

    Args:
        root: The checkout; the parts that people write are read from there.
    """
    pages = {configuration.FILE: configuration.make()}
    for path, name, make in _PARTS:
        pages[path] = replace_part((root / path).read_text(encoding="utf-8"), name, make())
    return pages


def main(root: Path) -> None:
    """
    Write them.
    """
    for path, text in generated(root).items():
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
