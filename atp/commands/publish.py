"""`atp publish`: a file of facts and control documents → their topics, after every line was found valid."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from atp import admin, topics
from atp.commands import clients
from atp.commands.errors import CommandError
from atp.commands.files import read_bytes
from atp.commands.lines import Outgoing, Wrong, judged
from atp.commands.markers import to_partitions
from atp.commands.worker import checked_settings
from atp.settings import Settings

FLUSH_S = 60.0


class Options(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    as_json: bool = False
    dry_run: bool = False
    skip_invalid: bool = False


def run(facts: Path, options: Options, out: IO[bytes], err: IO[bytes]) -> None:
    """Publish a file, or refuse it line by line."""
    config = checked_settings()
    lines = list(judged(read_bytes(facts, "FACTS"), config.horizons))
    good = [line for line in lines if isinstance(line, Outgoing)]
    wrong = [line for line in lines if isinstance(line, Wrong)]
    for line in wrong:
        err.write(msgspec.json.encode(line) + b"\n")
    if wrong and not options.skip_invalid:
        raise CommandError(f"{facts}: {len(wrong)} of {len(lines)} lines are invalid; nothing was published")
    if not options.dry_run:
        produce(to_partitions(good, config.partitions), config)
    out.write(report(good, wrong, options))


def produce(lines: list[Outgoing], config: Settings) -> dict[clients.Place, int]:
    """Return once the broker has every record, with the offset after the last one of each partition.

    Raises:
        CommandError: the broker did not take a record.
    """
    with clients.one_line(config.bootstrap):
        _check_topics(lines, config)
        failed: list[str] = []
        ends: dict[clients.Place, int] = {}

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(f"{message.topic()} key {message.key()!r}: {error.str()}")
                return
            place = (message.topic(), message.partition())
            ends[place] = max(ends.get(place, 0), message.offset() + 1)

        producer = clients.make_producer(config.admin(), on_delivery=delivered)
        for line in lines:
            _send(producer, line)
        left = producer.flush(FLUSH_S)
    if failed or left:
        first = failed[0] if failed else f"no answer within {FLUSH_S:.0f} s"
        raise CommandError(f"{len(failed) + left} of {len(lines)} records were not delivered: {first}")
    return ends


def _send(producer: Producer, line: Outgoing) -> None:
    options: dict[str, Any] = {} if line.recorded_ms is None else {"timestamp": line.recorded_ms}
    if line.partition is not None:
        options["partition"] = line.partition
    while True:
        try:
            producer.produce(line.topic, line.value, line.key.encode(), **options)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _check_topics(lines: list[Outgoing], config: Settings) -> None:
    """Fact topics with a wrong partition count would put facts where no task looks for them."""
    used = {line.topic for line in lines}
    try:
        known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
    except admin.BrokerError as error:
        raise CommandError(str(error)) from None
    for topic in topics.CATALOGUE:
        wanted = admin.partitions_of(topic, config.partitions)
        found = known.get(topic.name, 0)
        if topic.name in used and found != wanted:
            state = f"has {found} partitions, {wanted} are needed" if found else "is missing"
            raise CommandError(f"broker {config.bootstrap}: topic {topic.name} {state}; see `atp doctor`")


def report(good: list[Outgoing], wrong: list[Wrong], options: Options) -> bytes:
    """How many records of each topic."""
    counts: dict[str, int] = {}
    for line in good:
        counts[line.topic] = counts.get(line.topic, 0) + 1
    done = "would be published" if options.dry_run else "published"
    if options.as_json:
        said = {"published": 0 if options.dry_run else len(good), "valid": len(good), "invalid": len(wrong)}
        return msgspec.json.encode({**said, "topics": counts}) + b"\n"
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    skipped = f"; {len(wrong)} invalid lines skipped" if wrong else ""
    return f"{len(good)} records {done}{': ' + parts if parts else ''}{skipped}\n".encode()
