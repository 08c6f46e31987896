"""What both brokers share: a child process that never outlives us, free ports, and waiting for readiness."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

LOOPBACK = "127.0.0.1"
# Below Linux' ephemeral range: a port stays free for its broker while that one is down for a restart.
PORTS = range(15_000, 32_000)
_PR_SET_PDEATHSIG = 1
_AGAIN_S = 1.0
# What ends a program; the alarm repeats an interrupt that nobody heard.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


class BrokerStartError(RuntimeError):
    """A broker ended or stayed silent while starting; the message holds the end of its log."""


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports nobody listens on now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            found.append(port)
    return found


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """A hook for the child: the kernel kills it when we end, however we end (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """What ends a program goes to this handler."""
    before = {signum: signal.signal(signum, handler) for signum in _ENDING}
    try:
        yield
    finally:
        for signum, known in before.items():
            signal.signal(signum, known)


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, by KeyboardInterrupt, so that all is cleaned up.

    Python ignores what is raised in a destructor or a callback: the interrupt is raised again until it is heard.
    """
    told = False

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True
        if not _is_interrupted():
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            raise KeyboardInterrupt

    with _handled_by(interrupt):
        try:
            yield
        except Exception:
            if told:  # a library in C may turn the interrupt into an error of its own
                raise KeyboardInterrupt from None
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _is_interrupted() -> bool:
    """Whether what runs now cleans up after an interrupt."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the block ends: until a process or folder is known to who removes it.

    Python swallows what is raised while a process forks, and `Popen` forgets a child when it is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    with _handled_by(lambda signum, _frame: came.append(signum)):
        yield
    if came:
        signal.raise_signal(came[0])


class Child:
    """A child process with its log in a file.

    Start it from a thread that lives as long as the child should: the kernel counts the starting thread
    as the parent.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, stdin: bool = False
    ) -> None:
        self.log = log
        try:
            with log.open("ab") as output, held_signals():
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else {**os.environ, **env},
                    start_new_session=True,
                    preexec_fn=_die_with_parent(os.getpid()),
                )
        except KeyboardInterrupt:  # nobody knows it yet
            if hasattr(self, "process"):
                self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return self.process.poll() is None

    def send(self, signum: signal.Signals) -> None:
        """Send a signal, if there is still somebody to receive it."""
        if self.running:
            self.process.send_signal(signum)

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it has gone."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        """Ask it to end, paused or not, without waiting."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)

    def stop(self, grace_s: float = 20.0) -> None:
        """Ask it to end; kill it when it has not within `grace_s`."""
        self.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def brokers_known(bootstrap: str, timeout_s: float = 1.0) -> int:
    """How many brokers a metadata answer names; 0 when nobody answers."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    try:
        return len(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return 0


def wait_until_ready(bootstrap: str, children: Sequence[Child], brokers: int, timeout_s: float) -> None:
    """Return once metadata names `brokers` brokers.

    Raises:
        BrokerStartError: a child ended, or `timeout_s` passed.
    """
    deadline = time.monotonic() + timeout_s
    while brokers_known(bootstrap) < brokers:
        for child in children:
            if not child.running:
                raise BrokerStartError(f"the broker ended with {child.process.returncode}:\n{child.log_tail()}")
        if time.monotonic() > deadline:
            tails = "\n".join(child.log_tail() for child in children)
            raise BrokerStartError(f"the broker did not answer within {timeout_s:.0f} s:\n{tails}")
        time.sleep(0.05)
