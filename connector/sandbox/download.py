# SPDX-License-Identifier: Apache-2.0
"""
Downloads one artifact from Maven with jgo, which needs neither Maven nor Java.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from connector.errors import OutsideError
from connector.sandbox.artifacts import Artifact
from connector.sandbox.java import NO_EXTRA

_ATTEMPTS = 3
_TIMEOUT = 30  # seconds without a byte


def download(artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
    """
    Download one artifact; its digest is the caller's to check.

    Args:
        artifact: What to download.
        folder: Where to, in Maven's layout; must not hold the artifact yet.
        advance: Told about each piece, in bytes. What it raises ends the download.

    Raises:
        OutsideError: It cannot be had; says why and what to do.
    """
    try:
        import requests  # noqa: PLC0415 - comes with jgo, and so with the extra
        from jgo.config import GlobalSettings  # noqa: PLC0415 - the extra may be missing
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - the same
    except ImportError as error:
        raise OutsideError(NO_EXTRA) from error
    count = _Count(advance)
    resolver = PythonResolver(progress_callback=count)
    context = MavenContext(resolver, repo_cache=folder, timeout=_TIMEOUT)
    # A mirror that the user has named in jgo's settings file goes first.
    context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    wanted = component.artifact(artifact.classifier, artifact.packaging)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path = Path(wanted.resolve())
        # jgo: RuntimeError for any status but 200, ValueError for a Retry-After that is a date.
        except (requests.RequestException, RuntimeError, ValueError) as error:
            # What a cut download leaves behind, jgo would take for the whole.
            (folder / component.path_prefix / artifact.filename).unlink(missing_ok=True)
            count.again()
            if attempt == _ATTEMPTS:
                raise _failed(artifact, error) from error
            time.sleep(attempt)
        else:
            return path
    raise AssertionError


class _Count:
    """
    Passes on the bytes of a download, and takes them back when it begins anew.
    """

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self._bytes = 0

    @contextmanager
    def __call__(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield self._more

    def _more(self, amount: int) -> None:
        self._bytes += amount
        self._advance(amount)

    def again(self) -> None:
        self._advance(-self._bytes)
        self._bytes = 0


def _failed(artifact: Artifact, error: Exception) -> OutsideError:
    return OutsideError(
        f"{artifact.filename} could not be downloaded ({type(error).__name__}). The first start of "
        "the sandbox needs the network: behind a proxy set HTTPS_PROXY, with an authority of your "
        "own set REQUESTS_CA_BUNDLE, and name a mirror under [repositories] in "
        "~/.config/jgo.conf. Or copy the cache folder of another computer and set "
        "CONNECTOR_SANDBOX_CACHE to it."
    )
