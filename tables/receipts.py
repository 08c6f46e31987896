"""Written by agents/receipts: inbound lines with their versions, and the open supply summed over them."""

from atp.app import lane
from atp.domain.receipts import ReceiptLine, ReceiptRows, SupplyBook

lines = lane.spread_table("receipt_lines", row=ReceiptLine)  # key: (sku, receipt and line)
supply = lane.table("supply", row=SupplyBook)  # key: (sku,)

rows = ReceiptRows(lines, supply)
