"""`atp dev`: an embedded broker, a worker, and the façade with its console, until Ctrl-C."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import IO

from atp import admin
from atp.brokers.process import LOOPBACK, ended_by_signal, free_ports
from atp.commands.errors import CommandError
from atp.commands.processes import (
    SESSION_ON_EMBEDDED,
    embedded_broker,
    facade,
    temporary_folder,
    workers,
)
from atp.commands.worker import checked_settings

LOOK_S = 0.5


def run(port: int | None, console_port: int | None, out: IO[str]) -> None:
    """Start all three, say how to reach them, and end them together."""
    try:
        _serve(port, console_port, out)
    except KeyboardInterrupt:
        out.write("stopped\n")


def _serve(port: int | None, console_port: int | None, out: IO[str]) -> None:
    with ExitStack() as stack:
        stack.enter_context(ended_by_signal())
        bootstrap = stack.enter_context(embedded_broker(port))
        config = checked_settings().model_copy(update={"bootstrap": bootstrap})
        try:
            admin.ensure(config.admin(), config.partitions, keep_forever=True)
        except admin.BrokerError as error:
            raise CommandError(str(error)) from None
        folder = stack.enter_context(temporary_folder())
        web_port, free_port = free_ports(2)
        given = {"ATP_BOOTSTRAP": bootstrap, "ATP_WEB_PORT": str(web_port), **SESSION_ON_EMBEDDED}
        (worker,) = stack.enter_context(workers(1, folder, given))
        console, status = console_port or free_port, f"http://{LOOPBACK}:{web_port}"
        doors = stack.enter_context(facade(bootstrap, folder, console, status))
        out.write(
            f"broker   {bootstrap} (in memory, gone with Ctrl-C)\n"
            f"worker   process {worker.child.pid}, log {worker.child.log}, status {status}/status\n"
            f"console  http://{LOOPBACK}:{console}/  (process {doors.pid}, log {doors.log})\n"
            f"publish  atp publish FACTS.jsonl --bootstrap {bootstrap}\n"
            f"check    atp doctor --bootstrap {bootstrap}\n"
        )
        out.flush()
        while True:
            worker.check()
            if not doors.running:
                raise CommandError(f"the façade ended: {' '.join(doors.log_tail(3).split())}")
            time.sleep(LOOK_S)
