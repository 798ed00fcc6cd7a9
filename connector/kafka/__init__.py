# SPDX-License-Identifier: Apache-2.0
"""
Everything that knows Kafka: group, offsets, transactions, topics, errors.
"""
