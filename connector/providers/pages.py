# SPDX-License-Identifier: Apache-2.0
"""
What every provider's pages have to keep to, whatever the provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.errors import RetryError

# A server may cap a page or be generous; far more than asked for is no page. Millions of
# empty objects fit into one answer, and would stand still in one unit.
_GENEROUS = 10
_MAX_ITEMS = 20_000


def check_count(items: Sequence[Any], asked: int, provider: str) -> None:
    """
    Refuse a page of far more items than were asked for.

    Args:
        items: The items of the page.
        asked: How many were asked for.
        provider: Its name, for the error.

    Raises:
        RetryError: ``too_many_items``: there are more than ten times as many as asked for,
            and more than 20,000.
    """
    most = max(_GENEROUS * asked, _MAX_ITEMS)
    if len(items) > most:
        raise RetryError(
            f"{provider} sent a page of more than {most} items where {asked} were asked for; "
            "it does not heed the page size.",
            cause="too_many_items",
        )


__all__ = ["check_count"]
