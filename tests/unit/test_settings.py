# SPDX-License-Identifier: Apache-2.0
"""
The rules of settings, one by one.
"""

from __future__ import annotations

import os
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field

from connector.config import docs
from connector.errors import SettingsError
from connector.providers.settings import FeedSettings, Start
from connector.settings import load_settings
from tests.unit.settings_kit import GOOD, PROVIDERS, load, problems


def test_names_follow_prefix_and_name():
    """
    Every name that a user sees is made of the prefix, as it is, and the name.
    """
    settings = load(CONNECTOR_TOPIC_PREFIX="dev.")

    assert (
        "dev.ledger",
        "dev.ledger-3",
        "dev.ledger.offsets",
        "dev.ledger.progress",
        "dev.ledger.dead-letters",
        "dev.bank.events",
    ) == (
        settings.group_id,
        settings.transactional_id(3),
        settings.offsets_topic,
        settings.progress_topic,
        settings.dead_letters_topic,
        settings.sources[0].topic("events"),
    )


def test_account_has_prefix_and_topics_of_its_own():
    """
    A second account reads its own variables and writes its own topics.
    """
    settings = load(
        CONNECTOR_SOURCES="bank,bank:acme",
        BANK_ACME_API_KEY="another-key",
        BANK_ACME_START="-7d",
        BANK_ACME_PAGE_SIZE="7",
    )
    source = settings.sources[1]

    assert ("bank:acme", "BANK_ACME_", "bank-acme.events", 7, "another-key") == (
        source.name,
        source.prefix,
        source.topic("events"),
        source.settings.page_size,
        source.settings.api_key.read(),
    )


def test_defaults_are_those_of_the_design():
    """
    What is not set has the documented default.
    """
    settings = load()
    own = settings.sources[0].settings

    assert (8, 6, -1, True, "127.0.0.1", 8080, "dead-letter", 20.0, "info", None, False) == (
        settings.shards,
        settings.topic_partitions,
        settings.topic_replication_factor,
        settings.topic_create,
        settings.admin_host,
        settings.admin_port,
        settings.errors,
        settings.drain_timeout,
        settings.log_level,
        settings.log_format,
        settings.http_trust_env,
    )
    assert (15.0, 30.0, 1, None, False) == (
        own.poll_interval,
        own.request_timeout,
        own.max_concurrency,
        own.rate_limit,
        own.allow_private_addresses,
    )


