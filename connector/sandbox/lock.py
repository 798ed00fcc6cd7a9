# SPDX-License-Identifier: Apache-2.0
"""
Makes ``artifacts.lock`` anew, after a version below was changed.

    python -m connector.sandbox.lock

Resolves with jgo, downloads everything once, lets jgo compare each file with the
SHA-1 that the repository publishes, and writes down size and SHA-256.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext

from connector.errors import OutsideError
from connector.sandbox.artifacts import KAFKA, REGISTRY, Artifact

KAFKA_VERSION = "4.1.1"
LOG4J_VERSION = "2.24.3"
REGISTRY_VERSION = "2.6.13.Final"

_HEAD = "# Made by `python -m connector.sandbox.lock`; do not edit.\n"


class _Mismatch(logging.Handler):
    """
    Fails where jgo only warns: when a checksum differs.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            raise OutsideError(record.getMessage())


def _resolve(context: MavenContext) -> list[tuple[str, Any]]:
    """
    List what each program needs, as (program, artifact of jgo).
    """
    kafka = context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")
    direct, transitive = context.resolver.resolve([kafka])
    found = [dep.artifact for dep in (*direct, *transitive)]
    # Kafka's own archive ships this binding, its Maven module does not: no log without it.
    # Resolved apart, because jgo would let log4j's parent choose the version of kafka-clients.
    binding = context.project("org.apache.logging.log4j", "log4j-slf4j-impl")
    found.append(binding.at_version(LOG4J_VERSION).artifact())
    registry = context.project("io.apicurio", "apicurio-registry-app")
    archive = registry.at_version(REGISTRY_VERSION).artifact("all", "tar.gz")
    return [*((KAFKA, artifact) for artifact in found), (REGISTRY, archive)]


def _locked(program: str, artifact: Any) -> Artifact:
    path = Path(artifact.resolve())
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Artifact(
        program=program,
        group=artifact.groupId,
        name=artifact.artifactId,
        version=artifact.version,
        classifier=artifact.classifier or "",
        packaging=artifact.packaging,
        size=path.stat().st_size,
        sha256=digest,
    )


def main() -> None:
    """
    Write ``artifacts.lock`` beside this file.
    """
    logging.getLogger("jgo").addHandler(_Mismatch())
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=60)
        artifacts = [_locked(program, found) for program, found in _resolve(context)]
    names = {artifact.filename for artifact in artifacts}
    if len(names) != len(artifacts):
        raise OutsideError("Two artifacts have one file name: the cache cannot hold both.")
    lines = "".join(f"{artifact.line()}\n" for artifact in artifacts)
    Path(__file__).with_name("artifacts.lock").write_text(_HEAD + lines)
    sys.stdout.write(f"{len(artifacts)} files, {sum(a.size for a in artifacts) / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main()
