"""Tables: what agents read and write inside `with batch:`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from atp.lane.errors import NotInBatchError
from atp.lane.keys import Key, decode, table_id
from atp.lane.ports import Store
from atp.lane.rows import Rows

R = TypeVar("R")


class _Unbound(dict[Key, Any]):
    """Stands in for the rows while no batch is open."""

    def get(self, key: Key, default: Any = None) -> Any:
        raise NotInBatchError("lane tables can only be used inside `with batch:`")

    def __setitem__(self, key: Key, row: Any) -> None:
        raise NotInBatchError("lane tables can only be used inside `with batch:`")


UNBOUND = _Unbound()


class BaseTable:
    """A named set of rows; its id in keys depends on the name alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.id = table_id(name)
        self._rows: Rows | None = None

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """How a stored row is encoded and decoded."""
        raise NotImplementedError

    def open(self, store: Store, cached_rows: int) -> Rows:
        """Rows of this table for one task."""
        return Rows(self.id, store, *self.codec(), cached_rows)

    def bind(self, rows: Rows) -> None:
        """Let agents work on the rows of one task."""
        self._rows = rows

    def unbind(self) -> None:
        """The batch is over."""
        self._rows = None

    def before_commit(self, rows: Rows) -> None:
        """Last changes before the dirty rows of a task are encoded."""

    def read_ahead(self, first: str, last: str) -> None:
        """Have the rows of all record keys from one to another at hand, to walk them in the order of the store."""
        self.rows.read_ahead(first, last)

    @property
    def rows(self) -> Rows:
        """Rows of the open batch."""
        if self._rows is None:
            raise NotInBatchError(f"table {self.name!r} can only be used inside `with batch:`")
        return self._rows


class Table(BaseTable, Generic[R]):
    """A mapping of tuple keys to rows; the first part of a key is the record key.

    A row is loaded, decoded, encoded and written once per commit. Change it in place, then assign it.
    """

    def __init__(self, name: str, row: type[R]) -> None:
        super().__init__(name)
        self.row = row
        self._hot: dict[Key, Any] = UNBOUND
        self._dirty: dict[Key, None] = UNBOUND

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """MessagePack of the declared type."""
        return msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(self.row).decode

    def bind(self, rows: Rows) -> None:
        """Let agents work on the rows of one task."""
        self._rows = rows
        self._hot = rows.hot
        self._dirty = rows.dirty

    def unbind(self) -> None:
        """The batch is over."""
        self._rows = None
        self._hot = UNBOUND
        self._dirty = UNBOUND

    def get(self, key: Key, default: Any = None) -> Any:
        """The row, or the default."""
        row = self._hot.get(key)
        if row is None:
            row = self._rows.load(key)  # type: ignore[union-attr] # unbound raises one line above
            if row is None:
                return default
        return row

    def __getitem__(self, key: Key) -> R:
        row = self._hot.get(key)
        if row is None:
            row = self._rows.load(key)  # type: ignore[union-attr]
            if row is None:
                raise KeyError(key)
        return row  # type: ignore[no-any-return]

    def __setitem__(self, key: Key, row: R) -> None:
        self._hot[key] = row
        self._dirty[key] = None

    def __delitem__(self, key: Key) -> None:
        if self.get(key) is None:
            raise KeyError(key)
        self._hot[key] = None
        self._dirty[key] = None

    def __contains__(self, key: Key) -> bool:
        return self.get(key) is not None

    def keys_after(self, first: str, limit: int) -> list[str]:
        """Record keys of committed rows that follow a record key, in the order of the store; it need not exist."""
        return self.rows.keys_after(first, limit)

    def scan(self, prefix: Key = ()) -> Iterator[tuple[Key, R]]:
        """Committed rows under a key prefix, decoded afresh: what this batch changed is not seen."""
        for key, row in self.rows.scan(prefix):
            yield decode(key), row
