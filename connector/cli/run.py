# SPDX-License-Identifier: Apache-2.0
"""
``connector run``: one worker, until it is told to stop.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket

import click
import structlog

from connector.admin import server
from connector.admin.metrics import Metrics
from connector.admin.status import WorkerStatus
from connector.errors import ConnectorError, InternalError, SettingsError, place_of
from connector.logs import configure
from connector.runtime import connect
from connector.settings import Settings, load_settings
from connector.worker import Worker

log = structlog.get_logger()

# A page is thousands of containers, none of them in a cycle: at Python's 700 the collector
# took about a tenth of the main thread's time in a backlog. Cycles come from errors and are
# few; they wait a little longer.
_COLLECT_AFTER = 50_000


async def run_worker(settings: Settings) -> None:
    """
    Run one worker with its admin port.

    Raises:
        ConnectorError: The worker cannot go on.
    """
    metrics = Metrics()
    worker = Worker(settings, metrics, connect)
    subject = WorkerStatus(worker, metrics)
    try:
        runner, port = await server.serve(subject, settings.admin_host, settings.admin_port)
    except OSError as failure:
        raise cannot_listen(failure) from None
    log.info("worker_started", name=settings.name, admin_port=port, pid=os.getpid())
    try:
        await worker.run()
    except ConnectorError:
        raise
    except Exception as failure:  # noqa: BLE001 - the last wall before the process ends
        # Its text may hold data of a provider: only the type and the place are told.
        log.critical("internal_failure", **place_of(failure))
        raise InternalError(
            f"Internal failure ({type(failure).__name__}); the log has its place."
        ) from None
    finally:
        await runner.cleanup()


def cannot_listen(failure: OSError) -> SettingsError:
    """
    Tell which of the two settings of the admin port is wrong, and what to do.
    """
    if isinstance(failure, socket.gaierror) or failure.errno == errno.EADDRNOTAVAIL:
        return SettingsError(
            f"CONNECTOR_ADMIN_HOST: cannot listen there ({failure.strerror}).",
            remedy="Name an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them.",
        )
    return SettingsError(
        f"CONNECTOR_ADMIN_PORT: cannot listen there ({failure.strerror or failure}).",
        remedy="Take a free port; 0 takes any.",
    )


@click.command(
    short_help="Run one worker.",
    epilog="""\b
Examples:
  connector run
  CONNECTOR_SOURCES=stedi STEDI_START=-7d connector run
""",
)
def command() -> None:
    """
    Run one worker until SIGTERM or SIGINT.

    All settings are environment variables, see docs/configuration.md; "connector config"
    shows them as they are read, "connector check" tries them. Several workers with the
    same CONNECTOR_NAME share the work.

    Health, metrics and status: http://CONNECTOR_ADMIN_HOST:CONNECTOR_ADMIN_PORT with
    /live, /ready, /metrics and /status.
    """
    settings = load_settings(os.environ)
    configure(settings)
    for warning in settings.warnings:
        log.warning("setting", text=warning)
    # What the imports made stays: it need not be looked at again.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    asyncio.run(run_worker(settings))
