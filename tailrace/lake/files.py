"""The files of one lake table, through the very object store its Delta log uses.

Local folders and object stores take the same path: Delta's storage handler as a pyarrow file system.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow as pa
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow import fs as pafs

from tailrace.errors import LakeUnavailable, PinLost, StorageFull

_BUFFER_BYTES = 1 << 20
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


class Sink:
    """A writable file that hashes what passes through it."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._sha = hashlib.sha256()
        self.size = 0

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self._sha.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing to do: the store receives complete parts only."""

    def close(self) -> None:
        self._stream.close()

    def sha256(self) -> str:
        return self._sha.hexdigest()


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
        return Sink(self._fs.open_output_stream(path, buffer_size=_BUFFER_BYTES))

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
