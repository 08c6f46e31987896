"""Real Apache Kafka (KRaft), one node or several, from Maven artifacts, in a folder of its own.

    with KafkaCluster(nodes=3) as kafka:
        kafka.nodes[1].kill()
        kafka.nodes[1].start()

As a program: `python -m atp.brokers.kafka --nodes 1` prints the bootstrap address and runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from atp.brokers.jars import MissingToolError, dependency_jars
from atp.brokers.process import (
    LOOPBACK,
    BrokerStartError,
    Child,
    ended_by_signal,
    free_ports,
    held_signals,
    wait_until_ready,
)

KAFKA_VERSION = "4.1.1"
HERE = Path(__file__).parent
START_TIMEOUT_S = 90.0
SINGLE_HEAP_MB, MULTI_HEAP_MB = 512, 320


def kafka_jars() -> Path:
    """The folder with Kafka's jars, fetched once."""
    return dependency_jars(HERE / "pom.xml", f"kafka-{KAFKA_VERSION}")


def default_properties(nodes: int) -> dict[str, str]:
    """Server properties suited to tests: no surprises, no waiting; replicas fit the node count."""
    replicas, min_isr = min(nodes, 3), 2 if nodes >= 3 else 1
    return {
        "auto.create.topics.enable": "false",
        "num.partitions": "1",
        "log.retention.ms": "-1",  # simulated times lie in the past: retention would delete at once
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(min_isr),
        "unclean.leader.election.enable": "false",
        "offsets.topic.replication.factor": str(replicas),
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(min_isr),
        "transaction.state.log.num.partitions": "8",
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(min_isr),
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.cleaner.backoff.ms": "500",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "log.cleaner.io.buffer.size": str(1 << 19),
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        "controlled.shutdown.enable": "true" if nodes > 1 else "false",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def java_command(jars: Path, main: str, heap_mb: int, *arguments: str) -> list[str]:
    """A Java command line with a quick start; one with a large heap is meant to run long, and compiles more."""
    flags = [
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
    ]
    if heap_mb <= SINGLE_HEAP_MB:
        flags.append("-XX:TieredStopAtLevel=1")
    return ["java", *flags, "-cp", f"{jars}/*", main, *arguments]


class Security(NamedTuple):
    """Two more listeners, SASL_SSL and SSL with client certificates, and an authorizer that grants nothing by itself.

    The plain listener stays, for the nodes among themselves and whoever hands out the rights: it is the superuser.
    """

    certificate: str  # of the servers: key in PKCS #8, then the certificates, PEM
    authority: str  # who signs the certificates of clients, PEM
    users: Mapping[str, str]  # password by user, for SCRAM-SHA-512 and PLAIN

    def properties(self, plain: str, sasl_port: int, ssl_port: int, folder: Path) -> dict[str, str]:
        """Server properties; writes the certificates to the node's folder."""
        (folder / "server.pem").write_text(self.certificate)
        (folder / "authority.pem").write_text(self.authority)
        users = " ".join(f'user_{user}="{password}"' for user, password in self.users.items())
        modules = "org.apache.kafka.common.security"
        sasl = "listener.name.sasl_ssl"
        return {
            "advertised.listeners": f"{plain},SASL_SSL://{LOOPBACK}:{sasl_port},SSL://{LOOPBACK}:{ssl_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{sasl}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
            f"{sasl}.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required {users};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "server.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "authority.pem"),
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def format_arguments(self) -> list[str]:
        """SCRAM users, known from the first start on."""
        found = []
        for user, password in self.users.items():
            found += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        return found


class KafkaNode:
    """One server, broker and controller in one; it keeps its ports and its log folder over restarts."""

    def __init__(self, node_id: int, port: int, folder: Path, jars: Path, heap_mb: int) -> None:
        self.node_id, self.port, self.folder = node_id, port, folder
        self._jars, self._heap_mb = jars, heap_mb
        self._child: Child | None = None
        folder.mkdir(parents=True)

    @property
    def bootstrap(self) -> str:
        """`host:port` of this node alone."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def child(self) -> Child:
        """The process of this node."""
        if self._child is None:
            raise BrokerStartError(f"Kafka node {self.node_id} has not been started")
        return self._child

    @property
    def running(self) -> bool:
        """True while the process lives, paused or not."""
        return self._child is not None and self._child.running

    def configure(self, properties: Mapping[str, str]) -> None:
        """Write the server properties."""
        lines = [f"{name}={value}" for name, value in properties.items()]
        (self.folder / "server.properties").write_text("\n".join(lines) + "\n")

    def format(self, cluster_id: str, more: Sequence[str] = ()) -> Child:
        """Start formatting the log folder."""
        arguments = ["format", "-t", cluster_id, "-c", str(self.folder / "server.properties"), *more]
        command = java_command(self._jars, "kafka.tools.StorageTool", 128, *arguments)
        return Child(command, self.folder / "format.log")

    def start(self, wait: bool = True) -> None:
        """Start the process; with `wait`, return once it answers."""
        if self.running:
            return
        properties = str(self.folder / "server.properties")
        command = java_command(self._jars, "kafka.Kafka", self._heap_mb, properties)
        with held_signals():
            self._child = Child(command, self.folder / "server.log", {"LOG_DIR": str(self.folder)})
        if wait:
            wait_until_ready(self.bootstrap, [self._child], 1, START_TIMEOUT_S)

    def stop(self) -> None:
        """End it in good order (SIGTERM)."""
        self.child.stop()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.child.kill()

    def restart(self, wait: bool = True) -> None:
        """Stop it if it runs, then start it."""
        if self.running:
            self.stop()
        self.start(wait)

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.child.send(signal.SIGCONT)


class KafkaCluster:
    """Kafka on free loopback ports; use it with `with` or `async with`.

    Args:
        nodes: how many servers, each broker and controller.
        heap_mb: Java heap of each; by default 512 for one node, 320 for several.
        properties: server properties that add to or replace `default_properties`.
        security: also listen with TLS and SASL (one node), and grant nothing that no ACL allows.
    """

    transactions = True
    compaction = True

    def __init__(
        self,
        nodes: int = 1,
        heap_mb: int | None = None,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
    ) -> None:
        self.size = nodes
        self.security = security
        self.sasl_port, self.ssl_port = free_ports(2) if security else (0, 0)
        self.heap_mb = heap_mb or (SINGLE_HEAP_MB if nodes == 1 else MULTI_HEAP_MB)
        self.properties = dict(properties or {})
        self.nodes: list[KafkaNode] = []
        self._folder: Path | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port,…` of all nodes."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def sasl_bootstrap(self) -> str:
        """`host:port` of the SASL_SSL listener."""
        return f"{LOOPBACK}:{self.sasl_port}"

    @property
    def ssl_bootstrap(self) -> str:
        """`host:port` of the SSL listener that asks for a client certificate."""
        return f"{LOOPBACK}:{self.ssl_port}"

    @property
    def pids(self) -> list[int]:
        """Process ids of the running nodes."""
        return [node.child.pid for node in self.nodes if node.running]

    def start(self) -> Self:
        """Fetch the jars when needed, format, start all nodes, wait until all know each other."""
        jars = kafka_jars()
        try:
            self._prepare(jars)
            self._spawn()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once every running node is known; stop everything if that fails."""
        running = [node for node in self.nodes if node.running]
        try:
            for node in running:
                wait_until_ready(node.bootstrap, [node.child], len(running), timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all nodes, however they are, and delete what they stored."""
        for node in self.nodes:
            if node.running:
                node.kill()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def restart(self) -> None:
        """Stop all nodes, then start them again on the same data and ports."""
        for node in self.nodes:
            node.child.terminate()
        for node in self.nodes:
            node.child.stop(grace_s=6.0)  # the last one waits in vain for a quorum to say good-bye to
        self._spawn()
        self.wait_ready()

    def _spawn(self) -> None:
        for node in self.nodes:
            node.start(wait=False)

    def _prepare(self, jars: Path) -> None:
        with held_signals():
            self._folder = Path(tempfile.mkdtemp(prefix="atp-kafka-"))
        ports = free_ports(2 * self.size)
        brokers, controllers = ports[: self.size], ports[self.size :]
        for index, port in enumerate(brokers):
            node = KafkaNode(index + 1, port, self._folder / f"node-{index + 1}", jars, self.heap_mb)
            node.configure(self._node_properties(node, controllers))
            self.nodes.append(node)
        self._format()

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        more = self.security.format_arguments() if self.security else []
        tools: list[Child] = []
        try:
            for node in self.nodes:
                with held_signals():
                    tools.append(node.format(cluster_id, more))
            for tool in tools:
                if tool.process.wait():
                    raise BrokerStartError(f"Kafka storage could not be formatted:\n{tool.log_tail()}")
        finally:
            for tool in tools:  # those that still write, when we were told to end
                tool.kill()

    def _node_properties(self, node: KafkaNode, controllers: list[int]) -> dict[str, str]:
        voters = ",".join(f"{index + 1}@{LOOPBACK}:{port}" for index, port in enumerate(controllers))
        controller, plain = controllers[node.node_id - 1], f"PLAINTEXT://{node.bootstrap}"
        secure: dict[str, str] = {}
        if self.security:
            secure = self.security.properties(plain, self.sasl_port, self.ssl_port, node.folder)
        listeners = secure.get("advertised.listeners", plain)
        return {
            **default_properties(self.size),
            "process.roles": "broker,controller",
            "node.id": str(node.node_id),
            "controller.quorum.voters": voters,
            "listeners": f"{listeners},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": plain,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(node.folder / "logs"),
            **secure,
            **self.properties,
        }

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        jars = await asyncio.to_thread(kafka_jars)
        await asyncio.to_thread(self._prepare, jars)
        self._spawn()  # here, not in the thread: the nodes would die with the thread
        await asyncio.to_thread(self.wait_ready)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def main(arguments: list[str] | None = None) -> int:
    """Run a cluster for a person."""
    parser = argparse.ArgumentParser(prog="python -m atp.brokers.kafka", description="Apache Kafka until Ctrl-C")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--heap-mb", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a server property")
    options = parser.parse_args(arguments)
    properties = dict(pair.split("=", 1) for pair in options.set)
    cluster = KafkaCluster(options.nodes, options.heap_mb, properties)
    try:
        with contextlib.suppress(KeyboardInterrupt), ended_by_signal(), cluster as kafka:
            sys.stdout.write(f"{kafka.bootstrap}\n")
            sys.stdout.flush()
            signal.pause()
    except MissingToolError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
