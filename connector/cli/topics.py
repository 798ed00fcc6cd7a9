# SPDX-License-Identifier: Apache-2.0
"""
Which topics ``tail`` and ``verify`` mean. No command of its own.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from typing import Final

from connector.errors import SettingsError
from connector.settings import Part, Settings, load_settings

# What Kafka takes for the name of a topic.
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")

# Names of our own topics, short for ``<CONNECTOR_NAME>.…``.
_DEAD_LETTERS: Final = "dead-letters"
_PROGRESS: Final = "progress"
# How the offsets topic of every connector ends.
_STATE: Final = ".offsets"


def load(names: Sequence[str], *, also: Sequence[Part] = ()) -> Settings:
    """
    Read the settings that are needed to find topics and to read them.

    Args:
        names: What the command was given.
        also: Further parts that the command needs.

    Raises:
        SettingsError: Something is wrong with them.
    """
    need: set[Part] = {"kafka", *also}
    if not names or {_DEAD_LETTERS, _PROGRESS} & set(names):
        need.add("name")
    settings = load_settings(os.environ, need=need)
    if not names and not settings.sources:
        raise SettingsError("Name a topic, or set CONNECTOR_SOURCES.")
    return settings


def reader_group(settings: Settings, purpose: str) -> str:
    """
    Name a consumer that joins no group, below the connector's own name where it is known.
    """
    return f"{settings.topic_prefix}{settings.name or 'connector'}-{purpose}"


def quiet_logger() -> logging.Logger:
    """
    Give the logger for Kafka clients whose failures these commands tell in their own words.
    """
    logger = logging.getLogger("connector.quiet")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def choose(settings: Settings, names: Sequence[str], source: str | None = None) -> list[str]:
    """
    Give the full names of the topics that are meant.

    Args:
        settings: With their sources listed.
        names: What the command was given; nothing means all.
        source: Leave out what does not belong to this source.

    Raises:
        SettingsError: There is no such source or stream, a name can be no topic's, or
            it is not one of the source.
    """
    sources = [each for each in settings.sources if source in {None, each.name}]
    if source is not None and not sources:
        raise SettingsError(f"CONNECTOR_SOURCES does not name the source {source}.")
    streams = {
        f"{each.name}/{stream.name}": each.topic(stream.name)
        for each in sources
        for stream in each.provider.streams
    }
    own: dict[str, str] = {}
    if settings.name:
        own = {_DEAD_LETTERS: settings.dead_letters_topic, _PROGRESS: settings.progress_topic}
    if not names:
        return [*streams.values(), *(own.values() if source is None else ())]
    known = streams | own
    unknown = [name for name in names if "/" in name and name not in known]
    if unknown:
        raise SettingsError(
            f"There is no stream {', '.join(unknown)}; there are: {', '.join(streams) or 'none'}."
        )
    wanted = list(dict.fromkeys(known.get(name, name) for name in names))
    if not all(_TOPIC.fullmatch(name) for name in wanted):
        raise SettingsError(
            "A topic's name has 1 to 249 letters, digits, '.', '_', '-', and is not '.' or '..'."
        )
    foreign = [name for name in wanted if name not in streams.values()]
    if source is not None and foreign:
        raise SettingsError(
            f"{', '.join(foreign)} is no topic of {source}; there are: "
            f"{', '.join(streams.values())}."
        )
    return wanted


def refuse_state(topics: Sequence[str]) -> None:
    """
    Refuse offsets topics where records are wanted.

    Raises:
        SettingsError: There is one among them.
    """
    state = [name for name in topics if name.endswith(_STATE)]
    if state:
        raise SettingsError(
            f"{', '.join(state)} is a connector's own state, not a topic of records.",
            remedy="See connector offsets list.",
        )
