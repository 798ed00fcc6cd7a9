# SPDX-License-Identifier: Apache-2.0
"""
The types that a setting can have: durations, rates, starts, URLs and secrets.

Each of them reads text and raises ValueError with a text that says how to write it
right and never what was written (DESIGN, invariant 9).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo
from pydantic_core import core_schema

from connector.errors import CredentialsError

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_MAX_DURATION_MS: Final = 100_000 * _UNIT_MS["d"]
_RATE: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,12}(?:ms|s|m|h|d))")

# A PEM bundle of every public authority is about 250 KB; invariant 8 wants a limit.
MAX_FILE_BYTES: Final = 1 << 20

ErrorPolicy = Literal["dead-letter", "stop"]


@dataclass(frozen=True, slots=True)
class Kind:
    """
    How people read a type: its name, its values, and None if that can be written.
    """

    name: str
    write: Callable[[Any], str] = str
    none: str | None = None


def parse_duration_ms(text: str) -> int:
    """
    Read ``10s``, ``5m``, ``1h``, ``7d`` or ``500ms`` as milliseconds.

    Raises:
        ValueError: It is written otherwise, or longer than 100,000 days.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a duration: write a whole number and a unit, such as 10s, 5m, 7d")
    duration = int(match[1]) * _UNIT_MS[match[2]]
    if duration > _MAX_DURATION_MS:
        raise ValueError("is longer than 100,000 days")
    return duration


def _parse_duration(value: object) -> float:
    """
    Read a duration as seconds; numbers, as defaults have them, stay what they are.
    """
    seconds = value if isinstance(value, int | float) else parse_duration_ms(str(value)) / 1000
    if seconds <= 0:
        raise ValueError("has to be longer than nothing")
    return float(seconds)


def write_duration(seconds: float) -> str:
    """
    Write seconds in the largest unit that needs no fraction.
    """
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds % _UNIT_MS[unit] == 0 and milliseconds:
            return f"{milliseconds // _UNIT_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def _parse_rate(value: object) -> tuple[int, float]:
    """
    Read ``<n>/<duration>`` as a count and seconds.
    """
    if isinstance(value, tuple):
        return value
    match = _RATE.fullmatch(str(value).strip())
    if match is None or int(match[1]) == 0:
        raise ValueError("is not a rate: write <n>/<duration>, such as 100/1m")
    return int(match[1]), _parse_duration(match[2])


def _write_rate(rate: tuple[int, float]) -> str:
    return f"{rate[0]}/{write_duration(rate[1])}"


# Seconds.
Duration = Annotated[float, BeforeValidator(_parse_duration, str), Kind("duration", write_duration)]
# So many requests, in so many seconds.
Rate = Annotated[tuple[int, float], PlainValidator(_parse_rate, str), Kind("rate", _write_rate)]


