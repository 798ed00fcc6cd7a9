# SPDX-License-Identifier: Apache-2.0
"""
The program in docs/consuming.md runs as it stands.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.workers import scrubbed, settings

PAGE = Path(__file__).parents[2] / "docs/consuming.md"


def test_the_example_reads_what_was_written(sandbox, simulator, worker, tmp_path):
    """
    It prints number, key, status and time of each transaction once, and ends.
    """
    events = simulator.offer("stedi", count=30, event_time=1_700_000_000_000, spread=60)
    environment = settings(sandbox, simulator.env(), stedi_start="earliest")
    one = worker(environment).start()
    topic = f"{environment['CONNECTOR_TOPIC_PREFIX']}stedi.transactions"
    one.wait_until(
        lambda w: 30 == w.metric("connector_records_produced_total", topic=topic), 60, "30 records"
    )
    assert 0 == one.stop()
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "example.py"
    file.write_text(program)

    done = subprocess.run(
        [sys.executable, str(file)],
        env=scrubbed(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {event["id"] for event in events} == {line[1] for line in lines}
    assert 30 == len(lines)
    assert {"2023-11-14"} == {line[3] for line in lines}
