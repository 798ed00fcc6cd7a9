# SPDX-License-Identifier: Apache-2.0
"""
Compares what was decoded from a record with the item that the provider sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tests.integration.offered import Offered
from tests.integration.seeing import Decoder, Seen


def same_item(decoder: Decoder) -> Callable[[Offered, Seen], Iterable[str]]:
    """
    Make a check of values for ``judge``: nothing that was sent may be gone or changed.
    """

    def check(offered: Offered, seen: Seen) -> Iterable[str]:
        decoded = decoder.decode(seen.value or b"")
        extras = decoded.get("additional_properties", {})
        for what in _differences(offered.body, decoded, extras, ""):
            yield f"{offered.id} at {seen.place}: {what}"

    return check


def _differences(sent: Any, got: Any, extras: Mapping[str, str], pointer: str) -> Iterator[str]:
    if pointer in extras:
        if json.loads(extras[pointer]) != sent:
            yield f"{pointer} is kept as another value"
    elif isinstance(sent, dict) and isinstance(got, dict):
        for name, value in sent.items():
            below = f"{pointer}/{name}"
            yield from _differences(value, got.get(name), extras, below)
    elif isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        for index, (one, other) in enumerate(zip(sent, got, strict=True)):
            yield from _differences(one, other, extras, f"{pointer}/{index}")
    elif isinstance(got, datetime) and isinstance(sent, str):
        if datetime.fromisoformat(sent) != got:
            yield f"{pointer} is another time"
    elif sent != got:
        yield f"{pointer} is gone or changed"
