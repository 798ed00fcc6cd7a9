# SPDX-License-Identifier: Apache-2.0
"""
What ``connector verify`` proves on a topic, from the numbers that every message carries.
"""
