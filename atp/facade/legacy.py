"""The legacy batch mart as a file: CSV or Parquet with the columns sku, region, channel, sellable and as_of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atp.domain.routes import MartRow

COLUMNS = ("sku", "region", "channel", "sellable", "as_of")
MartKey = tuple[str, str, str]


class MartError(Exception):
    """A mart file that cannot be used: names the file and what is wrong."""


def read_mart(path: Path) -> dict[MartKey, MartRow]:
    """The rows of a mart by (SKU, region, channel)."""
    import pyarrow as pa

    try:
        table = _table(path)
    except (OSError, pa.ArrowException) as error:
        raise MartError(f"mart {path}: {str(error).splitlines()[0]}") from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise MartError(f"mart {path}: column {missing[0]!r} is missing; needed are {', '.join(COLUMNS)}")
    sku, region, channel, sellable, as_of = (table.column(name).to_pylist() for name in COLUMNS)
    found = {}
    for at, units in enumerate(sellable):
        if not isinstance(units, int) or units < 0:
            raise MartError(f"mart {path}: row {at + 1}: sellable = {units!r}: an integer, 0 or more, is allowed")
        found[str(sku[at]), str(region[at]), str(channel[at])] = MartRow(units, str(as_of[at]))
    return found


def _table(path: Path) -> Any:
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        return parquet.read_table(path)
    import pyarrow as pa
    import pyarrow.csv as csv

    texts = {name: pa.string() for name in COLUMNS if name != "sellable"}
    return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types={**texts, "sellable": pa.int64()}))


class Mart:
    """A mart file that is replaced by its batch now and then; `refresh` takes a new one, whole or not at all."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: Mapping[MartKey, MartRow] = {}
        self.error: str | None = None
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Read the file if it has changed. The rows before stay while it cannot be read."""
        if self.path is None:
            return
        try:
            status = self.path.stat()
            if self._seen != (status.st_mtime_ns, status.st_size):
                self.rows = read_mart(self.path)
                self._seen = (status.st_mtime_ns, status.st_size)
            self.error = None
        except OSError as error:
            self.error = f"mart {self.path}: {error.strerror}"
        except MartError as error:
            self.error = str(error)
