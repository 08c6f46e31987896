"""Written by agents/reconciliation: the latest snapshots, what is compared with them, and what drifts."""

from atp.app import lane
from atp.domain.desk import Books
from atp.domain.exceptions import SkuExceptions
from atp.domain.series import PartitionBook, WaitingSkus
from atp.domain.truth import SkuTruth

truths = lane.table("truths", row=SkuTruth)  # key: (sku,)
exceptions = lane.table("exceptions", row=SkuExceptions)  # key: (sku,)
waiting = lane.table("snapshot_waiting", row=WaitingSkus)  # key: (book, snapshot, chunk)
partition = lane.table("snapshot_progress", row=PartitionBook)  # key: (book,), one row a partition

books = Books(truths, exceptions, waiting, partition)
