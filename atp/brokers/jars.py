"""Jars fetched once by Maven into a cache folder, safe against parallel and interrupted runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


class MissingToolError(RuntimeError):
    """A program we need is not installed."""


def require_tools(*names: str) -> None:
    """Raise in one line when a program is not on the PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise MissingToolError(f"not installed: {', '.join(missing)} (real Kafka needs Java 17 and Maven)")


def cache_folder() -> Path:
    """`$ATP_CACHE`, else `.cache` of a source checkout, else the user's cache."""
    if configured := os.environ.get("ATP_CACHE"):
        return Path(configured)
    if (PROJECT / "pyproject.toml").exists():
        return PROJECT / ".cache"
    return Path.home() / ".cache" / "atp"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; it ends with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def dependency_jars(pom: Path, name: str) -> Path:
    """The folder with all jars `pom` names; downloaded on first use, or again when the pom has changed."""
    require_tools("java")
    folder = cache_folder() / name
    with locked(folder.with_name(f"{name}.lock")):
        if not _is_current(folder, pom):
            require_tools("mvn")
            _download(pom, folder)
    return folder


def _is_current(folder: Path, pom: Path) -> bool:
    kept = folder / "pom.xml"
    return kept.exists() and kept.read_bytes() == pom.read_bytes()


def _download(pom: Path, folder: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={fresh}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mvn could not fetch the jars of {pom}:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
        shutil.copy(pom, fresh / "pom.xml")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
