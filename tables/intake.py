"""Written by agents/intake: what is known of a SKU as a whole, and the marks that tell what was seen."""

from atp.app import lane
from atp.domain.intake import SkuHead
from atp.lane.table import BaseTable

heads = lane.table("sku_heads", row=SkuHead)  # key: (sku,)
marks = lane.mark_table("marks")

lane.sweep_over(heads)


def following(after: str, limit: int, *tables: BaseTable) -> list[str]:
    """The SKUs after one in the order of the store, with their heads and their rows of other tables at hand."""
    skus = heads.keys_after(after, limit)
    if skus:
        for table in (heads, *tables):
            table.read_ahead(skus[0], skus[-1])
    return skus
