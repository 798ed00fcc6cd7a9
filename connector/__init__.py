# SPDX-License-Identifier: Apache-2.0
"""
A Kafka source connector for finance APIs: exactly once, from HTTP to Avro.
"""

__version__ = "0.1.0"
