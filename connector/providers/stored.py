# SPDX-License-Identifier: Apache-2.0
"""
Reads whole numbers of a stored offset, which a person may have written.
"""

from __future__ import annotations

from typing import Any, Final

from connector.unit import Json

# The end of the year 9999 in milliseconds since 1970: no later time can be written.
MAX_MS: Final = 253_402_300_799_999


def take_number(
    stored: dict[str, Json], name: str, *, least: int = 0, optional: bool = False
) -> Any:
    """
    Take a field out of a stored object: an int from ``least`` to the end of 9999 in ms.

    Args:
        stored: Loses the field.
        name: Its name.
        least: The least that it may be.
        optional: None is fine, or no field at all; None is returned.

    Raises:
        ValueError: It is missing, no whole number, or out of range.
    """
    value = stored.pop(name, None)
    if value is None and optional:
        return None
    if type(value) is not int:
        raise ValueError(f"{name} is not a whole number")
    if not least <= value <= MAX_MS:
        raise ValueError(f"{name} is out of range")
    return value
