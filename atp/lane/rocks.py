"""The real Store: RocksDB in raw mode, WAL on, no fsync (being behind the changelog is safe)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

from atp.lane.errors import TransientError
from atp.lane.ports import CorruptError
from atp.lane.settings import LaneSettings


class RocksStore:
    """Rows of one task."""

    def __init__(self, path: Path, options: Options) -> None:
        try:
            self._db = Rdict(str(path), options)
        except Exception as error:
            if "lock" in str(error).lower():
                raise TransientError(f"{path} is in use: {error}") from error
            raise CorruptError(str(error)) from error

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._db.get(key)  # type: ignore[no-any-return]

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """One WriteBatch."""
        batch = WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch)
        except Exception as error:
            raise TransientError(f"local store: {error}") from error

    def scan(self, start: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows in key order."""
        for key, value in self._db.items(from_key=start):
            if not key.startswith(prefix):
                return
            yield key, value

    def close(self) -> None:
        """Flush and close; without it the lock lives until the garbage collector comes by."""
        self._db.flush()
        self._db.close()


class RocksStores:
    """One directory per partition below the data directory."""

    def __init__(self, settings: LaneSettings, name: str) -> None:
        self._root = Path(settings.data_dir) / name
        self._settings = settings
        self._cache = Cache(settings.store_cache_bytes)

    def open(self, partition: int) -> RocksStore:
        """Open or create."""
        path = self._path(partition)
        path.mkdir(parents=True, exist_ok=True)
        return RocksStore(path, self._options())

    def wipe(self, partition: int) -> None:
        """Delete the directory."""
        shutil.rmtree(self._path(partition), ignore_errors=True)

    def local(self) -> list[int]:
        """Partitions with a directory."""
        if not self._root.is_dir():
            return []
        return sorted(int(path.name) for path in self._root.iterdir() if path.name.isdigit())

    def _path(self, partition: int) -> Path:
        return self._root / str(partition)

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(self._settings.store_write_buffer_bytes)
        options.set_max_write_buffer_number(3)
        options.set_max_background_jobs(2)
        options.set_max_total_wal_size(4 * self._settings.store_write_buffer_bytes)
        options.set_keep_log_file_num(2)
        options.set_max_open_files(256)
        options.set_compression_type(DBCompressionType.lz4())
        table = BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, False)
        table.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(table)
        return options