def test_source_decides_on_errors_before_the_core():
    """
    A source's own …_ERRORS wins; without it CONNECTOR_ERRORS counts.
    """
    both = load(CONNECTOR_ERRORS="stop").sources[0].errors
    own = load(CONNECTOR_ERRORS="stop", BANK_ERRORS="dead-letter").sources[0].errors

    assert ("stop", "dead-letter") == (both, own)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"CONNECTOR_NAME": None}, ["CONNECTOR_NAME is required"]),
        ({"CONNECTOR_NAME": ""}, ["CONNECTOR_NAME is required"]),
        ({"CONNECTOR_NAME": "a b"}, ["CONNECTOR_NAME has to be 1 to 100 letters"]),
        ({"CONNECTOR_SOURCES": None}, ["CONNECTOR_SOURCES is required"]),
        ({"CONNECTOR_SOURCES": "bnak"}, ["CONNECTOR_SOURCES names no provider in entry 1"]),
        (
            {"CONNECTOR_SOURCES": "bank,bank"},
            ["CONNECTOR_SOURCES names the source of entry 2 twice"],
        ),
        ({"CONNECTOR_SOURCES": "bank,"}, ["CONNECTOR_SOURCES names no provider in entry 2"]),
        (
            {"CONNECTOR_SOURCES": "bank,shop:Acme", "SHOP_BASE_URL": "https://example.com"},
            ["CONNECTOR_SOURCES has an account in entry 2"],
        ),
        (
            {
                "CONNECTOR_SOURCES": "bank,bank:page",
                "BANK_PAGE_API_KEY": "x",
                "BANK_PAGE_START": "now",
            },
            ["CONNECTOR_SOURCES is ambiguous: BANK_PAGE_SIZE could belong to bank and to bank:"],
        ),
        ({"CONNECTOR_SHARDS": "0"}, ["CONNECTOR_SHARDS has to be at least 1"]),
        ({"CONNECTOR_SHARDS": "many"}, ["CONNECTOR_SHARDS is not a whole number"]),
        ({"CONNECTOR_TOPIC_CREATE": "si"}, ["CONNECTOR_TOPIC_CREATE is neither true nor false"]),
        (
            {"CONNECTOR_TOPIC_REPLICATION_FACTOR": "0"},
            ["CONNECTOR_TOPIC_REPLICATION_FACTOR has to be at least 1, or -1"],
        ),
        ({"CONNECTOR_TOPIC_PREFIX": "a/b"}, ["CONNECTOR_TOPIC_PREFIX has to be at most 100"]),
        ({"CONNECTOR_ERRORS": "skip"}, ["CONNECTOR_ERRORS has to be 'dead-letter' or 'stop'"]),
        ({"CONNECTOR_DRAIN_TIMEOUT": "20"}, ["CONNECTOR_DRAIN_TIMEOUT is not a duration"]),
        ({"BANK_API_KEY": None}, ["BANK_API_KEY is required"]),
        ({"BANK_START": None}, ["BANK_START is required"]),
        ({"BANK_START": "yesterday"}, ["BANK_START is not a start"]),
        ({"BANK_POLL_INTERVAL": "0s"}, ["BANK_POLL_INTERVAL has to be longer than nothing"]),
        ({"BANK_RATE_LIMIT": "5 per minute"}, ["BANK_RATE_LIMIT is not a rate"]),
        ({"BANK_PAGE_SIZE": "501"}, ["BANK_PAGE_SIZE has to be at most 500"]),
        ({"BANK_API_KEY": "a\nb"}, ["BANK_API_KEY holds a line break"]),
        ({"BANK_API_KEY": " \u00a0"}, ["BANK_API_KEY holds nothing but blanks"]),
        ({"BANK_API_KEY": "a\u20ac"}, ["BANK_API_KEY holds a character that is not in Latin-1"]),
        ({"CONNECTOR_ADMIN_PORT": "1.0"}, ["CONNECTOR_ADMIN_PORT is not a whole number"]),
        ({"BANK_PAGE_SIZE": "1_0"}, ["BANK_PAGE_SIZE is not a whole number"]),
        ({"BANK_API_KEY": "a\udcff"}, ["BANK_API_KEY is not UTF-8"]),
        ({"BANK_BASE_URL": "http://example.com"}, ["BANK_BASE_URL has to begin with https://"]),
        ({"BANK_TOKEN_URL": "http://example.com"}, ["BANK_TOKEN_URL has to begin with https://"]),
        ({"BANK_BASE_URL": "ftp://example.com"}, ["BANK_BASE_URL is not a URL"]),
        ({"BANK_BASE_URL": "https://example.com:x"}, ["BANK_BASE_URL is not a URL"]),
        ({"BANK_BASE_URL": "https://u:p@example.com"}, ["BANK_BASE_URL holds credentials"]),
        ({"BANK_BASE_URL": "https://example.com?a"}, ["BANK_BASE_URL holds a query"]),
        ({"CONNECTOR_SHARD": "1"}, ["CONNECTOR_SHARD is unknown: did you mean CONNECTOR_SHARDS?"]),
        ({"CONNECTOR_XYZ": "1"}, ["CONNECTOR_XYZ is unknown"]),
        (
            {"CONNECTOR_KAFAK_SASL_PASSWORD": "1"},
            ["CONNECTOR_KAFAK_SASL_PASSWORD is unknown: did you mean CONNECTOR_KAFKA_SASL_PASSW"],
        ),
        ({"BANK_PAGESIZE": "1"}, ["BANK_PAGESIZE is unknown: did you mean BANK_PAGE_SIZE?"]),
        ({"BANK_ACME_API_KEY": "1"}, ["BANK_ACME_API_KEY belongs to bank:acme, which CONNECTOR_S"]),
        ({"CONNECTOR_SCHEMA_REGISTRY_URL": None}, ["CONNECTOR_SCHEMA_REGISTRY_URL is required"]),
        ({"CONNECTOR_SCHEMA_REGISTRY_URL": "x"}, ["CONNECTOR_SCHEMA_REGISTRY_URL is not a URL"]),
        (
            {"CONNECTOR_SCHEMA_REGISTRY_USERNAME": "x"},
            ["CONNECTOR_SCHEMA_REGISTRY_* needs both USERNAME and PASSWORD"],
        ),
        (
            {"CONNECTOR_SCHEMA_REGISTRY_CA": "-----BEGIN CERTIFICATE-----\nAA"},
            ["CONNECTOR_SCHEMA_REGISTRY_CA holds no certificates"],
        ),
        ({"CONNECTOR_NAME_FILE": "/x"}, ["CONNECTOR_NAME is set, and so is CONNECTOR_NAME_FILE"]),
    ],
)
def test_each_mistake_is_named(changes, expected):
    """
    One mistake gives exactly one problem, which begins with its variable.
    """
    found = problems(**changes)

    assert [True] == [line.startswith(start) for line, start in zip(found, expected, strict=True)]


