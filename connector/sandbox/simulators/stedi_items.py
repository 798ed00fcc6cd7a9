# SPDX-License-Identifier: Apache-2.0
"""
Invented Stedi transactions, with every field that the OpenAPI document names.
"""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from connector.sandbox.simulators import times
from connector.sandbox.simulators.simulator import uuids

# Sizes beyond 32 bits, beyond what a float counts exactly, and everyday ones.
_SIZES = (912, 48_230, 2_147_483_648, 9_007_199_254_740_993)
_UNKNOWN = {
    "simulatedNumber": orjson.Fragment(b"9007199254740993.123456789012345678"),
    "simulatedObject": {"list": [1, None, "\u00e9"], "nested": {"flag": True}},
}


def make_item(
    random: Random,
    event_time: int,
    *,
    transaction_id: str | None,
    mode: str,
    edifact: bool,
    unknown_fields: bool,
) -> dict[str, Any]:
    """
    Make up one processed transaction.

    Args:
        random: Where its ids and variants come from.
        event_time: ``processedAt``, milliseconds since 1970.
        transaction_id: Its id; None invents one.
        mode: ``test`` or ``production``.
        edifact: An EDIFACT transaction, which has no ``x12``.
        unknown_fields: Adds fields that no document names.
    """
    fresh, execution, artifact = uuids(random, 3)
    number = random.randrange(1_000_000_000)
    failed = number % 50 == 0
    item: dict[str, Any] = {
        "transactionId": transaction_id or fresh,
        "fileExecutionId": execution,
        "status": "failed" if failed else "succeeded",
        "direction": ("INBOUND", "OUTBOUND", "UNKNOWN")[number % 3],
        "mode": mode,
        "processedAt": times.iso(event_time),
        "artifacts": _artifacts(artifact, number, edifact=edifact),
        "partnership": {
            "partnershipId": "simulated-clearinghouse-test",
            "partnershipType": "edifact" if edifact else "x12",
            "sender": {"profileId": "simulated-sender"},
            "receiver": {"profileId": "simulated-receiver"},
        },
        "businessIdentifiers": [
            {
                "element": "BHT-03",
                "elementId": "127",
                "name": "Reference Identification",
                "value": f"REF-{number:09d}",
            }
        ],
    }
    if not edifact:
        item["x12"] = _x12(event_time, number)
    if number % 10 == 0:
        item["fragments"] = {"batchSize": 12.5, "fragmentCount": 3, "keyName": "claims"}
    if failed:
        item["translationErrors"] = [_translation_error()]
    if unknown_fields:
        item.update(_UNKNOWN)
    return item


def _artifacts(artifact: str, number: int, *, edifact: bool) -> list[dict[str, Any]]:
    """
    Make the two documents of a transaction: what came in and what was made of it.
    """
    url = f"https://core.example.com/2023-08-01/artifacts/{artifact}"
    return [
        {
            "artifactType": "application/edifact" if edifact else "application/edi-x12",
            "model": "transaction",
            "sizeBytes": _SIZES[number % len(_SIZES)],
            "url": f"{url}/input",
            "usage": "input",
        },
        {
            "artifactType": "application/json",
            "model": "transaction",
            "sizeBytes": number,
            "url": f"{url}/output",
            "usage": "output",
        },
    ]


def _x12(event_time: int, number: int) -> dict[str, Any]:
    """
    Make the X12 part; the control number of a transaction is text with leading zeros.
    """
    date, time = times.iso(event_time)[:19].split("T")
    return {
        "transactionSetting": {
            "guideId": "SIMULATEDGUIDE",
            "transactionSettingId": "005010X222A1-837",
        },
        "metadata": {
            "interchange": {"acknowledgmentRequestedCode": "0", "controlNumber": number},
            "functionalGroup": {
                "controlNumber": number % 100_000,
                "date": date,
                "time": time,
                "functionalIdentifierCode": "HC",
                "release": "005010X222A1",
            },
            "transaction": {
                "controlNumber": f"{number % 10_000:04d}",
                "transactionSetIdentifier": "837",
            },
            "sender": {
                "applicationCode": "SIMULATED-SENDER",
                "isa": {"qualifier": "ZZ", "id": "SIM-SENDER"},
            },
            "receiver": {
                "applicationCode": "SIMULATED-RECEIVER",
                "isa": {"qualifier": "ZZ", "id": "SIM-RECEIVER"},
            },
        },
    }


def _translation_error() -> dict[str, Any]:
    """
    Make what a failed transaction says about itself.
    """
    return {
        "message": "Simulated: a required segment is missing",
        "mark": {"start": {"line": 12, "column": 3}, "end": {"line": 12, "column": 9}},
        "context": {"code": "missing_segment", "schemaPath": "/heading/0"},
    }
