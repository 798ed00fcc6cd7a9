# SPDX-License-Identifier: Apache-2.0
"""
How ``connector offsets`` reads its arguments.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from connector.cli import connector
from connector.cli.offsets import parse_offset
from connector.encoding.json import dumps
from connector.errors import SettingsError
from connector.kafka.offsets import members_error
from connector.providers import monetago, stedi
from connector.providers.monetago.offset import Offset
from connector.providers.monetago.walk import Cursor
from connector.settings import load_settings


@pytest.mark.parametrize("start", ["-1h", "-7d"])
def test_start_that_looks_like_an_option_is_an_argument(start):
    """
    A start such as -1h reaches the command, which then misses its settings.
    """
    result = CliRunner().invoke(connector, ["offsets", "set", "monetago/activity", start], env={})

    assert 2 == result.exit_code
    assert "CONNECTOR_NAME is required" in result.output


def test_help_of_set_is_still_there():
    """
    ``--help`` explains the command.
    """
    result = CliRunner().invoke(connector, ["offsets", "set", "--help"])

    assert 0 == result.exit_code
    assert "--dry-run" in result.output


@pytest.fixture(params=[monetago.PROVIDER, stedi.PROVIDER], ids=lambda each: each.name)
def feed(request):
    """
    Give the one feed of each provider.
    """
    environ = {
        "CONNECTOR_SOURCES": request.param.name,
        "MONETAGO_CLIENT_ID": "invented",
        "MONETAGO_CLIENT_SECRET": "invented",
        "MONETAGO_AUDIENCE": "invented",
        "MONETAGO_START": "now",
        "STEDI_API_KEY": "invented",
        "STEDI_START": "now",
    }
    source = load_settings(environ, need={"sources"}).sources[0]
    return source.provider.feeds(source.settings)[0]


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        ("2999-01-01T00:00:00Z", "OFFSET lies in the future"),
        ("[1]", "OFFSET is JSON, but no object"),
        ("5", "OFFSET is JSON, but no object"),
        ("soon", "OFFSET is neither JSON nor a start"),
        ('{"start"', "OFFSET is not JSON"),
    ],
)
def test_an_offset_that_no_feed_has_is_refused(feed, offset, text):
    """
    What is no offset of any feed is refused, with what is wrong about it.
    """
    with pytest.raises(SettingsError, match=text):
        parse_offset(feed, offset)


def test_a_misspelt_field_is_told(feed):
    """
    A field that the feed would carry along without a word is refused by its name.
    """
    known = parse_offset(feed, "-1h")[""]

    assert {"": known} == parse_offset(feed, dumps(known).decode())
    with pytest.raises(SettingsError, match="does not know: typo"):
        parse_offset(feed, dumps({**known, "typo": 1}).decode())


def test_a_misspelt_field_of_a_walk_is_told():
    """
    The walk inside MonetaGo's offset is looked at as well.
    """
    cursor = Cursor.first(1_000)
    walk = {**cursor.begin(2_000).store(), "typo": 1}
    offset = Offset.load({"": {**cursor.store(), "walk": walk}})

    assert {"typo": 1} == offset.extra


@pytest.mark.parametrize(
    ("clients", "text"),
    [
        (["a"], "1 worker is a member of group g: a at /192.0.2.1."),
        (["b", "a"], "2 workers are members of group g: a at /192.0.2.1, b at /192.0.2.1."),
    ],
)
def test_members_are_named(clients, text):
    """
    Who has to be stopped is told by client id and host.
    """
    members = [SimpleNamespace(client_id=each, host="/192.0.2.1") for each in clients]

    assert text in str(members_error("g", members))
