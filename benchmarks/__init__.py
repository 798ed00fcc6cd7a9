# SPDX-License-Identifier: Apache-2.0
"""
How fast the connector is beside what one would write by hand: ``python -m benchmarks``.
"""