def test_all_problems_come_at_once():
    """
    Mistakes in every part are reported by one error, in a stable order.
    """
    found = problems(
        CONNECTOR_SHARDS="x",
        CONNECTOR_KAFKA_BOOTSTRAP_SERVERS=None,
        CONNECTOR_KAFKA_ACKS="1",
        CONNECTOR_SCHEMA_REGISTRY_URL=None,
        CONNECTOR_NAMES="x",
        BANK_START=None,
        BANK_KEY="x",
    )

    assert [
        "CONNECTOR_SHARDS",
        "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS",
        "CONNECTOR_KAFKA_ACKS",
        "CONNECTOR_SCHEMA_REGISTRY_URL",
        "CONNECTOR_NAMES",
        "BANK_START",
        "BANK_KEY",
    ] == [line.split()[0] for line in found]


def test_private_addresses_allow_http():
    """
    Plain http passes where private addresses are allowed for the source.
    """
    settings = load(BANK_ALLOW_PRIVATE_ADDRESSES="true", BANK_BASE_URL="http://127.0.0.1:1/v1/")

    assert settings.sources[0].settings.base_url == "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONNECTOR_PORT", "tcp://10.0.0.1:80"),
        ("CONNECTOR_ADMIN_PORT", "tcp://10.0.0.1:80"),
        ("CONNECTOR_KAFKA_PORT", "udp://10.0.0.1:80"),
        ("CONNECTOR_SERVICE_HOST", "10.0.0.1"),
        ("CONNECTOR_KAFKA_SERVICE_PORT", "80"),
        ("CONNECTOR_SERVICE_PORT_HTTP", "80"),
        ("BANK_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("BANK_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_injects_is_ignored(name, value):
    """
    Variables of a Kubernetes Service with a name like ours are no settings.
    """
    settings = load(**{name: value})

    assert (8080, ()) == (settings.admin_port, settings.warnings)


def test_other_port_variables_are_still_unknown():
    """
    Only the shapes that Kubernetes injects pass, not everything with PORT in it.
    """
    assert ["CONNECTOR_PORT is unknown"] == [line[:25] for line in problems(CONNECTOR_PORT="8080")]


def test_variables_of_an_unused_provider_are_a_warning():
    """
    A provider that CONNECTOR_SOURCES does not name may have variables nevertheless.
    """
    settings = load(SHOP_BASE_URL="https://example.com")

    assert ("SHOP_BASE_URL: not used, CONNECTOR_SOURCES does not name shop",) == settings.warnings


def test_command_validates_only_what_it_needs():
    """
    Without a need for sources and registry their mistakes do not count; sources are listed.
    """
    settings = load(
        {"kafka"},
        CONNECTOR_NAME=None,
        CONNECTOR_SCHEMA_REGISTRY_URL=None,
        BANK_API_KEY=None,
        BANK_NONSENSE="x",
    )

    assert ["bank.events"] == [source.topic("events") for source in settings.sources]
    with pytest.raises(RuntimeError, match="Implementation error"):
        _ = settings.registry
    with pytest.raises(RuntimeError, match="Implementation error"):
        _ = settings.offsets_topic
    with pytest.raises(RuntimeError, match="Implementation error"):
        _ = settings.sources[0].settings


def test_origin_of_each_value(tmp_path):
    """
    The effective settings tell where each came from, and mask secrets.
    """
    key = tmp_path / "key"
    key.write_text("from-a-file\n")
    settings = load(BANK_API_KEY=None, BANK_API_KEY_FILE=str(key))
    lines = {line.variable: (line.value, line.origin) for line in settings.effective}

    assert {
        "BANK_API_KEY": ("***", "file"),
        "BANK_START": ("now", "environment"),
        "BANK_POLL_INTERVAL": ("15s", "default"),
        "CONNECTOR_SCHEMA_REGISTRY_URL": ("none", "environment"),
        "BANK_RATE_LIMIT": (None, "default"),
    }.items() <= lines.items()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "names a file that cannot be read: no such file or directory"),
        (b"", "names a file that is empty"),
        (b"\n", "names a file that is empty"),
        (b"\xff", "names a file that is not UTF-8"),
        (b"a\x00b", "names a file that is not text"),
        (b"x" * ((1 << 20) + 1), "names a file larger than 1 MiB"),
    ],
)
def test_unusable_files_are_named(tmp_path, content, expected):
    """
    An X_FILE that cannot be used is a problem of X_FILE, and of it alone.
    """
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    assert [f"BANK_API_KEY_FILE {expected}"] == problems(
        BANK_API_KEY=None, BANK_API_KEY_FILE=str(path)
    )


