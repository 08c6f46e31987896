"""`atp demo`: real retail sales through broker and worker, watched live, then held against an independent fold."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from typing import IO, Any

import msgspec
from confluent_kafka import Consumer

from atp import admin, topics
from atp.brokers.process import ended_by_signal
from atp.commands import clients
from atp.commands.demo_summary import in_words, summarize
from atp.commands.demo_view import View
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.processes import (
    SESSION_ON_EMBEDDED,
    Worker,
    embedded_broker,
    temporary_folder,
    workers,
)
from atp.commands.published import Comparison, Published
from atp.commands.replay import Pace, Replay, make_producer
from atp.commands.worker import checked_settings
from atp.settings import Settings
from atp.sources.online_retail import QUARTER_FIRST_DAY, OnlineRetail
from atp.sources.retail_rows import FIRST_DAY, LAST_DAY

REPLAYING = "replaying"
START_S = 60.0
NO_PROGRESS_S, SETTLE_S = 60.0, 20.0
SHOWN_DIFFERENCES = 10
# A day of the replay passes within a second: sweeps and day closes at their usual pace would be all that is done.
FAST = {"ATP_SWEEP_KEYS_PER_S": "140", "ATP_CLOSED_AT_ONCE": "0", "ATP_COMMIT_INTERVAL_MS": "1000"}


class Options(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    full: bool = False
    speed: float | None = None
    broker: str | None = None
    limit_days: int | None = None
    workers: int = 2
    as_json: bool = False

    def check(self) -> None:
        """Raise when an option cannot be used."""
        if self.speed is not None and self.speed <= 0:
            raise WrongUseError(f"--speed = {self.speed}: seconds of replay per second, more than 0, are allowed")
        if self.limit_days is not None and self.limit_days < 1:
            raise WrongUseError(f"--limit = {self.limit_days}: a number of days, 1 or more, is allowed")
        if not 1 <= self.workers <= 8:
            raise WrongUseError(f"--workers = {self.workers}: 1 to 8 are allowed")

    def source(self) -> OnlineRetail:
        """The facts of the days asked for."""
        first_day = FIRST_DAY if self.full else QUARTER_FIRST_DAY
        last_day = LAST_DAY
        if self.limit_days is not None:
            last_day = (date.fromisoformat(first_day) + timedelta(days=self.limit_days - 1)).isoformat()
        return OnlineRetail(first_day, min(last_day, LAST_DAY))


def run(options: Options, out: IO[str], err: IO[str]) -> None:
    """Replay, watch, compare; raise when a record differs from the fold."""
    options.check()
    said = err if options.as_json else out
    with ExitStack() as stack:
        stack.enter_context(ended_by_signal())
        summary, comparison = Demo(options, stack, said).run()
    if options.as_json:
        out.write(msgspec.json.encode(summary).decode() + "\n")
    if comparison.differing:
        keys = sorted(comparison.differing)
        for key in keys[:SHOWN_DIFFERENCES]:
            said.write(f"{key}: [published, fold] {msgspec.json.encode(comparison.difference(key)).decode()}\n")
        raise CommandError(f"{len(keys)} canonical records differ from the fold: {', '.join(keys[:50])}")


class Demo:
    """One run of the demo; what it starts is put on the stack and ends with it."""

    def __init__(self, options: Options, stack: ExitStack, said: IO[str]) -> None:
        self._options, self._stack, self._said = options, stack, said
        self._began_s = time.monotonic()

    def run(self) -> tuple[dict[str, Any], Comparison]:
        """The summary, and the comparison of what was published with what should have been."""
        bootstrap = self._options.broker or self._stack.enter_context(embedded_broker())
        config = checked_settings().model_copy(update={"bootstrap": bootstrap})
        with clients.one_line(bootstrap):
            self._prepare_topics(config)
            started = self._start_workers(config)
            self._say(f"reading the sales; broker {bootstrap}, {len(started)} worker(s) starting")
            source = self._options.source()
            group = self._stack.enter_context(clients.consumer(config.admin(), group=clients.SKU_GROUP))
            replay = Replay(source.records(), make_producer(config.admin()), group, self._pace(config))
            reader = self._stack.enter_context(clients.consumer(config.admin(), more={"enable.partition.eof": False}))
            published = Published(reader, replay.samples)
            self._await_workers(group, config, started)
            with View(replay, published, source.end_ms, self._said) as view:
                return self._play(replay, published, view, started)

    def _say(self, line: str) -> None:
        self._said.write(line + "\n")
        self._said.flush()

    def _pace(self, config: Settings) -> Pace:
        return Pace(config.partitions, self._options.speed)

    def _prepare_topics(self, config: Settings) -> None:
        try:
            admin.ensure(config.admin(), config.partitions, config.replication, keep_forever=True)
            wrong = admin.problems(config.admin(), config.partitions)
            wrong += admin.forgetful(config.admin(), topics.FACT_TOPICS) if self._options.broker else []
        except admin.BrokerError as error:
            raise CommandError(str(error)) from None
        if wrong:
            raise CommandError("; ".join(wrong))
        if self._options.broker:
            refuse_used_topics(config)

    def _start_workers(self, config: Settings) -> list[Worker]:
        folder = self._stack.enter_context(temporary_folder())
        environment = {"ATP_BOOTSTRAP": config.bootstrap, "ATP_CLOCK": "replay"}
        if self._options.speed is None:
            environment |= FAST
        if not self._options.broker:
            environment |= SESSION_ON_EMBEDDED
        return self._stack.enter_context(workers(self._options.workers, folder, environment))

    def _await_workers(self, group: Consumer, config: Settings, started: list[Worker]) -> None:
        """A task that runs has written its own row, even with nothing to do; and nobody may still be joining.

        On the embedded broker nothing fences the owner before: partitions must not change hands during the replay.
        """
        places = [(topics.CHANGELOG.name, p) for p in range(config.partitions)]
        deadline = time.monotonic() + START_S

        def all_run() -> bool:
            written = all(end for _, end in clients.bounds(group, places).values())
            return written and all(worker.serves(clients.SKU_GROUP) for worker in started)

        while not all_run():
            for worker in started:
                worker.check()
            if time.monotonic() > deadline:
                raise CommandError(f"the worker did not start within {START_S:.0f} s: {started[0].last_words()}")
            time.sleep(0.1)

    def _play(
        self, replay: Replay, published: Published, view: View, started: list[Worker]
    ) -> tuple[dict[str, Any], Comparison]:
        times = {"set_up_s": time.monotonic() - self._began_s}
        play_s = time.monotonic()
        watch = Watch(replay, published, view, started)
        with paused_collector():
            while replay.step():
                watch.tick(REPLAYING)
            end_ms = replay.finish()
            comparison = Comparison(published, replay.fold.records(end_ms))
            times["replay_s"] = time.monotonic() - play_s
            while comparison.differing and watch.moved_within(SETTLE_S if replay.consumed_all else NO_PROGRESS_S):
                published.read(0.05)
                comparison.update()
                watch.tick("settling")
        times["to_equality_s"] = time.monotonic() - play_s
        view.show("done", now=True)
        times |= {f"{worker.name}_cpu_s": worker.cpu_s() for worker in started} | {"demo_cpu_s": time.process_time()}
        summary = summarize(replay, published, comparison, times, end_ms)
        for line in in_words(summary):
            view.say(line)
        return summary, comparison


class Watch:
    """What is done all the time beside the replay: read, show, see that somebody still works."""

    def __init__(self, replay: Replay, published: Published, view: View, started: list[Worker]) -> None:
        self._replay, self._published, self._view, self._started = replay, published, view, started
        self._progress: tuple[int, int, int] = (0, 0, 0)
        self._progress_s = self._checked_s = time.monotonic()

    def moved_within(self, span_s: float) -> bool:
        """Whether anything was sent, worked off or published lately."""
        return time.monotonic() - self._progress_s <= span_s

    def tick(self, doing: str) -> None:
        """Once around."""
        self._published.read()
        now_s = time.monotonic()
        if now_s - self._checked_s < 0.2:
            return
        self._checked_s = now_s
        self._replay.look()
        for worker in self._started:
            worker.check()
        progress = (self._replay.sent, self._replay.consumed, self._published.count)
        if progress != self._progress:
            self._progress, self._progress_s = progress, now_s
        elif doing == REPLAYING and not self.moved_within(NO_PROGRESS_S):
            raise CommandError(
                f"nothing moved for {NO_PROGRESS_S:.0f} s: {self._replay.consumed:,} of {self._replay.facts:,} "
                f"facts worked off; {self._started[0].last_words()}"
            )
        self._view.show(doing)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Millions of small rows stay alive: the cycle collector would walk them again and again, for nothing."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def refuse_used_topics(config: Settings) -> None:
    """The demo needs topics of its own: what it finds must be what it sent."""
    used = [topic for topic in topics.CATALOGUE if topic is not topics.SUBSTITUTIONS]
    with clients.consumer(config.admin()) as reader:
        for topic in used:
            count = admin.partitions_of(topic, config.partitions)
            found = clients.bounds(reader, [(topic.name, p) for p in range(count)])
            if held := sum(end for _, end in found.values()):
                raise CommandError(
                    f"--broker {config.bootstrap}: topic {topic.name} already holds records (offsets up to {held}); "
                    "the demo needs fresh topics: delete the product's topics, or use another broker"
                )
