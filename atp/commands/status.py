"""`atp status` and `atp tasks resume`: what the workers say of their tasks, asked over their web servers."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import IO, Any

import msgspec

from atp.commands.errors import CommandError, WrongUseError
from atp.commands.worker import checked_settings
from atp.lane.status import TaskState, TaskStatus

TIMEOUT_S = 5.0


class Answer(msgspec.Struct):
    """What one worker answered; `error`: why it did not."""

    worker: str
    lanes: dict[str, list[TaskStatus]] = {}
    error: str | None = None


def status(as_json: bool, out: IO[str]) -> None:
    """Print every task; raise unless every worker answers and every partition of every lane runs somewhere."""
    config = checked_settings()
    answers = [ask(worker) for worker in config.worker_urls]
    wrong = problems(answers, config.partitions)
    if as_json:
        out.write(msgspec.json.encode({"ok": not wrong, "problems": wrong, "workers": answers}).decode() + "\n")
    else:
        out.writelines(_lines(answers))
    if wrong:
        raise CommandError("; ".join(wrong))


def resume(lane: str, partition: int, out: IO[str]) -> None:
    """Let a FAILED task take over again, at whichever worker has it."""
    answers = [ask(worker) for worker in checked_settings().worker_urls]
    known = sorted({name for answer in answers for name in answer.lanes})
    if known and lane not in known:
        raise WrongUseError(f"LANE = {lane!r}: allowed are {', '.join(known)}")
    for answer in answers:
        if any(task.partition == partition for task in answer.lanes.get(lane, [])):
            _post(f"{answer.worker}/tasks/{lane}/{partition}/resume")
            out.write(f"{lane}/{partition} takes over again at {answer.worker}\n")
            return
    silent = [f"{answer.worker}: {answer.error}" for answer in answers if answer.error]
    raise CommandError(
        f"PARTITION = {partition}: no worker of ATP_WORKERS has it" + "".join(f"; {s}" for s in silent)
    )


def problems(answers: list[Answer], partitions: int) -> list[str]:
    """Workers that do not answer, tasks that do not run, partitions that nobody has."""
    found = [f"{answer.worker}: {answer.error}" for answer in answers if answer.error]
    served: dict[str, set[int]] = {}
    for answer in answers:
        for lane, tasks in answer.lanes.items():
            served.setdefault(lane, set()).update(task.partition for task in tasks)
            found += [
                f"{lane}/{task.partition} is {task.state}" + (f": {task.last_error}" if task.last_error else "")
                for task in tasks
                if task.state is not TaskState.RUNNING
            ]
    for lane, here in served.items():
        if missing := sorted(set(range(partitions)) - here):
            found.append(f"{lane}: no worker has partition {', '.join(map(str, missing))}")
    return found


def _lines(answers: list[Answer]) -> list[str]:
    """One line per task."""
    lines = []
    for answer in answers:
        lines.append(f"{answer.worker}  {answer.error or 'answers'}\n")
        for lane, tasks in answer.lanes.items():
            lines += [f"  {lane}/{task.partition:<4}{task.state:<10}{_words(task)}\n" for task in tasks]
    return lines


def _words(task: TaskStatus) -> str:
    if task.state is TaskState.RESTORING:
        left = "" if task.restore_eta_s is None else f", {task.restore_eta_s:.0f} s left"
        return f"{task.restored_records} records restored, {task.restore_rate:.0f}/s{left}"
    waiting = f"{sum(task.lag.values())} records wait"
    return f"{waiting}; {task.last_error}" if task.last_error else waiting


def ask(worker: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """What one worker says."""
    try:
        with urllib.request.urlopen(f"{worker}/status", timeout=timeout_s) as response:
            found = msgspec.json.decode(response.read(), type=dict[str, Any])
        return Answer(worker, msgspec.convert(found["lanes"], dict[str, list[TaskStatus]]))
    except (OSError, KeyError, msgspec.MsgspecError) as error:
        return Answer(worker, error=f"does not answer ({getattr(error, 'reason', error)})")


def _post(url: str) -> None:
    request = urllib.request.Request(url, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        raise CommandError(f"{url}: {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise CommandError(f"{url}: {error}") from None
