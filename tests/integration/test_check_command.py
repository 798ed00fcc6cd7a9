# SPDX-License-Identifier: Apache-2.0
"""
``connector check`` and ``connector run`` against what is really there, and what is not.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin import AdminClient

from connector.sandbox.ports import free_port
from tests.integration.workers import command, settings

SECRET = "not-the-right-one-at-all"


@pytest.fixture
def environment(sandbox, simulator):
    return settings(sandbox, simulator.env())


def test_check_tells_what_is_missing_and_what_to_do(sandbox, environment):
    """
    0 where all is well, 3 where something outside cannot be reached, 2 where credentials
    are refused or both; the text names what, and no secret; and nothing is written.
    """
    nobody = f"127.0.0.1:{free_port()}"
    cases = {
        "well": ({}, 0, "credentials are accepted"),
        "broker": (
            {"CONNECTOR_KAFKA_BOOTSTRAP_SERVERS": nobody},
            3,
            "CONNECTOR_KAFKA_BOOTSTRAP_SERVERS",
        ),
        "registry": (
            {"CONNECTOR_SCHEMA_REGISTRY_URL": f"http://{nobody}"},
            3,
            "CONNECTOR_SCHEMA_REGISTRY_URL",
        ),
        "provider": ({"STEDI_BASE_URL": f"http://{nobody}/v"}, 3, "STEDI_"),
        "token server": ({"MONETAGO_TOKEN_URL": f"http://{nobody}/oauth/token"}, 3, "MONETAGO_"),
        "client secret": ({"MONETAGO_CLIENT_SECRET": SECRET}, 2, "MONETAGO_"),
        "api key": ({"STEDI_API_KEY": SECRET}, 2, "STEDI_"),
        "both": (
            {"STEDI_API_KEY": SECRET, "CONNECTOR_SCHEMA_REGISTRY_URL": f"http://{nobody}"},
            2,
            "CONNECTOR_SCHEMA_REGISTRY_URL",
        ),
    }

    def check(changes):
        return command({**environment, **changes}, "check", timeout=120)

    with ThreadPoolExecutor(4) as pool:
        done = dict(
            zip(cases, pool.map(check, [changes for changes, _, _ in cases.values()]), strict=True)
        )
    for name, (_, code, text) in cases.items():
        ended = done[name]
        said = ended.stdout + ended.stderr
        assert (name, code) == (name, ended.returncode), said
        assert text in said, said
        assert "Traceback" not in said
        # One rung for each: settings, Kafka, the registry, two sources (and the topics).
        marks = re.findall("^[✓✗]", ended.stdout, re.MULTILINE)
        assert len(marks) == (5 if name == "broker" else 6), said
        assert ("✗" in marks) == (code != 0)
        assert SECRET not in said
        assert environment["MONETAGO_CLIENT_SECRET"] not in said
        assert environment["STEDI_API_KEY"] not in said
    prefix = environment["CONNECTOR_TOPIC_PREFIX"]
    topics = AdminClient({"bootstrap.servers": sandbox.bootstrap_servers}).list_topics(timeout=15)
    assert [topic for topic in topics.topics if topic.startswith(prefix)] == []


@pytest.mark.parametrize("name", ["run", "check", "config"])
def test_all_wrong_settings_are_told_at_once(environment, name):
    """
    Every problem in one message, by variable; no value of any; exit code 2; no start.
    """
    wrong = {
        "CONNECTOR_NAME": "no name at all",
        "CONNECTOR_ADMIN_PORT": "seventy-thousand",
        "CONNECTOR_KAFKA_GROUP_ID": "a-group-of-mine",
        "MONETAGO_OVERLAP": "a-little-while",
        "MONETAGO_BASE_URL": "ftp://secret-host.example.com/v1",
        "STEDI_PAGE_SIZE": "501",
        "STEDI_PAGESIZE": "another-five-hundred",
        "STEDI_START": "the-day-before",
    }
    missing = "MONETAGO_CLIENT_SECRET"
    changed = {**environment, **wrong}
    del changed[missing]
    ended = command(changed, name)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    assert [v for v in (*wrong, missing) if v not in said] == []
    # 501 is too short a text to tell from a bound that the message names.
    assert [v for v in wrong.values() if v != "501" and v in said] == []
    assert environment["STEDI_API_KEY"] not in said
    assert "Traceback" not in said
    assert "STEDI_PAGE_SIZE?" in said or "did you mean" in said.lower(), said


def test_run_waits_out_refused_credentials(environment, simulator, worker):
    """
    Where ``check`` gives up, a worker that runs waits, visibly, and is ready for the rest.
    """
    environment["STEDI_API_KEY"] = SECRET
    simulator.offer("monetago", count=3)
    running = worker(environment).start()
    running.wait_until(
        lambda w: w.metric("connector_retries_total", source="stedi", cause="http_403") >= 1, 60
    )
    feed = running.feed("stedi/transactions")
    assert feed["state"] == "retrying"
    assert "403" in feed["error"]
    topic = f"{environment['CONNECTOR_TOPIC_PREFIX']}monetago.activity"
    running.wait_until(lambda w: w.metric("connector_records_produced_total", topic=topic) == 3, 30)
    running.wait_ready()
    assert running.stop() == 0
    assert SECRET not in running.log.read_text()
