"""Written by agents/availability: what was last published per (SKU, region)."""

from atp.app import lane
from atp.domain.record import Published

published = lane.table("availability", row=Published)  # key: (sku, region)
