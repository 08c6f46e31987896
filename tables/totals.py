"""Written by agents/intake: what came from each source, by hour and by number."""

from atp.app import lane
from atp.domain.totals import SourceTotals

totals = lane.table("source_totals", row=SourceTotals)  # key: (source, region)

# What came of nodes that the reference does not know yet, which may come after their facts.
homeless = lane.table("homeless_totals", row=SourceTotals)  # key: (source, node)
