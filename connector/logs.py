# SPDX-License-Identifier: Apache-2.0
"""
How log lines look, where they go, and the last wall before a secret.

One line an event, to standard error: standard output belongs to what a command was
asked for. As JSON a line break is escaped; for a terminal it is escaped here, because
structlog's renderer would print one that stands in an event as it is.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TextIO
from urllib.parse import quote

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from connector.config.fields import MASK

if TYPE_CHECKING:
    from connector.settings import Settings

# Shorter ones would mask half of every line, and protect nothing.
_SHORTEST_SECRET: Final = 6
# librdkafka says these several times for one fencing or one waiting; the connector says
# them once, in its own words (notes 8).
_SAID_BY_US: Final = re.compile(r"fenced|CONCURRENT_TRANSACTIONS", re.IGNORECASE)

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]


def configure(settings: Settings) -> None:
    """
    Set up logging as the settings say, with their secrets kept out of it.
    """
    set_up(level=settings.log_level, log_format=settings.log_format, secrets=settings.secrets)


def set_up(
    *,
    level: Level = "info",
    log_format: Format | None = None,
    secrets: Callable[[], Iterable[str]] = tuple,
    stream: TextIO | None = None,
) -> None:
    """
    Set up logging for this process: ours, librdkafka's, and that of libraries.

    Args:
        level: The least level that is logged.
        log_format: Without it, ``console`` on a terminal and ``json`` elsewhere.
        secrets: Gives what no line may show, as it is at the moment of the line.
        stream: Where lines go; standard error if not given.
    """
    stream = stream or sys.stderr
    console = (log_format or ("console" if stream.isatty() else "json")) == "console"
    render: list[Processor] = (
        [_one_line, structlog.dev.ConsoleRenderer(colors=stream.isatty()), _encode]
        if console
        else [structlog.processors.JSONRenderer(serializer=_dump)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _Redactor(secrets),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(file=_binary(stream)),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING, force=True)


def librdkafka_logger() -> logging.Logger:
    """
    Give the logger for ``logger=`` of every Kafka client.
    """
    logger = logging.getLogger("librdkafka")
    logger.setLevel(logging.DEBUG)
    return logger


class _Bridge(logging.Handler):
    """
    Hands what libraries log over to structlog, its text as data and not as the event.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logger = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """
        Log one record of a library.
        """
        try:
            text, level = record.getMessage(), record.levelno
            if record.name == "librdkafka" and (
                level < logging.WARNING or _SAID_BY_US.search(text)
            ):
                level = logging.DEBUG
            # What a library calls an error, our own code judges by its consequences.
            self._logger.log(
                min(level, logging.WARNING),
                "library_log",
                library=record.name,
                text=text,
                **({"exc_info": record.exc_info} if record.exc_info else {}),
            )
        except Exception:  # noqa: BLE001 - a log line must never stop what logs it
            self.handleError(record)


_OURS = frozenset({"event", "level"})


class _Redactor:
    """
    Replaces secrets wherever they stand, the longest first.
    """

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        pattern = _pattern(tuple(self._secrets()))
        # Names of events and levels are ours: a user called "worker" must not hide them.
        return {
            key: value if key in _OURS and value.isidentifier() else _clean(value, pattern)
            for key, value in event.items()
        }


@functools.lru_cache(maxsize=4)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
    texts = sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts))) if texts else None


def _clean(value: Any, pattern: re.Pattern[str] | None) -> Any:
    """
    Turn a value into what JSON can hold, without secrets.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_clean(str(key), pattern): _clean(inner, pattern) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, pattern) for inner in value]
    text = value if isinstance(value, str) else repr(value)
    return pattern.sub(MASK, text) if pattern else text


def _dump(event: EventDict, **_: Any) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:
        # An integer above 64 bits, or half a surrogate pair.
        return json.dumps(event).encode()


def _one_line(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """
    Escape what would break a line of the console, or command the terminal.
    """
    return {
        key: value
        if key == "exception" or not isinstance(value, str)
        else re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", _escape, value)
        for key, value in event.items()
    }


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _encode(_logger: WrappedLogger, _name: str, line: Any) -> bytes:
    return str(line).encode("utf-8", "backslashreplace")


def _binary(stream: TextIO) -> BinaryIO:
    return stream.buffer
