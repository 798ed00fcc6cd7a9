# SPDX-License-Identifier: Apache-2.0
"""
Which files of which programs the sandbox runs, exactly.

They stand in ``artifacts.lock`` with size and SHA-256, made by
``python -m connector.sandbox.lock``. So nothing is resolved at run time, a start
with a full cache touches no network, and what was downloaded is what was tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

KAFKA = "kafka"
REGISTRY = "registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """
    One file of a Maven repository.

    Attributes:
        program: The program that it belongs to, `KAFKA` or `REGISTRY`.
        group: Maven's group id.
        name: Maven's artifact id.
        version: The version.
        classifier: Which of several files of the artifact; empty for the usual one.
        packaging: How the file name ends, without the dot.
        size: Bytes.
        sha256: Digest of the file, hexadecimal.
    """

    program: str
    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """
        The file's name, in the repository and in our cache.
        """
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"

    @classmethod
    def parse(cls, line: str) -> Artifact:
        """
        Read one line of ``artifacts.lock``.

        Raises:
            ValueError: The line has another form.
        """
        program, sha256, size, coordinate = line.split()
        group, name, packaging, classifier, version = coordinate.split(":")
        return cls(
            program=program,
            group=group,
            name=name,
            version=version,
            classifier=classifier,
            packaging=packaging,
            size=int(size),
            sha256=sha256,
        )

    def line(self) -> str:
        """
        Write the line that `parse` reads.
        """
        parts = (self.group, self.name, self.packaging, self.classifier, self.version)
        return f"{self.program} {self.sha256} {self.size} {':'.join(parts)}"


def locked(program: str) -> tuple[Artifact, ...]:
    """
    List the files of one program in the order of its class path.
    """
    lines = files("connector.sandbox").joinpath("artifacts.lock").read_text().splitlines()
    artifacts = (Artifact.parse(line) for line in lines if line and not line.startswith("#"))
    return tuple(artifact for artifact in artifacts if artifact.program == program)
