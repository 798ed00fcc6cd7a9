# SPDX-License-Identifier: Apache-2.0
"""
The parts of which ``connector.settings`` is made: values, environment, Kafka, docs.
"""
