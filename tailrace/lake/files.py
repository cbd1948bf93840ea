"""The files of one lake table, through the very object store its Delta log uses.

Local folders and object stores take the same path: Delta's storage handler as a pyarrow file system.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

import pyarrow as pa
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs as pafs

from tailrace.errors import LakeUnavailable, PinLost, StorageFull

_PIECE_BYTES = 1 << 19
"""Bytes that are handed to an object store at once. delta-rs takes no piece as large as the buffer before it."""
_FULL = re.compile(r"no space left|os error 28\b|os error 122\b|quota ?exceeded|disk quota", re.IGNORECASE)
_COLOR = re.compile(r"\x1b\[\d+m")


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Translate what the object store raises: StorageFull or LakeUnavailable, saying what was being done."""
    try:
        yield
    except (OSError, DeltaError) as error:
        cause = reason(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(cause):
            raise StorageFull(f"{doing}: the storage is full, nothing was published. Free space and rerun.") from error
        raise LakeUnavailable(f"{doing}: the lake's storage failed ({cause}). Check it and retry.") from error


@contextmanager
def content_errors(path: str, doing: str) -> Iterator[None]:
    """Translate what reading a file's content raises: PinLost, naming the file, if it is corrupt."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last: of a damaged column name
        raise PinLost(
            f"{doing}: {path} is corrupt ({reason(error)}). Restore it from a copy, or run its day again."
        ) from error


def reason(error: BaseException) -> str:
    """The error's message on one line, without terminal colours."""
    return " ".join(_COLOR.sub("", str(error)).split())


@dataclass(frozen=True)
class StoredFile:
    """A file as the store lists it; `path` is relative to the table."""

    path: str
    size: int
    modified: dt.datetime


class _Writable(Protocol):
    """A file that appears when it is closed."""

    @property
    def closed(self) -> bool: ...

    def write(self, data: memoryview) -> Any: ...

    def close(self) -> Any: ...


class _LocalFile:
    """A file of this machine, written without delta-rs, which waits for threads of its own.

    Until it is closed it has the name `<name>#<digits>`, as delta-rs names such files: no listing shows it, and
    `LakeUpkeep.vacuum` deletes what killed writers left.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(f"{path.name}#{uuid.uuid4().int}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("xb")

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: memoryview) -> None:
        self._file.write(data)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            self._partial.unlink(missing_ok=True)
            raise
        self._partial.replace(self._path)


class _StoreFile:
    """A file of an object store, written through delta-rs."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def write(self, data: memoryview) -> None:
        for start in range(0, len(data), _PIECE_BYTES):
            self._stream.write(data[start : start + _PIECE_BYTES])

    def close(self) -> None:
        self._stream.close()


class Sink:
    """A writable file that hashes what passes through it, in a thread beside the one that writes."""

    def __init__(self, file: _Writable) -> None:
        self._file = file
        self._sha = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._hashing: Future[None] | None = None
        self.size = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes | pa.Buffer) -> int:
        view = memoryview(data)
        self._wait()
        self._hashing = self._pool.submit(self._sha.update, view)
        self._file.write(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing to do: the store receives complete parts only."""

    def close(self) -> None:
        self._pool.shutdown()
        self._file.close()

    def sha256(self) -> str:
        """Of all that was written."""
        self._wait()
        return self._sha.hexdigest()

    def _wait(self) -> None:
        if self._hashing is not None:
            self._hashing.result()


class Tap:
    """A readable file that translates the store's failures itself.

    pyarrow raises OSError both for the store's failures and for corrupt content. Arrow passes the translated errors
    on as they are, so any other error from decoding means corrupt content.
    """

    def __init__(self, stream: pa.NativeFile, doing: str) -> None:
        self._stream, self._doing = stream, doing

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def read(self, size: int = -1) -> bytes:
        with storage_errors(self._doing):
            return bytes(self._stream.read(None if size < 0 else size))

    def read_buffer(self, size: int = -1) -> pa.Buffer:
        """Arrow prefers this to `read`: it saves a copy of every byte."""
        with storage_errors(self._doing):
            return self._stream.read_buffer(None if size < 0 else size)

    def size(self) -> int:
        """Bytes."""
        with storage_errors(self._doing):
            return int(self._stream.size())

    def seek(self, offset: int, whence: int = 0) -> int:
        with storage_errors(self._doing):
            return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def close(self) -> None:
        self._stream.close()


class TableFiles:
    """Reading, writing, listing and deleting the files under a table's root."""

    def __init__(self, uri: str, options: Mapping[str, str] | None) -> None:
        self._local = local_folder(uri)
        self._fs = pafs.PyFileSystem(DeltaStorageHandler(uri, dict(options) if options else None))

    def create(self, path: str) -> Sink:
        """A new file; it appears when the sink is closed."""
        if self._local is not None:
            return Sink(_LocalFile(self._local / path))
        return Sink(_StoreFile(self._fs.open_output_stream(path, buffer_size=2 * _PIECE_BYTES)))

    def open(self, path: str) -> pa.NativeFile:
        """Raises FileNotFoundError.

        A file of this machine is read without the store's detour through Python, which costs half as much again.
        """
        if self._local is not None and (file := self._local / path).is_file():
            return pa.OSFile(str(file))
        return self._fs.open_input_file(path)

    def tap(self, path: str, doing: str) -> Tap:
        """A file to decode. Raises PinLost if it is gone, LakeUnavailable."""
        with storage_errors(doing):
            try:
                return Tap(self.open(path), doing)
            except FileNotFoundError as error:
                raise PinLost(f"{doing}: {path} is gone. Restore it from a copy, or run its day again.") from error

    def put(self, path: str, data: bytes) -> None:
        sink = self.create(path)
        sink.write(data)
        sink.close()

    def get(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        with self.open(path) as file:
            return bytes(file.read())

    def sha256(self, path: str) -> str:
        """Raises FileNotFoundError."""
        if self._local is not None and (local := self._local / path).is_file():
            with local.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        sha = hashlib.sha256()
        with self.open(path) as file:
            while (chunk := file.read_buffer(4 << 20)).size:
                sha.update(chunk)
        return sha.hexdigest()

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """Bytes of each path that exists."""
        infos = self._fs.get_file_info(list(paths))
        return {info.path: info.size for info in infos if info.type == pafs.FileType.File}

    def list(self, folder: str = "") -> list[StoredFile]:
        """Every file below a folder; none if there is no such folder."""
        selector = pafs.FileSelector(folder, allow_not_found=True, recursive=True)
        found = self._fs.get_file_info(selector)
        return [StoredFile(i.path, i.size, i.mtime) for i in found if i.type == pafs.FileType.File]

    def delete(self, paths: Iterable[str]) -> int:
        """Delete files; the number of those that existed."""
        deleted = 0
        for path in paths:
            try:
                self._fs.delete_file(path)
                deleted += 1
            except FileNotFoundError:
                continue
        return deleted


def local_folder(uri: str) -> Path | None:
    """The folder a URI names on this machine, None if it names an object store."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in uri else Path(uri).absolute()
