# SPDX-License-Identifier: Apache-2.0
"""
When a provider is called, and what becomes of its answers.
"""
