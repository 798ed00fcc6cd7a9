# SPDX-License-Identifier: Apache-2.0
"""
``python -m connector`` is the same as ``connector``.
"""

from __future__ import annotations

from connector.cli import main

main()
