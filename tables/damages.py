"""Written by agents/damages: damage documents with their versions."""

from atp.app import lane
from atp.domain.documents import History

documents = lane.spread_table("damage_documents", row=History)  # key: (sku, damage)
