"""Written by agents/ledger: movements until they are settled, and what is settled of every SKU."""

from atp.app import lane
from atp.domain.documents import History
from atp.domain.ledger_account import Account, LedgerRows, PostingChunk, Tail

tails = lane.table("ledger_tails", row=Tail)  # key: (sku,)
chunks = lane.table("ledger_chunks", row=PostingChunk)  # key: (sku, chunk)
accounts = lane.table("ledger_accounts", row=Account)  # key: (sku,)
documents = lane.spread_table("ledger_documents", row=History)  # key: (sku, book and document)

rows = LedgerRows(tails, chunks, accounts, documents)
