# SPDX-License-Identifier: Apache-2.0
"""
Where partitions begin and end, asked through an admin client that may remember too much.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from connector.errors import OutsideError, TopicError
from connector.kafka.marks import Span, find_spans


class Admin:
    """
    Stands for an admin client; fails with a code until it has asked for all topics.
    """

    def __init__(self, code: int, *, heals: bool) -> None:
        self._code = code
        self._heals = heals
        self._failing = True
        self.refreshed = 0

    def list_offsets(self, wanted, *, isolation_level):
        answers = {}
        for place in wanted:
            answers[place] = Future()
            if self._failing:
                answers[place].set_exception(KafkaException(KafkaError(self._code)))
            else:
                answers[place].set_result(SimpleNamespace(offset=7))
        return answers

    def list_topics(self, topic=None, *, timeout):
        # By its name a topic that was deleted could be made anew.
        assert topic is None
        self.refreshed += 1
        self._failing = not self._heals


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    ],
)
def test_leader_that_is_remembered_is_asked_for_anew(code):
    """
    An answer that the leader is another one leads to new metadata and a second question.
    """
    admin = Admin(code, heals=True)
    assert find_spans(admin, "t", [0]) == {0: Span(7, 7)}
    assert admin.refreshed == 1


def test_second_failure_is_told():
    """
    What new metadata does not heal is waited out by whoever asked.
    """
    admin = Admin(KafkaError.FENCED_LEADER_EPOCH, heals=False)
    with pytest.raises(OutsideError, match="FENCED_LEADER_EPOCH"):
        find_spans(admin, "t", [0])
    assert admin.refreshed == 1


def test_topic_that_is_gone_is_told_at_once():
    """
    No metadata is asked for where the answer is that there is no such topic.
    """
    admin = Admin(KafkaError.UNKNOWN_TOPIC_OR_PART, heals=True)
    with pytest.raises(TopicError):
        find_spans(admin, "t", [0])
    assert admin.refreshed == 0
