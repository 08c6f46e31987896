"""Written by agents/modes: what is known of a region's modes."""

from atp.app import region_lane
from atp.domain.switching import RegionModes

regions = region_lane.table("modes", row=RegionModes)  # key: (region,)
