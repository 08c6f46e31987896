"""A stock Faust agent with a table: quantities per SKU and region. `BENCH_STORE` is memory or rocksdb."""

from __future__ import annotations

import os
from typing import Any

import faust

from bench.load import FACT_TOPICS, PARTITIONS

STORE = os.environ.get("BENCH_STORE", "memory")

app = faust.App(
    f"bench-faust-{STORE}",
    broker=f"kafka://{os.environ['ATP_BOOTSTRAP']}",
    store=f"{STORE}://",
    datadir=os.environ["ATP_DATA_DIR"],
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    web_enabled=False,
)
facts = app.topic(*FACT_TOPICS, key_type=bytes, value_serializer="json")
sums = app.Table("sums", default=int, partitions=PARTITIONS)


@app.agent(facts)  # type: ignore[untyped-decorator]
async def add(stream: Any) -> None:
    """Add each fact's quantity to the sum of its SKU and region."""
    async for fact in stream:
        region = fact.get("region") or fact["node"][:2]
        quantity = fact.get("delta") or fact.get("quantity") or fact.get("open") or 0
        sums[f"{fact['sku']}|{region}"] += quantity
