"""`atp dev`: an embedded broker and a worker until Ctrl-C."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import IO

from atp import admin
from atp.commands.errors import CommandError
from atp.commands.processes import SESSION_ON_EMBEDDED, embedded_broker, ended_by_signal, temporary_folder, workers
from atp.commands.worker import checked_settings

LOOK_S = 0.5


def run(port: int | None, out: IO[str]) -> None:
    """Start both, say how to reach them, and end them together."""
    with ExitStack() as stack:
        stack.enter_context(ended_by_signal())
        bootstrap = stack.enter_context(embedded_broker(port))
        config = checked_settings().model_copy(update={"bootstrap": bootstrap})
        try:
            admin.ensure(config.admin(), config.partitions, keep_forever=True)
        except admin.BrokerError as error:
            raise CommandError(str(error)) from None
        folder = stack.enter_context(temporary_folder())
        (worker,) = stack.enter_context(workers(1, folder, {"ATP_BOOTSTRAP": bootstrap, **SESSION_ON_EMBEDDED}))
        out.write(
            f"broker   {bootstrap} (in memory, gone with Ctrl-C)\n"
            f"worker   process {worker.child.pid}, log {worker.child.log}\n"
            f"publish  atp publish FACTS.jsonl --bootstrap {bootstrap}\n"
            f"check    atp doctor --bootstrap {bootstrap}\n"
        )
        out.flush()
        try:
            while True:
                worker.check()
                time.sleep(LOOK_S)
        except KeyboardInterrupt:
            out.write("stopped\n")
