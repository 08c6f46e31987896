"""Columns → bytes, the same bytes for the same rows: rows by SKU, fixed encodings, nothing of the clock."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute, csv, parquet

from atp.ledger.columns import SUMMED, figures

ROWS_PER_GROUP = 1 << 18


def parquet_bytes(table: pa.Table) -> bytes:
    """A Parquet file: zstd, row groups of a fixed size, dictionaries only where a column repeats itself."""
    sink = pa.BufferOutputStream()
    parquet.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=["region", "status"],
        row_group_size=ROWS_PER_GROUP,
        store_schema=False,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_parquet(content: bytes) -> pa.Table:
    """The table of a Parquet file."""
    # without threads: a pool that still winds down when the program ends can abort it
    return parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)


def csv_bytes(table: pa.Table) -> bytes:
    """The same rows as CSV, with a header, quoted only where needed."""
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink, csv.WriteOptions(include_header=False, quoting_style="needed"))
    header = ",".join(table.schema.names).encode() + b"\n"
    content: bytes = header + sink.getvalue().to_pybytes()
    return content


def figures_sha256(columns: dict[str, Any]) -> str:
    """What rows state, whatever the revision that states it."""
    digest = hashlib.sha256()
    skus = pa.ListArray.from_arrays([0, len(columns["sku"])], columns["sku"])
    digest.update(compute.binary_join(skus, "\n")[0].as_py().encode())
    for name in SUMMED:
        digest.update(np.ascontiguousarray(columns[name], dtype="<i8").tobytes())
    return digest.hexdigest()


def columns_of(content: bytes) -> dict[str, Any]:
    """What a Parquet file states, as columns."""
    return figures(read_parquet(content))
