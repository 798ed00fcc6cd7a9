# SPDX-License-Identifier: Apache-2.0
"""
Downloads by jgo from a repository on this computer.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from connector.errors import OutsideError
from connector.sandbox import download as module
from connector.sandbox.artifacts import KAFKA, Artifact
from connector.sandbox.download import download

CONTENT = b"jar" * 10_000
ARTIFACT = Artifact(
    program=KAFKA,
    group="com.example",
    name="thing",
    version="1.0",
    classifier="",
    packaging="jar",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


class Handler(BaseHTTPRequestHandler):
    """
    Answers each request for the jar with the next of the planned answers.
    """

    plan: ClassVar[list[str]] = []
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        answer = self.plan.pop(0) if self.path.endswith(".jar") else "missing"
        if answer == "late":
            self.send_response(429)
            self.send_header("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT")
            self.end_headers()
            return
        if answer == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if answer == "whole" else CONTENT[:20_000])

    def log_message(self, *_args: object) -> None:
        """
        Stay silent.
        """


@pytest.fixture(autouse=True)
def _repository(tmp_path, monkeypatch) -> Iterator[None]:
    """
    A repository that jgo's settings file names as a mirror, and no wait between attempts.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\nmirror = http://127.0.0.1:{server.server_port}/maven\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    Handler.plan, Handler.asked = [], []
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_whole_file_is_given(tmp_path):
    """
    The file comes from the mirror, and every byte is counted.
    """
    Handler.plan = ["whole"]
    counted: list[int] = []
    file = download(ARTIFACT, tmp_path / "in", counted.append)
    assert file.read_bytes() == CONTENT
    assert Handler.asked[0] == "/maven/com/example/thing/1.0/thing-1.0.jar"
    assert sum(counted) == len(CONTENT)


def test_a_cut_download_is_begun_again(tmp_path):
    """
    The beginning that a cut connection left is not taken for the file, nor counted twice.
    """
    Handler.plan = ["cut", "late", "whole"]
    counted: list[int] = []
    file = download(ARTIFACT, tmp_path / "in", counted.append)
    assert file.read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)


def test_a_download_that_never_works_names_the_remedies(tmp_path):
    """
    After the last attempt nothing is left behind, and the error tells what to do.
    """
    Handler.plan = ["cut", "cut", "cut"]
    with pytest.raises(OutsideError) as caught:
        download(ARTIFACT, tmp_path / "in", lambda _: None)
    text = str(caught.value)
    assert "thing-1.0.jar could not be downloaded (ChunkedEncodingError)" in text
    for remedy in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "jgo.conf", "CONNECTOR_SANDBOX_CACHE"):
        assert remedy in text
    assert [path for path in (tmp_path / "in").rglob("*") if path.is_file()] == []


def test_a_cancelled_download_ends(tmp_path):
    """
    What the counter raises ends the download at once.
    """
    Handler.plan = ["whole", "whole", "whole"]

    def cancel(_amount: int) -> None:
        raise OutsideError("Another download failed.")

    with pytest.raises(OutsideError, match="Another download failed"):
        download(ARTIFACT, tmp_path / "in", cancel)
    assert len(Handler.plan) == 2
