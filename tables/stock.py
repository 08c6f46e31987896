"""Written by agents/stock: quantities per (SKU, node), and the journal behind them."""

from atp.app import lane
from atp.domain.journal import Chunk, JournalIndex
from atp.domain.stock import NodeStock, StockRows

nodes = lane.table("stock", row=NodeStock)  # key: (sku, node)
indexes = lane.table("stock_journal_indexes", row=JournalIndex)  # key: (sku, node)
chunks = lane.table("stock_journal_chunks", row=Chunk)  # key: (sku, node, chunk)

rows = StockRows(nodes, indexes, chunks)
