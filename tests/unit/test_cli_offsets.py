# SPDX-License-Identifier: Apache-2.0
"""
How ``connector offsets`` reads its arguments.
"""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from connector.cli import connector


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
