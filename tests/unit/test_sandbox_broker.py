# SPDX-License-Identifier: Apache-2.0
"""
What a broker of the sandbox is made from.
"""

from __future__ import annotations

import base64
import uuid

from connector.sandbox.broker import new_cluster_id


def test_cluster_id_is_sixteen_random_bytes():
    """
    Two are not the same, and each decodes to what Kafka expects.
    """
    one, other = new_cluster_id(), new_cluster_id()
    assert one != other
    assert (22, 16) == (len(one), len(base64.urlsafe_b64decode(one + "==")))


def test_cluster_id_is_never_taken_for_an_option(monkeypatch):
    """
    Whatever the first random byte is, the id does not begin with a dash.
    """
    for first in range(256):
        made = uuid.UUID(bytes=bytes([first]) + b"\xff" * 15)
        monkeypatch.setattr(uuid, "uuid4", lambda made=made: made)
        assert new_cluster_id()[0] != "-"
