# SPDX-License-Identifier: Apache-2.0
"""
One line an event, whatever stands in it, and no secret.
"""

from __future__ import annotations

import ast
import io
import logging
import re
from pathlib import Path

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import connector
from connector import logs


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    handlers = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


class Stream(io.TextIOWrapper):
    """
    A file in memory with the bytes that went into it.
    """

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    @property
    def lines(self) -> list[bytes]:
        return self.buffer.getvalue().splitlines(keepends=True)


def set_up(log_format: logs.Format | None = "json", level: logs.Level = "debug", secrets=()):
    stream = Stream()
    logs.set_up(level=level, log_format=log_format, secrets=lambda: secrets, stream=stream)
    return stream, structlog.get_logger()


def test_json_line():
    """
    An event is one JSON object with level, time and its data.
    """
    stream, log = set_up()
    log.info("transaction_committed", records=3)
    line = orjson.loads(stream.lines[0])
    line.pop("timestamp")

    assert {"event": "transaction_committed", "level": "info", "records": 3} == line


def test_not_a_terminal_gets_json():
    """
    Without a format, what is no terminal gets JSON.
    """
    stream, log = set_up(None)
    log.info("x")

    assert "x" == orjson.loads(stream.lines[0])["event"]


def test_level_filters():
    """
    What is below the level is not written.
    """
    stream, log = set_up(level="warning")
    log.info("quiet")
    log.warning("heard")

    assert ["heard"] == [orjson.loads(line)["event"] for line in stream.lines]


@given(st.text(), st.sampled_from(["json", "console"]))
def test_one_line_whatever_is_logged(text, log_format):
    """
    Neither event nor data can begin a line of their own or command a terminal.
    """
    stream, log = set_up(log_format)
    log.info(text, data=text, nested={"inner": [text]})
    written = stream.buffer.getvalue()

    assert (1, True) == (written.count(b"\n"), written.endswith(b"\n"))
    assert b"\r" not in written
    assert b"\x1b" not in written


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("value", [2**70, b"bytes", object(), {"a": {1, 2}}, "\udcff", None])
def test_anything_can_be_logged(log_format, value):
    """
    A value that JSON or UTF-8 cannot hold is written somehow, never raised.
    """
    stream, log = set_up(log_format)
    log.info("event", value=value)

    assert 1 == len(stream.lines)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_replaced_wherever_they_stand(log_format):
    """
    The longest first, in events, data, exceptions, and as they look in a URL.
    """
    secrets = ("abcdef", "abcdef-longer", "with space/1", "tiny")
    stream, log = set_up(log_format, secrets=secrets)
    log.info("abcdef-longer", a=["abcdef"], b={"abcdef": ("x", b"abcdef")}, c="with%20space%2F1")
    try:
        raise ValueError("abcdef-longer tiny")
    except ValueError:
        log.exception("failed")
    written = stream.buffer.getvalue()

    assert (False, False, False) == (b"abc" in written, b"longer" in written, b"space" in written)
    assert b"tiny" in written


def test_a_secret_does_not_hide_the_name_of_an_event():
    """
    A user name that is a common word leaves the names of events readable.
    """
    stream, log = set_up(secrets=("worker",))
    log.info("worker_started", text="worker")

    line = orjson.loads(stream.lines[0])

    assert ("worker_started", logs.MASK) == (line["event"], line["text"])


def test_secrets_are_those_of_the_moment():
    """
    A secret that was read again after the start is known to the next line.
    """
    secrets = ["first-secret"]
    stream, log = set_up(secrets=secrets)
    log.info("x", value="second-secret")
    secrets[0] = "second-secret"
    log.info("x", value="second-secret")

    assert ["second-secret", "***"] == [orjson.loads(line)["value"] for line in stream.lines]


def test_librdkafka_speaks_through_our_log():
    """
    What librdkafka logs is a warning at most, and debug where we say it ourselves.
    """
    stream, _ = set_up()
    logger = logs.librdkafka_logger()
    logger.error("%s [%s]", "FAIL", "broker\ndown")
    logger.error("Producer fenced by newer instance")
    logger.info("connected")
    lines = [orjson.loads(line) for line in stream.lines]

    assert [
        ("warning", "FAIL [broker\ndown]"),
        ("debug", "Producer fenced by newer instance"),
        ("debug", "connected"),
    ] == [(line["level"], line["text"]) for line in lines]


def test_libraries_speak_through_our_log():
    """
    Warnings of other libraries become lines of ours, with their name as data.
    """
    stream, _ = set_up()
    logging.getLogger("asyncio").warning("slow callback")
    logging.getLogger("asyncio").info("not worth a line")
    lines = [orjson.loads(line) for line in stream.lines]

    assert [("library_log", "asyncio", "slow callback")] == [
        (line["event"], line["library"], line["text"]) for line in lines
    ]


def test_every_event_is_a_name():
    """
    Events of the log are constant names in snake_case, so that they can be searched for.
    """
    found = {
        call.args[0].value
        for path in Path(connector.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in {"log", "_log"}
        and call.func.attr in {"debug", "info", "warning", "error", "exception"}
        and isinstance(call.args[0], ast.Constant)
    }

    assert "worker_started" in found
    assert [] == sorted(event for event in found if not re.fullmatch(r"[a-z0-9_]+", event))
