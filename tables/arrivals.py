"""Written by agents/arrivals: what came from each source, over all partitions."""

from atp.app import region_lane
from atp.domain.balances import SourceArrivals

arrivals = region_lane.table("arrivals", row=SourceArrivals)  # key: (region, source)
