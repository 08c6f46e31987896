"""Written by agents/closing: the dates of a region's ledger."""

from atp.app import region_lane
from atp.domain.closing import RegionDays

days = region_lane.table("ledger_days", row=RegionDays)  # key: (region,)
