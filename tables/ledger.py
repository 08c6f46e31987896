"""Written by agents/ledger: movements until they are settled, what is settled of every SKU, and dates under way."""

from atp.app import lane
from atp.domain.documents import History
from atp.domain.ledger_account import Account, LedgerRows, PostingChunk, Tail
from atp.domain.ledger_walk import Published, WalkBook

tails = lane.table("ledger_tails", row=Tail)  # key: (sku,)
chunks = lane.table("ledger_chunks", row=PostingChunk)  # key: (sku, chunk)
accounts = lane.table("ledger_accounts", row=Account)  # key: (sku,)
documents = lane.spread_table("ledger_documents", row=History)  # key: (sku, book and document)
walks = lane.table("ledger_walks", row=WalkBook)  # key: (book,), one row a partition
late = lane.table("ledger_late", row=Published)  # key: (sku,)

rows = LedgerRows(tails, chunks, accounts, documents)