def test_every_setting_can_come_from_a_file(tmp_path):
    """
    X_FILE works for numbers, lists and properties of librdkafka too.
    """
    for name, text in {"shards": "3\n", "sources": "bank\r\n", "linger": "7"}.items():
        (tmp_path / name).write_text(text)
    settings = load(
        CONNECTOR_SHARDS_FILE=str(tmp_path / "shards"),
        CONNECTOR_SOURCES=None,
        CONNECTOR_SOURCES_FILE=str(tmp_path / "sources"),
        CONNECTOR_KAFKA_LINGER_MS_FILE=str(tmp_path / "linger"),
    )

    assert (3, "bank", "7") == (
        settings.shards,
        settings.sources[0].name,
        settings.kafka.producer()["linger.ms"],
    )


def test_wrong_value_in_a_file_names_the_file_variable(tmp_path):
    """
    The problem of a value that came from a file begins with X_FILE.
    """
    (tmp_path / "shards").write_text("many")

    assert ["CONNECTOR_SHARDS_FILE is not a whole number"] == problems(
        CONNECTOR_SHARDS_FILE=str(tmp_path / "shards")
    )


def test_no_secret_in_any_representation():
    """
    Printing settings, their parts or what is inside shows no secret.
    """
    settings = load(
        CONNECTOR_KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        CONNECTOR_KAFKA_SASL_MECHANISM="PLAIN",
        CONNECTOR_KAFKA_SASL_USERNAME="user-hunter2",
        CONNECTOR_KAFKA_SASL_PASSWORD="pass-hunter2",
        CONNECTOR_SCHEMA_REGISTRY_USERNAME="reg-hunter2",
        CONNECTOR_SCHEMA_REGISTRY_PASSWORD="regp-hunter2",
        BANK_API_KEY="key-hunter2",
    )
    texts = f"{settings!r} {settings.kafka!r} {settings.registry!r} {settings.sources!r}"
    texts += str(settings.effective) + str(settings.sources[0].settings)

    assert "hunter2" not in texts
    assert {"user-hunter2", "pass-hunter2", "reg-hunter2", "regp-hunter2", "key-hunter2"} == set(
        settings.secrets()
    )


def test_careless_validator_of_a_provider_shows_nothing():
    """
    Even a provider's validator that puts the value into its text does not show it.
    """

    class Careless(FeedSettings):
        region: Annotated[str, AfterValidator(_refuse)] = Field(description="Where.")

    provider = replace(PROVIDERS["bank"], settings=Careless)
    environ = {**GOOD, "BANK_BASE_URL": "https://example.com", "BANK_REGION": "hunter2"}
    del environ["BANK_API_KEY"]
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, providers={"bank": provider})

    assert str(caught.value).splitlines()[1:] == ["  BANK_REGION there is no *** here"]


def _refuse(text: str) -> str:
    raise ValueError(f"there is no {text} here")


_VARIABLES = [
    *GOOD,
    "BANK_BASE_URL",
    "BANK_TOKEN_URL",
    "BANK_PAGE_SIZE",
    "BANK_POLL_INTERVAL",
    "BANK_RATE_LIMIT",
    "BANK_ERRORS",
    "BANK_ALLOW_PRIVATE_ADDRESSES",
    "BANK_TYPO",
    "BANK_API_KEY_FILE",
    "CONNECTOR_SHARDS",
    "CONNECTOR_TOPIC_PREFIX",
    "CONNECTOR_LOG_LEVEL",
    "CONNECTOR_DRAIN_TIMEOUT",
    "CONNECTOR_KAFKA_LINGER_MS",
    "CONNECTOR_KAFKA_SASL_PASSWORD",
    "CONNECTOR_KAFKA_SECURITY_PROTOCOL",
    "CONNECTOR_KAFKA_SSL_CA_LOCATION",
    "CONNECTOR_KAFKA_SSL_KEY_PEM",
    "CONNECTOR_KAFKA_SESSION_TIMEOUT_MS",
    "CONNECTOR_KAFKA_NONSENSE",
    "CONNECTOR_SCHEMA_REGISTRY_CA",
    "CONNECTOR_SCHEMA_REGISTRY_PASSWORD",
]
# A marker that no text of ours holds, among whatever else a value may hold.
_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20).map(
    lambda text: f"qzx{text}qzx"
)