@dataclass(frozen=True, slots=True)
class Start:
    """
    Where a feed begins when no offset is stored.

    Attributes:
        text: As it was written.
        at: Milliseconds since 1970 of a fixed start, or None.
        ago: Milliseconds before the moment of the first start; counts if ``at`` is None.
    """

    text: str
    at: int | None = None
    ago: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read ``earliest``, ``now``, ``-7d``, or an ISO 8601 time (UTC if it names no zone).

        Raises:
            ValueError: It is none of these, or lies before 1970.
        """
        text = text.strip()
        if text == "earliest":
            return cls(text, at=0)
        if text == "now":
            return cls(text)
        if text.startswith("-"):
            with contextlib.suppress(ValueError):
                return cls(text, ago=parse_duration_ms(text[1:]))
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            at = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
            if at >= 0:
                return cls(text, at=at)
        raise ValueError(
            "is not a start: write earliest, now, -7d, or a time since 1970"
            " such as 2026-01-31T00:00:00Z"
        )

    def resolve(self, now_ms: int) -> int:
        """
        Give the start as milliseconds since 1970: never before that, never after now.

        Args:
            now_ms: The provider's clock, in milliseconds since 1970.
        """
        start = now_ms - self.ago if self.at is None else self.at
        return max(0, min(start, now_ms))

    def __str__(self) -> str:
        """
        Give it as it was written.
        """
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> Any:
        """
        Tell pydantic how to read one.
        """

        def parse(value: object) -> Start:
            return value if isinstance(value, Start) else cls.parse(str(value))

        return core_schema.no_info_plain_validator_function(parse)


def _check_url(url: str, info: ValidationInfo) -> str:
    """
    Accept an absolute URL without credentials, query or fragment; drop a last slash.

    Unless private addresses are allowed for the source, it has to be https.
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL: write it as https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not a URL: write it as https://host/path")
    if re.search(r"[\s\\\x00-\x1f\x7f]", url.strip()):
        raise ValueError("holds a blank, a backslash or a control character")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds credentials: they have settings of their own")
    if parts.query or parts.fragment:
        raise ValueError("holds a query or a fragment: end it with the path")
    if parts.scheme == "http" and info.data.get("allow_private_addresses") is False:
        raise ValueError("has to begin with https:// (http only where private ones are allowed)")
    return url.strip().rstrip("/")


# Without a slash at its end; http needs ``allow_private_addresses``, if the model has it.
Url = Annotated[str, AfterValidator(_check_url), Kind("URL")]


class Secret:
    """
    A value that no text ever shows: from its variable, or from the file that X_FILE names.

    ``read`` reads a file again, so that a rotated secret is found after a 401.

    Args:
        value: The secret, as its variable or file held it at the start.
        path: The file to read it from again, if it came from one.
        variable: The variable that named it, for errors.
    """

    __slots__ = ("_known", "_path", "_variable")

    def __init__(self, value: str, *, path: Path | None = None, variable: str = "") -> None:
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise ValueError("holds a line break or another control character")
        if value.isspace():
            raise ValueError("holds nothing but blanks")
        if not re.fullmatch(r"[\x00-\xff]*", value):
            raise ValueError("holds a character that is not in Latin-1: no header can carry it")
        self._known: tuple[str, ...] = (value,)
        self._path = path
        self._variable = variable

    def read(self) -> str:
        """
        Give the secret, from its file again if it has one.

        Raises:
            CredentialsError: The file is gone, cannot be read, or holds nothing usable.
        """
        if self._path is not None:
            try:
                value = Secret(read_file(self._path)).known()[0]
            except ValueError as error:
                raise CredentialsError(f"{self._variable} {error}", cause="secret_file") from None
            # The last wall of the log (connector.logs) still has to know the old ones.
            self._known = (value, *(old for old in self._known if old != value))[:3]
        return self._known[0]

    def known(self) -> tuple[str, ...]:
        """
        Give the value and those before it, the newest first, without reading a file.
        """
        return self._known

    def __repr__(self) -> str:
        """
        Give a mask: nothing prints a secret by accident.
        """
        return "Secret('***')"

    __str__ = __repr__

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> Any:
        """
        Tell pydantic how to read one.
        """

        def parse(value: object) -> Secret:
            return value if isinstance(value, Secret) else cls(str(value))

        return core_schema.no_info_plain_validator_function(parse)


def read_file(path: Path) -> str:
    """
    Read the file that a variable names, without the line break at its end.

    Raises:
        ValueError: It cannot be read, is empty, larger than 1 MiB, or no UTF-8.
    """
    if "\x00" in str(path):
        raise ValueError("names no file: there is a null character in it")
    try:
        # Opening a pipe would wait for its other end.
        if path.exists() and not path.is_file():
            raise ValueError("names no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ValueError(f"names a file that cannot be read: {reason}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ValueError("names a file larger than 1 MiB")
    try:
        text = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("names a file that is not UTF-8") from None
    if "\x00" in text:
        raise ValueError("names a file that is not text")
    if not text:
        raise ValueError("names a file that is empty")
    return text
