# SPDX-License-Identifier: Apache-2.0
"""
A real schema registry on this computer: Apicurio, by Confluent's API.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from connector.sandbox.artifacts import REGISTRY, Cache, java
from connector.sandbox.probe import answers
from connector.sandbox.process import Guard, Server, free_port
from connector.sandbox.progress import Progress

JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Registry:
    """
    A registry with a free port and data that goes away with it.

    Its ids survive `stop`, `kill` and a new `start`, because it writes to a file.

    Args:
        jvm: Options for Java.
        progress: Where to say what happens.
        cache: Where the programs are.
        guard: The guard of a sandbox that this registry belongs to; else it has its own.
    """

    def __init__(
        self,
        *,
        jvm: Sequence[str] = JVM,
        progress: Progress | None = None,
        cache: Cache | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._jvm = tuple(jvm)
        self._progress = progress or Progress()
        self._cache = cache or Cache()
        self._shared_guard = guard
        self._guard = guard
        self._port = free_port()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """
        The base of Confluent's API: ``http://127.0.0.1:<port>/apis/ccompat/v7``.
        """
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    @property
    def server(self) -> Server:
        """
        The process, to be stopped, killed, paused, resumed and restarted.
        """
        if self._server is None:
            self._server = self._make()
        return self._server

    def start(self) -> None:
        """
        Start it and wait until it answers.

        Raises:
            OutsideError: The download failed, or it did not start.
        """
        self.server.start()

    def stop(self) -> None:
        """
        Stop it cleanly; what is registered stays until `close`.
        """
        self.server.stop()

    def close(self) -> None:
        """
        End it and remove its data.
        """
        if self._guard is not None and self._shared_guard is None:
            self._guard.close()

    def _make(self) -> Server:
        program = java()
        folder = self._cache.unpacked(REGISTRY, self._progress)
        (runner,) = folder.glob("*-runner.jar")
        guard = self._guard = self._guard or Guard()
        # Without WRITE_DELAY=0 half a second of registrations would be lost in a kill.
        database = f"jdbc:h2:file:{guard.folder / 'registry'};WRITE_DELAY=0"
        argv = [
            str(program),
            *self._jvm,
            f"-Djava.io.tmpdir={guard.folder}",
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self._port}",
            f"-Dquarkus.datasource.jdbc.url={database}",
            "-jar",
            str(runner),
        ]
        ready = f"{self.url}/subjects"
        return Server("registry", guard=guard, argv=argv, ready=lambda: answers(ready))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
