# SPDX-License-Identifier: Apache-2.0
"""
The folder that holds the sandbox's programs, shared by all sandboxes of a user.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from connector.errors import OutsideError
from connector.sandbox.artifacts import KAFKA, REGISTRY, Artifact, locked
from connector.sandbox.download import download
from connector.sandbox.progress import Progress

_DOWNLOADS_AT_ONCE = 6

Fetch = Callable[[Artifact, Path, Callable[[int], None]], Path]


def cache_folder() -> Path:
    """
    Where downloads are kept: ``CONNECTOR_SANDBOX_CACHE``, else the user's cache folder.
    """
    if own := os.environ.get("CONNECTOR_SANDBOX_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "finance-kafka-connector"


class Cache:
    """
    Programs, downloaded once.

    A file or folder under its own name is whole and verified: downloads happen in
    folders named ``incomplete`` and are moved after their digest was checked, so one
    that was cut never counts.

    Args:
        folder: Where; `cache_folder` by default.
        fetch: Downloads one artifact into a folder, as `download` does.
    """

    def __init__(self, folder: Path | None = None, *, fetch: Fetch = download) -> None:
        self.folder = (folder or cache_folder()).absolute()
        self._fetch = fetch

    def class_path(self) -> list[Path]:
        """
        Kafka's files, once they were provided.
        """
        return [self._file(artifact) for artifact in locked(KAFKA)]

    def registry_folder(self) -> Path:
        """
        The registry's unpacked archive, once it was provided.
        """
        (archive,) = locked(REGISTRY)
        return self._unpacked(archive)

    def provide(self, programs: Collection[str], progress: Progress) -> None:
        """
        Download and unpack what is missing of `KAFKA` and `REGISTRY`.

        Raises:
            OutsideError: Something cannot be had; says why and what to do.
        """
        wanted = [artifact for program in programs for artifact in locked(program)]
        if all(map(self._has, wanted)):
            return
        with self._explained(wanted), self._locked(progress):
            # Another process may have done it while we waited for the lock.
            missing = [artifact for artifact in wanted if not self._has(artifact)]
            if missing:
                self._download(missing, progress)

    def _file(self, artifact: Artifact) -> Path:
        return self.folder / "maven" / artifact.filename

    def _unpacked(self, archive: Artifact) -> Path:
        return self.folder / f"{archive.name}-{archive.version}-{archive.sha256[:12]}"

    def _has(self, artifact: Artifact) -> bool:
        if artifact.program == REGISTRY:
            return self._unpacked(artifact).is_dir()
        try:
            return self._file(artifact).stat().st_size == artifact.size
        except FileNotFoundError:
            return False

    def _download(self, artifacts: Sequence[Artifact], progress: Progress) -> None:
        total = sum(artifact.size for artifact in artifacts)
        text = f"Downloading Kafka and a schema registry, once ({total / 1e6:.0f} MB)"
        with self._staging() as staging, progress.bar(text, total) as advance:
            self._download_all(artifacts, staging, advance)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """
        An empty folder for partial downloads, on the file system of the cache.
        """
        staging = self.folder / "incomplete"
        # A process that was killed may have left one.
        shutil.rmtree(staging, ignore_errors=True)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _download_all(
        self, artifacts: Sequence[Artifact], staging: Path, advance: Callable[[int], None]
    ) -> None:
        cancelled = threading.Event()

        def advance_or_end(amount: int) -> None:
            if cancelled.is_set():
                raise OutsideError("Another download failed.")
            advance(amount)

        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            tasks = [
                pool.submit(self._download_one, artifact, staging, advance_or_end)
                for artifact in artifacts
            ]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _download_one(
        self, artifact: Artifact, staging: Path, advance: Callable[[int], None]
    ) -> None:
        file = self._fetch(artifact, staging, advance)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != artifact.sha256:
            raise OutsideError(
                f"The download of {artifact.filename} is not the file that was tested: its "
                "SHA-256 differs. A proxy or a mirror changed it; try another network."
            )
        if artifact.program == REGISTRY:
            _unpack(file, self._unpacked(artifact))
        else:
            target = self._file(artifact)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)

    @contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        """
        Let one process at a time change the cache; the lock of a dead one is gone.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say("Another process downloads Kafka and a registry; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _explained(self, artifacts: Sequence[Artifact]) -> Iterator[None]:
        """
        Turn what the file system says into what a user can do about it.
        """
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                # The archive is there beside what comes out of it for a moment.
                size = 2 * sum(artifact.size for artifact in artifacts)
                text = f"is full: the sandbox needs {size / 1e6:.0f} MB in it"
            else:
                text = f"cannot be used ({error.strerror or type(error).__name__})"
            raise OutsideError(
                f"The cache folder {self.folder} {text}. Make room there, or name another one in "
                "CONNECTOR_SANDBOX_CACHE."
            ) from error


def _unpack(archive: Path, folder: Path) -> None:
    """
    Unpack regular files, so that `folder` exists only when all of them are there.
    """
    part = folder.with_name(f"{folder.name}.incomplete")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            source = tar.extractfile(member) if member.isfile() else None
            target = (part / member.name).resolve()
            if source is None or not target.is_relative_to(part.resolve()):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    part.replace(folder)
