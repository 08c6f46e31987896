"""How soon a worker serves again; a part of `python -m bench.recovery`.

Real Kafka, worker processes of this project, exactly once, every setting at its default. Each partition has a
beacon: a SKU that is adjusted again and again. A partition is served once a read-committed reader finds a canonical
record that covers an adjustment acknowledged after the clock was started.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Message

from atp.brokers.process import Child, free_ports
from atp.commands.status import ask
from atp.domain.facts import STOCK_TOPIC
from atp.lane.status import TaskStatus
from bench.latency import _follow
from bench.load import PARTITIONS
from bench.measure import Group, cpu_seconds
from bench.peers import PROJECT
from bench.reconcile import Shop

BEAT_S = 0.1
LIMIT_S = 240.0
ONE_NODE_EACH = [("uk", "uk-1"), ("de", "de-1")]  # so that a key (SKU and region) is a count
Say = Callable[[str], None]


class Worker:
    """A worker process under its own static name, with its own disk."""

    def __init__(self, bootstrap: str, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        self._bootstrap, self._name = bootstrap, name
        self._child: Child | None = None
        self._port = free_ports(1)[0]  # the same from start to start: Faust knows a static member by its address
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the process."""
        environment = {
            "ATP_BOOTSTRAP": self._bootstrap, "ATP_DATA_DIR": str(self.folder / "data"), "ATP_CLOCK": "system",
            "ATP_INSTANCE_ID": self._name, "ATP_WEB_PORT": str(self._port), "PYTHONPATH": str(PROJECT),
        }  # fmt: skip
        self._child = Child([sys.executable, "-m", "atp.cli", "worker"], self.folder / "log", environment)

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None
        return self._child

    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.running

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._child is not None:
            self._child.kill()

    def lose_disk(self) -> None:
        """Delete its stores."""
        shutil.rmtree(self.folder / "data")

    def tasks(self) -> list[TaskStatus]:
        """What its SKU tasks say; none while it does not answer."""
        return ask(self.url).lanes.get("sku", [])

    def restored(self) -> dict[str, Any]:
        """What its tasks read from the changelog, side by side: records, and seconds of the slowest."""
        told = [task for task in self.tasks() if task.restored_records]
        records = sum(task.restored_records for task in told)
        seconds = max((task.restored_records / task.restore_rate for task in told), default=0.0)
        rate = round(records / seconds) if seconds else 0
        return {"records": records, "restore_s": round(seconds, 1), "records_per_s": rate}

    def rss_mb(self) -> int:
        """Its memory now."""
        return int(psutil.Process(self.child.pid).memory_info().rss >> 20)


class Beacons:
    """An adjusted SKU per partition, and when each partition was served."""

    def __init__(self, bootstrap: str, shop: Shop) -> None:
        self._shop = shop
        self._consumer = _follow(bootstrap)
        self._skus = {number: shop.partitions.index(number) for number in range(PARTITIONS)}
        self._since: dict[int, int] = {}  # offset of the first adjustment acknowledged after the mark
        self._began_s = 0.0
        self.served_s: dict[int, float] = {}

    def mark(self) -> None:
        """Start the clock."""
        self._shop.producer.flush(10)
        self._began_s, self._since, self.served_s = time.monotonic(), {}, {}

    def wait(self, partitions: Iterable[int], alive: Callable[[], bool]) -> dict[str, float]:
        """Seconds since the mark until the first and until all of the partitions were served."""
        wanted, until_s = set(partitions), time.monotonic() + LIMIT_S
        while not wanted <= self.served_s.keys():
            assert alive(), "a worker ended"
            assert time.monotonic() < until_s, f"not served within {LIMIT_S} s: {wanted - self.served_s.keys()}"
            self._beat(wanted)
        found = [self.served_s[number] for number in wanted]
        return {"first_s": round(min(found), 1), "all_s": round(max(found), 1)}

    def close(self) -> None:
        """Close the connections; what was not delivered is let go."""
        self._consumer.close()
        self._shop.producer.purge()
        self._shop.producer.flush(5)

    def _beat(self, wanted: set[int]) -> None:
        for number in wanted - self.served_s.keys():
            self._adjust(number)
        until_s = time.monotonic() + BEAT_S
        while time.monotonic() < until_s:
            self._shop.producer.poll(0)
            for message in self._consumer.consume(5_000, timeout=0.02):
                if not message.error():
                    self._arrived(message)

    def _adjust(self, number: int) -> None:
        began_s = self._began_s

        def acknowledged(error: Any, message: Message) -> None:
            if error is None and began_s == self._began_s:
                self._since.setdefault(number, message.offset())

        at = self._skus[number]
        value = self._shop.fact(at, "stock.adjusted", 0, state="sellable", delta=-1, reason="sold")
        self._shop.producer.produce(
            STOCK_TOPIC, json.dumps(value).encode(), self._shop.skus[at], number, acknowledged
        )

    def _arrived(self, message: Message) -> None:
        number = message.partition()
        since = self._since.get(number)
        if since is None or number in self.served_s:
            return
        if json.loads(message.value())["inputs"].get(STOCK_TOPIC, -1) >= since:
            self.served_s[number] = time.monotonic() - self._began_s


