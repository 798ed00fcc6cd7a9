# SPDX-License-Identifier: Apache-2.0
"""
The cache of programs: whole files only, downloaded once, errors that help.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from connector.errors import OutsideError
from connector.sandbox import cache as module
from connector.sandbox.artifacts import KAFKA, REGISTRY, Artifact, locked
from connector.sandbox.cache import Cache, cache_folder
from connector.sandbox.progress import Progress


def archive(*members: tuple[str, bytes]) -> bytes:
    """
    Make a gzipped tar of regular files.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = {
    "one-1.0.jar": b"one" * 1000,
    "two-1.0.jar": b"two" * 1000,
    "app-1.0-all.tar.gz": archive(("app-runner.jar", b"run"), ("lib/a.jar", b"a")),
}


def artifact(program: str, name: str, classifier: str = "", packaging: str = "jar") -> Artifact:
    suffix = f"-{classifier}" if classifier else ""
    content = CONTENT[f"{name}-1.0{suffix}.{packaging}"]
    return Artifact(
        program=program,
        group="com.example",
        name=name,
        version="1.0",
        classifier=classifier,
        packaging=packaging,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


LOCK = {
    KAFKA: (artifact(KAFKA, "one"), artifact(KAFKA, "two")),
    REGISTRY: (artifact(REGISTRY, "app", "all", "tar.gz"),),
}


class Repository:
    """
    Serves `CONTENT`, or what a test put in its place, and notes what was asked for.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes | Exception] = dict(CONTENT)
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, artifact: Artifact, folder: Path, advance) -> Path:
        with self._lock:
            self.asked.append(artifact.filename)
        content = self.content[artifact.filename]
        if isinstance(content, Exception):
            raise content
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / artifact.filename
        file.write_bytes(content)
        advance(len(content))
        return file


@pytest.fixture(autouse=True)
def _lock(monkeypatch):
    monkeypatch.setattr(module, "locked", LOCK.__getitem__)


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def cache(tmp_path, repository) -> Cache:
    return Cache(tmp_path / "cache", fetch=repository)


def provide(cache: Cache) -> None:
    cache.provide([KAFKA, REGISTRY], Progress())


def test_programs_are_downloaded_and_unpacked(cache):
    """
    The class path has the order of the lock, and the archive is a folder.
    """
    provide(cache)
    assert [path.name for path in cache.class_path()] == ["one-1.0.jar", "two-1.0.jar"]
    assert [path.read_bytes() for path in cache.class_path()] == [
        CONTENT["one-1.0.jar"],
        CONTENT["two-1.0.jar"],
    ]
    assert (cache.registry_folder() / "app-runner.jar").read_bytes() == b"run"
    assert (cache.registry_folder() / "lib" / "a.jar").read_bytes() == b"a"


def test_nothing_is_left_but_what_is_used(cache):
    """
    Neither partial downloads nor the unpacked archive stay in the cache.
    """
    provide(cache)
    names = {path.relative_to(cache.folder).parts[0] for path in cache.folder.iterdir()}
    assert names == {"lock", "maven", cache.registry_folder().name}


def test_a_full_cache_asks_nobody(cache, repository):
    """
    The second time nothing is downloaded.
    """
    provide(cache)
    repository.asked.clear()
    provide(cache)
    assert repository.asked == []


def test_only_what_is_missing_is_downloaded(cache, repository):
    """
    A file that was lost, or is cut, comes again; the others do not.
    """
    provide(cache)
    one, two = cache.class_path()
    one.write_bytes(one.read_bytes()[:10])
    repository.asked.clear()
    provide(cache)
    assert repository.asked == ["one-1.0.jar"]
    assert one.read_bytes() == CONTENT["one-1.0.jar"]
    assert two.read_bytes() == CONTENT["two-1.0.jar"]


def test_a_file_with_another_digest_is_refused(cache, repository):
    """
    What is not the tested file never reaches the cache, and the error says so.
    """
    repository.content["two-1.0.jar"] = b"bad" * 1000
    with pytest.raises(OutsideError, match=r"two-1\.0\.jar is not the file that was tested"):
        provide(cache)
    assert not cache.class_path()[1].exists()
    repository.content["two-1.0.jar"] = CONTENT["two-1.0.jar"]
    provide(cache)
    assert cache.class_path()[1].read_bytes() == CONTENT["two-1.0.jar"]


def test_a_failed_download_leaves_a_cache_that_works_later(cache, repository):
    """
    A download that fails is told, and the next attempt takes up what is missing.
    """
    repository.content["app-1.0-all.tar.gz"] = OutsideError("cut")
    with pytest.raises(OutsideError, match="cut"):
        provide(cache)
    assert not cache.registry_folder().exists()
    assert not (cache.folder / "incomplete").exists()
    repository.content["app-1.0-all.tar.gz"] = CONTENT["app-1.0-all.tar.gz"]
    provide(cache)
    assert (cache.registry_folder() / "app-runner.jar").exists()


def test_an_archive_that_was_half_unpacked_is_unpacked_again(cache):
    """
    A folder left by a process that was killed while it unpacked does not count.
    """
    left = cache.registry_folder().with_name(cache.registry_folder().name + ".incomplete")
    left.mkdir(parents=True)
    (left / "rubbish").touch()
    provide(cache)
    assert sorted(path.name for path in cache.registry_folder().iterdir()) == [
        "app-runner.jar",
        "lib",
    ]
    assert not left.exists()


def test_an_archive_cannot_write_outside_its_folder(cache, repository, monkeypatch):
    """
    Members that point out of the folder are left out.
    """
    evil = archive(("../evil", b"x"), ("good", b"y"))
    monkeypatch.setitem(CONTENT, "app-1.0-all.tar.gz", evil)
    lock = {**LOCK, REGISTRY: (artifact(REGISTRY, "app", "all", "tar.gz"),)}
    monkeypatch.setattr(module, "locked", lock.__getitem__)
    repository.content["app-1.0-all.tar.gz"] = evil
    provide(cache)
    assert [path.name for path in cache.registry_folder().iterdir()] == ["good"]
    assert not (cache.folder / "evil").exists()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "is full: the sandbox needs"),
        (errno.EDQUOT, "is full: the sandbox needs"),
        (errno.EACCES, "cannot be used (Permission denied)"),
    ],
)
def test_errors_of_the_file_system_name_the_remedy(cache, repository, code, text):
    """
    A full disk or a folder without rights is told with the variable that helps.
    """
    repository.content["one-1.0.jar"] = OSError(code, os.strerror(code))
    with pytest.raises(OutsideError) as caught:
        provide(cache)
    assert text in str(caught.value)
    assert "CONNECTOR_SANDBOX_CACHE" in str(caught.value)


def test_sandboxes_that_start_together_download_once(tmp_path):
    """
    The file lock lets one download, and the others find everything there.
    """
    repositories = [Repository() for _ in range(4)]
    barrier = threading.Barrier(4)

    def start(repository: Repository) -> None:
        barrier.wait()
        # An open file of its own holds a lock of its own, as in another process.
        provide(Cache(tmp_path / "cache", fetch=repository))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, repositories))
    asked = sorted((repository.asked for repository in repositories), key=len)
    assert asked[:3] == [[], [], []]
    assert sorted(asked[3]) == sorted(CONTENT)


def test_a_download_is_announced_once(tmp_path, repository):
    """
    A console that is no terminal gets plain lines.
    """
    output = io.StringIO()
    progress = Progress(Console(file=output, width=200))
    Cache(tmp_path, fetch=repository).provide([KAFKA, REGISTRY], progress)
    lines = output.getvalue().splitlines()
    assert lines[0] == "Downloading Kafka and a schema registry, once (0 MB)"
    assert lines[-1] == "  0 of 0 MB"


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    """
    Our own variable comes first, then the XDG folder, then the home folder.
    """
    monkeypatch.setenv("CONNECTOR_SANDBOX_CACHE", "/somewhere/else")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("CONNECTOR_SANDBOX_CACHE")
    assert cache_folder() == Path("/xdg/finance-kafka-connector")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/someone/.cache/finance-kafka-connector")


def test_the_lock_names_what_the_sandbox_needs():
    """
    One Kafka of one version, one registry, every line readable and unique.
    """
    kafka, registry = locked(KAFKA), locked(REGISTRY)
    assert kafka[0].filename == "kafka_2.13-4.1.1.jar"
    assert {a.version for a in kafka if a.group == "org.apache.kafka"} == {"4.1.1"}
    assert [a.filename for a in registry] == ["apicurio-registry-app-2.6.13.Final-all.tar.gz"]
    names = [a.filename for a in (*kafka, *registry)]
    assert len(names) == len(set(names))
    assert [Artifact.parse(a.line()) for a in kafka] == list(kafka)