@given(st.dictionaries(st.sampled_from(_VARIABLES), _VALUES, min_size=1))
def test_no_value_appears_in_an_error(changes):
    """
    Whatever variables hold, an error names variables and never a value.
    """
    assert "qzx" not in " ".join(problems(**changes))


@given(st.text(string.ascii_letters + string.digits + "-:+.TZ/ ", max_size=30))
def test_any_text_is_a_start_or_refused(text):
    """
    Parsing a start gives a time between 1970 and now, or ValueError; nothing else.
    """
    try:
        start = Start.parse(text)
    except ValueError:
        return
    assert 0 <= start.resolve(1_000_000) <= 1_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", 0),
        ("now", 1_800_000_000_000),
        ("-7d", 1_800_000_000_000 - 7 * 86_400_000),
        ("-90s", 1_800_000_000_000 - 90_000),
        ("-100000d", 0),
        ("2026-01-31T00:00:00Z", 1_769_817_600_000),
        ("2026-01-31T01:00:00+01:00", 1_769_817_600_000),
        ("2026-01-31T00:00:00.123456Z", 1_769_817_600_123),
        ("2026-01-31", 1_769_817_600_000),
        ("2999-01-01", 1_800_000_000_000),
    ],
)
def test_start_resolves_to_milliseconds(text, expected):
    """
    A start resolves against the given clock, never before 1970, never after now.
    """
    assert expected == Start.parse(text).resolve(1_800_000_000_000)


@pytest.mark.parametrize("text", ["", "tomorrow", "7d", "-", "-7", "1969-12-31", "--7d", "+7d"])
def test_what_is_no_start_is_refused(text):
    """
    A start that could be misread is refused.
    """
    with pytest.raises(ValueError, match="is not a start"):
        Start.parse(text)


def test_rotated_secret_is_read_again(tmp_path):
    """
    Reading a secret that came from a file finds what the file holds now, and old values
    are still known to the log.
    """
    path = tmp_path / "key"
    path.write_text("first-key")
    settings = load(BANK_API_KEY=None, BANK_API_KEY_FILE=str(path))
    secret = settings.sources[0].settings.api_key
    path.write_text("second-key\n")

    assert "second-key" == secret.read()
    assert ("second-key", "first-key") == settings.secrets()


def test_lost_secret_file_is_an_error_of_credentials(tmp_path):
    """
    A file that is gone later is retried as credentials are, and named by its variable.
    """
    path = tmp_path / "key"
    path.write_text("first-key")
    secret = load(BANK_API_KEY=None, BANK_API_KEY_FILE=str(path)).sources[0].settings.api_key
    path.unlink()

    with pytest.raises(Exception, match=r"^BANK_API_KEY_FILE names a file that cannot be read"):
        secret.read()


def test_documentation_is_fresh():
    """
    docs/configuration.md is what the models make; if not: make docs.
    """
    assert docs.make() == Path(docs.FILE).read_text(encoding="utf-8")


def test_documentation_covers_every_variable():
    """
    Each variable that a configuration reads has a line in the documentation.
    """
    text = docs.make(PROVIDERS)
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))
    settings = load(
        CONNECTOR_SOURCES="bank,shop", SHOP_BASE_URL="https://x.example.com", SHOP_START="now"
    )

    assert {line.variable for line in settings.effective} == documented


def test_every_documented_field_has_a_meaning():
    """
    No line of the documentation is without a description.
    """
    assert [] == re.findall(r"^\| `[A-Z_]+` .*\|  \|$", docs.make(PROVIDERS), re.MULTILINE)


def test_empty_environment_lists_what_is_required():
    """
    Without any variable the error lists what every connector needs.
    """
    with pytest.raises(SettingsError) as caught:
        load_settings({}, providers=PROVIDERS)

    assert [
        "4 problems with the settings:",
        "  CONNECTOR_NAME is required",
        "  CONNECTOR_SOURCES is required",
        "  CONNECTOR_KAFKA_BOOTSTRAP_SERVERS is required",
        "  CONNECTOR_SCHEMA_REGISTRY_URL is required",
    ] == str(caught.value).splitlines()


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    """
    X_FILE has to name a regular file: opening a pipe would hang.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    assert ["BANK_API_KEY_FILE names no regular file"] == problems(
        BANK_API_KEY=None, BANK_API_KEY_FILE=str(pipe)
    )