class Restarts:
    """Two workers, one of them at first, and so many keys; each part leaves all partitions served."""

    def __init__(self, bootstrap: str, folder: Path, say: Say) -> None:
        self._bootstrap, self._say = bootstrap, say
        self.first, self.second = Worker(bootstrap, folder, "first"), Worker(bootstrap, folder, "second")
        self._beacons: Beacons | None = None

    def open(self, keys: int) -> None:
        """Start the first worker and count every key."""
        self.first.start()
        self._await(lambda: _running(self.first) == PARTITIONS)  # it has created the topics, too
        shop = Shop(self._bootstrap, keys, ONE_NODE_EACH)
        shop.reference()
        self._say(f"counting {keys:,} keys …")
        shop.count_everything()
        Group(self._bootstrap, "atp-sku", [STOCK_TOPIC]).wait(shop.facts, self.first.alive)
        self._beacons = Beacons(self._bootstrap, shop)
        self.beacons.mark()
        self._serve(self.first)

    @property
    def beacons(self) -> Beacons:
        """What tells that partitions are served."""
        assert self._beacons is not None
        return self._beacons

    def _serve(self, worker: Worker) -> dict[str, float]:
        return self.beacons.wait(range(PARTITIONS), worker.alive)

    def _again(self) -> dict[str, Any]:
        self.beacons.mark()
        self.first.start()
        found: dict[str, Any] = self._serve(self.first)
        return {**found, "cpu_s": round(cpu_seconds([self.first.child.pid]), 1), "rss_mb": self.first.rss_mb()}

    def restart(self) -> dict[str, Any]:
        """From the start of the process, its state on its disk: after SIGTERM, and after kill -9."""
        self._say("restarting with local state …")
        held_mb = self.first.rss_mb()
        self.first.child.stop(grace_s=60)
        calm = self._again()
        self.first.kill()
        return {"rss_mb_before": held_mb, "sigterm": calm, "sigkill": self._again()}

    def rebuild(self) -> dict[str, Any]:
        """The same on an empty disk."""
        self._say("rebuilding from the changelog …")
        self.first.kill()
        self.first.lose_disk()
        return {**self._again(), **self.first.restored()}

    def takeover(self) -> dict[str, Any]:
        """From kill -9 of a worker to its partitions served by the other: without state on its disk, and with."""
        self._say("sharing with a second worker …")
        self.second.start()
        self._await(self._shared)
        without = self._lost(self.first, self.second)
        self._say("sharing again …")
        self.first.start()
        self._await(self._shared)
        return {"without_state": without, "with_state": self._lost(self.second, self.first)}

    def _shared(self) -> bool:
        return all(_running(worker) == PARTITIONS // 2 for worker in (self.first, self.second))

    def _await(self, holds: Callable[[], bool]) -> None:
        until_s = time.monotonic() + LIMIT_S
        while not holds():
            assert self.first.alive(), self.first.child.log_tail()
            assert time.monotonic() < until_s, f"not ready within {LIMIT_S} s"
            time.sleep(0.5)

    def _lost(self, victim: Worker, heir: Worker) -> dict[str, Any]:
        self._say("killing a worker …")
        orphans = {task.partition for task in victim.tasks()}
        before = {task.partition: task.restored_records for task in heir.tasks()}
        self.beacons.mark()
        victim.kill()
        served = self.beacons.wait(orphans, heir.alive)
        records = sum(t.restored_records for t in heir.tasks() if t.partition not in before)
        return {**served, "partitions": len(orphans), "records": records}

    def close(self) -> None:
        """End the workers, and let go of the broker while it is there."""
        self.first.kill()
        self.second.kill()
        if self._beacons is not None:
            self._beacons.close()


def _running(worker: Worker) -> int:
    return sum(task.state == "RUNNING" for task in worker.tasks())
