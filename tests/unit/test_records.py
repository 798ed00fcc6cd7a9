# SPDX-License-Identifier: Apache-2.0
"""
From items to messages: nothing is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from connector.encoding.json import loads
from connector.errors import RejectedRecordError, StoppedError
from connector.polling.records import Limits, RecordMaker
from connector.providers.base import Identity, Stream


def identify(raw: Mapping[str, Any]) -> Identity:
    """Read key and id as a provider would."""
    if not isinstance(raw.get("id"), str):
        raise RejectedRecordError("missing_id")
    return Identity(f"key-{raw['id']}", raw["id"], 7)


class Encoder:
    """Encodes as JSON, and refuses what says so."""

    def __init__(self) -> None:
        self.misfits: Counter[str] = Counter()

    def encode(self, raw: Any) -> bytes:
        if raw.get("refuse"):
            raise RejectedRecordError("not_encodable")
        return orjson.dumps(raw)


def maker(**changes: Any) -> RecordMaker:
    """Make a RecordMaker for a stream of example."""
    words: dict[str, Any] = {
        "source": "example",
        "connector": "test",
        "stream": Stream(name="things", schema="x", identify=identify),
        "topic": "example.things",
        "dead_letters": "test.dead-letters",
        "encoder": Encoder(),
        "limits": Limits(records=10_000, dead_letters=20_000),
        "stop_on_rejected": False,
    }
    return RecordMaker(**{**words, **changes})


def test_an_item_becomes_a_record() -> None:
    """Key, id and event time are the provider's."""
    (message,), reasons, size = maker().make([{"id": "a"}])

    assert ("example.things", b"key-a", b'{"id":"a"}', "a", 7, ()) == message
    assert [] == reasons
    assert 5 + 10 + 1 == size


@pytest.mark.parametrize(
    ("item", "reason", "key"),
    [
        ({"no": "id"}, "missing_id", b"example"),
        ("text", "not_an_object", b"example"),
        (None, "not_an_object", b"example"),
        ({"id": "a", "refuse": True}, "not_encodable", b"key-a"),
        ({"id": "a", "x": "y" * 10_000}, "too_large", b"key-a"),
        ({"id": "\ud800"}, "not_utf8", b"example"),
    ],
)
def test_what_cannot_be_a_record_is_a_dead_letter(item: Any, reason: str, key: bytes) -> None:
    """The raw item is kept whole, with the reason and without a value in the headers."""
    (message,), reasons, _ = maker().make([item])
    headers = dict(message.headers)

    assert [reason] == reasons
    assert ("test.dead-letters", key) == message[:2]
    assert item == loads(message.value or b"")
    assert reason.encode() == headers["__connect.errors.exception.message"]
    assert b"example.things" == headers["__connect.errors.topic"]


def test_numbers_of_a_dead_letter_keep_their_digits() -> None:
    """A dead letter is the item as it came, to the last digit."""
    item = loads(b'{"n": 12345678901234567890123456789.10}')
    (message,), _, _ = maker().make([item])

    assert b'{"n":12345678901234567890123456789.10}' == message.value


def test_the_same_item_has_the_same_dead_letter_id() -> None:
    """A dead letter is known by its hash, whatever the order of its fields."""
    (first,), _, _ = maker().make([{"a": 1, "b": 2}])
    (again, other), _, _ = maker().make([{"b": 2, "a": 1}, {"a": 1, "b": 3}])

    assert first.id == again.id != other.id


def test_equal_items_of_one_answer_stay_apart() -> None:
    """Two equal items are two dead letters, each with an id of its own."""
    messages, _, _ = maker().make([{"a": 1}, {"a": 1}])

    assert f"{messages[0].id}#2" == messages[1].id


def test_a_dead_letter_too_large_is_a_stub() -> None:
    """What even the dead letters cannot take leaves its size, its hash and its beginning."""
    (message,), _, _ = maker().make([{"id": "a", "x": "y" * 50_000}])
    stub = orjson.loads(message.value or b"")

    assert stub["stub"] is True
    assert 50_000 < stub["size"]
    assert stub["first"].startswith('{"id":"a"')


def test_the_order_of_a_page_is_kept() -> None:
    """Dead letters stand where their items stood."""
    messages, _, _ = maker().make([{"id": "a"}, {}, {"id": "b"}])

    assert ["example.things", "test.dead-letters", "example.things"] == [m.topic for m in messages]


def test_a_source_may_stop_instead() -> None:
    """With errors=stop an item that cannot be a record stops the stream, and is not shown."""
    with pytest.raises(StoppedError, match="missing_id") as caught:
        maker(stop_on_rejected=True).make([{"secret": "hunter2"}])

    assert "hunter2" not in str(caught.value)
