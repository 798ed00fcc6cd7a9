# SPDX-License-Identifier: Apache-2.0
"""
What a provider is, for everything outside its own folder.

A provider knows HTTP and its own fields, and nothing of Kafka. It declares its
settings, its streams and its feeds; the engine decides when it is called and what
happens with what it returns (DESIGN sections 2 and 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from connector.unit import Json

if TYPE_CHECKING:
    from connector.providers.settings import SourceSettings
    from connector.upstream.auth import Auth
    from connector.upstream.client import Client


class Identity(NamedTuple):
    """
    What identifies one item of a stream.

    Attributes:
        key: The thing whose order matters: the message key (DESIGN section 7).
        id: The item's own id, the same whenever it is read again.
        event_time: Milliseconds since 1970, or None where the item tells none.
    """

    key: str
    id: str
    event_time: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """
    One kind of record of a source; it has a topic of its own.

    Attributes:
        name: Its name below the source, such as ``activity``.
        schema: The schema file below ``schemas/``, such as ``monetago/activity.avsc``.
        identify: Reads key, id and event time from one item (always a mapping).
            Raises RejectedRecordError where key or id is missing or no text.
    """

    name: str
    schema: str
    identify: Callable[[Mapping[str, Any]], Identity]


O = TypeVar("O")  # noqa: E741 - the offset type


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[O]):
    """
    What one step of a feed brought, and where the feed stands after it.

    Attributes:
        items: What is to be written, in this order, as the provider sent it. What
            was seen before is already left out.
        next_offset: The offset after these items.
        writes: What of the stored offset changed, by part: ``""`` is the cursor
            itself, other names are parts kept beside it; None deletes a part.
        caught_up: Nothing more is waiting: ask again after the poll interval.
        durable: False if nothing is lost when these writes are stored only now and
            then (a newer token of an empty page).
        polled_at: Milliseconds since 1970 by our clock, when the answer came.
        complete_until: Event time in ms up to which the stream is complete, for the
            progress topic; None if this step cannot tell.
        late: For each item that came behind its position, by how many seconds.
        mode: What the fingerprint has to cover beside the settings, as seen on this
            page (Stedi: the mode); None if nothing was seen.
        notes: Things to count, by label (``page_order_kept`` …).
    """

    items: Sequence[Any]
    next_offset: O
    writes: Mapping[str, Json | None]
    caught_up: bool
    durable: bool = True
    polled_at: int
    complete_until: int | None = None
    late: Sequence[float] = ()
    mode: str | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """
    What a second look at a time long read brought (DESIGN section 5, late events).

    Attributes:
        writes: Changes to the parts of the stored offset, as in Page.
        late: How many events appeared after the overlap had passed them.
        next_offset: The offset with these writes; None if it stays as it is.
        more: There is more to look at: call again before the day is over.
    """

    writes: Mapping[str, Json | None]
    late: int
    next_offset: Any = None
    more: bool = False


class Feed(Protocol[O]):
    """
    A stream with an order and a cursor, polled for ever.

    Offsets are values: a feed never changes one, it makes the next. ``load`` of what
    ``writes`` stored gives an offset that behaves the same as the one in memory; this
    is what makes a restart safe (DESIGN, invariant 3).
    """

    stream: Stream

    def fingerprint(self) -> str:
        """
        Give the text that covers what shapes the query, without any secret.
        """
        ...

    def first(self, start_ms: int) -> tuple[O, Mapping[str, Json]]:
        """
        Give the offset of a first start, and what is to be stored of it.

        Args:
            start_ms: The resolved start, milliseconds since 1970.
        """
        ...

    def load(self, parts: Mapping[str, Json]) -> O:
        """
        Make an offset from its stored parts.

        Raises:
            StoppedError: The stored value is not one that this version can read.
        """
        ...

    async def fetch_page(self, client: Client, offset: O) -> Page[O]:
        """
        Take one step from an offset. Nothing changes if it raises.

        Raises:
            RetryError: Try again later from the committed offset.
            StoppedError: A person is needed.
        """
        ...

    async def recount(self, client: Client, offset: O) -> Recount | None:
        """
        Look again at what the overlap has passed; None where tokens make it needless.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """
    An upstream API, as one value: all that is special to it hangs here.

    Attributes:
        name: ``monetago``, ``stedi`` …; the default source name and prefix.
        settings: The model of its settings (``<PREFIX>_…``).
        streams: All its streams.
        auth: Makes the credentials of one source from its settings.
        feeds: Makes the feeds of one source from its settings.
    """

    name: str
    settings: type[SourceSettings]
    streams: tuple[Stream, ...]
    auth: Callable[[Any], Auth]
    feeds: Callable[[Any], Sequence[Feed[Any]]]


__all__ = ["Feed", "Identity", "Page", "Provider", "Recount", "Stream"]
