# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import pytest

from connector.cli.topics import choose, load, reader_group, refuse_state
from connector.errors import SettingsError

_ENVIRONMENT = {
    "CONNECTOR_NAME": "bank",
    "CONNECTOR_TOPIC_PREFIX": "eu.",
    "CONNECTOR_SOURCES": "stedi,stedi:acme",
    "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092",
}
_OWN = ["eu.bank.dead-letters", "eu.bank.progress"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("names", "source", "topics"),
    [
        ([], None, ["eu.stedi.transactions", "eu.stedi-acme.transactions", *_OWN]),
        ([], "stedi:acme", ["eu.stedi-acme.transactions"]),
        (["stedi/transactions"], None, ["eu.stedi.transactions"]),
        (["stedi:acme/transactions"], None, ["eu.stedi-acme.transactions"]),
        (["progress", "dead-letters"], None, ["eu.bank.progress", "eu.bank.dead-letters"]),
        (["any.topic", "any.topic"], None, ["any.topic"]),
    ],
)
def test_names_become_topics(names: Sequence[str], source: str | None, topics: list[str]) -> None:
    """
    Full names, streams and the two own topics are understood; nothing means all.
    """
    assert choose(load(names), names, source) == topics


@pytest.mark.parametrize(
    ("names", "source", "text"),
    [
        (["stedi/nothing"], None, "There is no stream stedi/nothing; there are: stedi/trans"),
        (["monetago/activity"], None, "There is no stream monetago/activity"),
        ([], "monetago", "CONNECTOR_SOURCES does not name the source monetago."),
    ],
)
def test_unknown_streams_and_sources_are_refused(
    names: Sequence[str], source: str | None, text: str
) -> None:
    """
    What no source has is told, with what there is.
    """
    with pytest.raises(SettingsError) as failure:
        choose(load(names), names, source)

    assert str(failure.value).startswith(text)


def test_only_what_is_used_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With a full name neither the connector's name nor its sources are needed.
    """
    monkeypatch.delenv("CONNECTOR_NAME")
    monkeypatch.delenv("CONNECTOR_SOURCES")

    settings = load(["any.topic"])

    assert choose(settings, ["any.topic"]) == ["any.topic"]
    assert reader_group(settings, "tail") == "eu.connector-tail"


@pytest.mark.parametrize("names", [[], ["progress"]])
def test_own_topics_need_the_name(names: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Topics that are named after the connector need its name.
    """
    monkeypatch.delenv("CONNECTOR_NAME")

    with pytest.raises(SettingsError, match="CONNECTOR_NAME is required"):
        load(names)


def test_without_sources_a_topic_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    All topics of no sources would be none: that is told instead.
    """
    monkeypatch.delenv("CONNECTOR_SOURCES")

    with pytest.raises(SettingsError, match="Name a topic, or set CONNECTOR_SOURCES"):
        load([])


@pytest.mark.parametrize("name", ["", "bad name!", "..", "x" * 250, "grün"])
def test_what_cannot_be_a_topic_is_refused(name: str) -> None:
    """
    A name that Kafka would refuse is wrong usage, before Kafka is asked.
    """
    with pytest.raises(SettingsError, match="A topic's name has"):
        choose(load([name]), [name])


@pytest.mark.parametrize("name", ["foreign", "eu.stedi-acme.transactions", "progress"])
def test_a_topic_of_another_source_is_refused(name: str) -> None:
    """
    With a source, only topics of that source can be named.
    """
    with pytest.raises(SettingsError, match=r"is no topic of stedi; there are: eu\.stedi"):
        choose(load([name]), [name], "stedi")


def test_state_is_no_topic_of_records() -> None:
    """
    The offsets topic of any connector is refused where records are wanted.
    """
    refuse_state(["eu.stedi.transactions"])

    with pytest.raises(SettingsError, match=r"eu\.bank\.offsets is a connector's own state"):
        refuse_state(["eu.stedi.transactions", "eu.bank.offsets"])
