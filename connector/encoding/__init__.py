# SPDX-License-Identifier: Apache-2.0
"""
From a provider's JSON to Avro: exact numbers, fitting, schemas, and the registry.
"""
