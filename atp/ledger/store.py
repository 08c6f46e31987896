"""Where revisions lie: a folder or any fsspec target. A revision exists once its manifest does, and never changes.

date=2011-11-25/region=uk/revision-1.parquet      the rows
                          revision-1.json         the manifest, written last
                          lines-1.csv             what explains differences and adjustments
                          settlement-1.csv        units per supplier
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import msgspec

from atp.domain.ledger_close import Shortfall

_MANIFEST = re.compile(r"revision-(\d+)\.json$")
_REGION_NAME = re.compile(r"[^/\\\0]+")


class Manifest(msgspec.Struct, kw_only=True, omit_defaults=False):
    """What a revision is, of what it was made, and by what it is recognised. Instants are RFC 3339."""

    business_date: str
    region: str
    revision: int
    status: str
    time_zone: str
    starts_at: str
    ends_at: str
    closed_at: str
    rows: int
    control_totals: dict[str, int]
    completeness: float | None
    expected_records: int
    missing_records: int
    shortfalls: list[Shortfall]
    exceptions: list[dict[str, str]]
    differences: dict[str, int]
    suppliers: dict[str, dict[str, int]]
    figures_sha256: str
    adjusts: int | None
    columns: list[list[str]]
    inputs: dict[str, int]
    files: dict[str, dict[str, Any]]
    schema_version: str = "1.0"


class LedgerStoreError(Exception):
    """A target that cannot be used, or files in it that are not what they must be."""


def sha256(content: bytes) -> str:
    """The digest by which a file is recognised."""
    return hashlib.sha256(content).hexdigest()


class Store:
    """A target with revisions in it."""

    def __init__(self, url: str) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise LedgerStoreError(f"{url}: {error}") from None
        self._root = root.rstrip("/")
        self._local = "file" in _protocols(self._fs)

    def folder(self, date: str, region: str) -> str:
        """Where the revisions of a date and region lie, under the target."""
        return f"date={date}/region={region}"

    def write(self, path: str, content: bytes) -> None:
        """Write a file as a whole or not at all. Object stores put whole objects; a disk renames a finished file."""
        full = f"{self._root}/{path}"
        try:
            self._fs.makedirs(full.rpartition("/")[0], exist_ok=True)
            if self._local:
                _replace(Path(full), content)
            else:
                self._fs.pipe_file(full, content)
        except OSError as error:
            raise LedgerStoreError(f"{full}: cannot be written ({error.strerror or error})") from None

    def read(self, path: str) -> bytes:
        """The content of a file."""
        full = f"{self._root}/{path}"
        try:
            content: bytes = self._fs.cat_file(full)
        except OSError as error:
            raise LedgerStoreError(f"{full}: cannot be read ({error.strerror or 'no such file'})") from None
        return content

    def folders(self) -> list[tuple[str, str]]:
        """(date, region) of everything closed, in order."""
        dates = [name[5:] for name in self.names("") if name.startswith("date=")]
        found = [
            (date, name[7:]) for date in dates for name in self.names(f"date={date}") if name.startswith("region=")
        ]
        return sorted(place for place in found if self.revisions(*place))

    def revisions(self, date: str, region: str) -> list[int]:
        """The numbers of the revisions that exist, ascending."""
        matches = map(_MANIFEST.match, self.names(self.folder(date, region)))
        return sorted(int(match[1]) for match in matches if match)

    def manifest(self, date: str, region: str, revision: int | None = None) -> Manifest:
        """A manifest; the latest one if no number is given."""
        known = self.revisions(date, region)
        if not known or (revision is not None and revision not in known):
            wanted = "revision" if revision is None else f"revision {revision}"
            raise LedgerStoreError(f"{date}, {region}: no {wanted}; there are {known or 'none'}")
        path = f"{self.folder(date, region)}/revision-{revision or known[-1]}.json"
        try:
            return msgspec.json.decode(self.read(path), type=Manifest)
        except msgspec.MsgspecError as error:
            raise LedgerStoreError(f"{path}: no manifest ({error})") from None

    def content(self, manifest: Manifest, name: str) -> bytes:
        """A file of a revision; refused if it is not the one that the manifest names."""
        path = f"{self.folder(manifest.business_date, manifest.region)}/{name}"
        content = self.read(path)
        if sha256(content) != manifest.files[name]["sha256"]:
            raise LedgerStoreError(
                f"{path}: its SHA-256 is not that of the manifest; a closed revision never changes"
            )
        return content

    def rows_of(self, manifest: Manifest) -> bytes:
        """The Parquet file of a revision."""
        return self.content(manifest, f"revision-{manifest.revision}.parquet")

    def tidy(self, date: str, region: str) -> None:
        """Remove what an interrupted write left: it was never part of a revision."""
        folder = self.folder(date, region)
        for name in self.names(folder):
            if name.endswith(_UNFINISHED):
                with suppress(OSError):
                    self._fs.rm_file(f"{self._root}/{folder}/{name}")

    def publish(self, manifest: Manifest, files: Iterable[tuple[str, bytes]], again: bool = False) -> None:
        """Write a revision: its files, then the manifest that makes it one. `again`: more files of one exported."""
        folder = self.folder(manifest.business_date, manifest.region)
        if not again and manifest.revision in self.revisions(manifest.business_date, manifest.region):
            raise LedgerStoreError(f"{folder}: revision {manifest.revision} exists; a closed revision never changes")
        self.tidy(manifest.business_date, manifest.region)
        for name, content in files:
            manifest.files[name] = {"sha256": sha256(content), "bytes": len(content)}
            self.write(f"{folder}/{name}", content)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        self.write(f"{folder}/revision-{manifest.revision}.json", text + b"\n")

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, in order; nothing if it is not there."""
        path = f"{self._root}/{folder}".rstrip("/")
        try:
            found = self._fs.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)


_UNFINISHED = ".unfinished"


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + _UNFINISHED)
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def usable_region(region: str) -> bool:
    """Whether a region's name can be the name of a folder."""
    return bool(_REGION_NAME.fullmatch(region)) and region not in (".", "..")
