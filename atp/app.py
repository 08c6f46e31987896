"""The application: a Faust app, and in it two lanes that feed topics to the agents.

`sku`: facts → state → records, by SKU. `region`: what the SKU tasks tell of a region, and what operators say → modes.

    faust -A atp.worker worker        what `atp worker` runs

Stages run in this order for every batch of a partition; each is one agent in `agents/`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import faust

from atp import admin, settings, topics, wire
from atp.lane.clock import FloorClock, ReplayClock, SystemClock
from atp.lane.ports import Clock
from atp.lane.service import Lane
from atp.world import ControlWorld

STAGES = [
    "intake",
    "receipts",
    "damages",
    "stock",
    "ledger",
    "reservations",
    "reconciliation",
    "lags",
    "availability",
]
REGION_STAGES = ["partials", "arrivals", "freshness", "closing", "modes"]

config = settings.load()


class Application(faust.App):
    """A Faust app that refuses to run on topics that are not as the catalogue says."""

    async def on_first_start(self) -> None:
        """Create what is missing, check what is there."""
        await asyncio.to_thread(admin.prepare, config)
        await super().on_first_start()


app: Any = Application(
    "atp",
    broker=f"kafka://{config.bootstrap.replace(',', ';kafka://')}",
    broker_credentials=wire.faust(config),
    datadir=str(config.data_dir / "faust"),
    store="memory://",
    web_enabled=config.web_port > 0,
    web_port=config.web_port or 6066,
    web_bind=config.web_bind,
    consumer_group_instance_id=config.instance_id,
    # the embedded broker lets a first member wait for half its session; Faust's default is a minute
    broker_session_timeout=config.session_timeout_ms / 1000,
    broker_heartbeat_interval=config.session_timeout_ms / 5000,
    topic_partitions=1,
    topic_disable_leader=True,
    autodiscover=False,
)
clock: Clock = ReplayClock() if config.clock == "replay" else SystemClock()
lane = Lane(
    app,
    name="sku",
    inputs=[topic.name for topic in topics.SKU_INPUTS],
    stages=STAGES,
    settings=config.lane(),
    clock=clock,
)
region_lane = Lane(
    app,
    name="region",
    inputs=[topics.REGION_PARTIALS.name, topics.MODE_COMMANDS.name],
    stages=REGION_STAGES,
    settings=config.region_lane(),
    clock=FloorClock(clock) if isinstance(clock, ReplayClock) else clock,
)
for topic in (topics.WMS_SNAPSHOTS, topics.OMS_SNAPSHOTS):
    lane.pace(topic.name, config.snapshot_rows_at_once)
lanes = {found.name: found for found in (lane, region_lane)}
# Each lane has its own views of the control topics, and decides by nothing that its own state has not seen.
control, region_control = ControlWorld(), ControlWorld()


lane.sweep_at(lambda: config.sweep_keys_per_s_of(control.world.policies.sweep_keys_per_s))
lane.view(topics.POLICIES.name).on_change(control.watch_policies)
lane.view(topics.NODES.name).on_change(control.watch_nodes)
lane.view(topics.MODES.name).on_change(control.watch_modes)
lane.view(topics.LEDGER_DAYS.name, sweeps=False).on_change(control.watch_ledger_days)
heartbeats = lane.view(topics.HEARTBEATS.name, sweeps=False)
heartbeats.on_change(control.watch_heartbeats)

region_lane.view(topics.POLICIES.name).on_change(region_control.watch_policies)
region_lane.view(topics.NODES.name).on_change(region_control.watch_nodes)
region_lane.view(topics.HEARTBEATS.name).on_change(region_control.watch_heartbeats)

if isinstance(clock, ReplayClock):
    replay = clock

    @heartbeats.on_change
    def advance(_view: object) -> None:
        """A replay's time goes on with its sources, not with the wall."""
        replay.advance_to(max(control.world.watermarks.values(), default=0))
