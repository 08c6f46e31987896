"""Written by agents/freshness: how fresh a region was."""

from atp.app import region_lane
from atp.domain.slo import RegionFreshness

freshness = region_lane.table("freshness", row=RegionFreshness)  # key: (region,)
