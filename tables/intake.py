"""Written by agents/intake: what is known of a SKU as a whole, and the marks that tell what was seen."""

from atp.app import lane
from atp.domain.intake import SkuHead

heads = lane.table("sku_heads", row=SkuHead)  # key: (sku,)
marks = lane.mark_table("marks")

lane.sweep_over(heads)
