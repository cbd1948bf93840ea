"""A digest of a fitted estimator's content: equal in every process, and before and after it is stored.

It reads values, not memory. Two equal models may differ in a pickle: in whether two parts share an object, in the
memory order of an array, in the padding bytes of a record, in Python's or NumPy's number types. Here they are equal.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

RECORDS = frozenset({"cv_results_", "refit_time_", "_stop_words_id"})
"""Attributes that differ between equal estimators: how a search inside went, with its duration, and a memory address.
"""


def fingerprint(value: Any) -> str:
    """SHA-256 of the content. Raises TypeError for an object whose content cannot be read."""
    return _Reader().digest(value).hex()


class _Reader:
    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Any]] = {}
        """Digests by id, together with the object itself, so that its id is not reused for another object."""

    def digest(self, value: Any) -> bytes:
        if id(value) not in self._known:
            # If the object refers to itself, the inner reference finds this mark.
            self._known[id(value)] = (b"seen before", value)
            self._known[id(value)] = (self._read(value), value)
        return self._known[id(value)][0]

    def _read(self, value: Any) -> bytes:
        for kinds, read in _READERS:
            if isinstance(value, kinds):
                return read(self, value)
        if hasattr(value, "tocsr"):
            return self._sparse(value.tocsr().copy())
        if hasattr(value, "get_arrays"):
            # A tree of neighbours; its state also counts the queries that it has answered.
            return self._parts(_name(type(value)), value.get_arrays())
        return self._object(value)

    def number(self, value: Any) -> bytes:
        number = value.item() if isinstance(value, np.generic) else value
        return _hash(type(number).__name__, repr(number).encode())

    def text(self, value: str | bytes) -> bytes:
        return _hash("text", value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))

    def named(self, value: Any) -> bytes:
        return _hash("name", _name(value).encode())

    def dtype(self, value: np.dtype[Any]) -> bytes:
        return _hash("dtype", str(value).encode())

    def array(self, value: np.ndarray) -> bytes:
        if value.dtype.names:
            fields = [self.array(value[name]) for name in value.dtype.names]
            return _hash(f"record {value.shape} {value.dtype.names}", b"".join(fields))
        if value.dtype.hasobject:
            return self._parts(f"objects {value.shape}", value.ravel().tolist())
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        return _hash(f"array {little.dtype.str} {value.shape}", little.tobytes())

    def sequence(self, value: Iterable[Any]) -> bytes:
        return self._parts("sequence", value)

    def unordered(self, value: Iterable[Any]) -> bytes:
        return _hash("set", b"".join(sorted(self.digest(part) for part in value)))

    def mapping(self, value: Mapping[Any, Any]) -> bytes:
        return _hash("mapping", b"".join(sorted(self.digest(key) + self.digest(part) for key, part in value.items())))

    def slices(self, value: slice) -> bytes:
        return self._parts("slice", (value.start, value.stop, value.step))

    def partial(self, value: functools.partial[Any]) -> bytes:
        return self._parts("partial", (value.func, value.args, value.keywords))

    def random_state(self, value: np.random.RandomState) -> bytes:
        return self._parts("random state", (value.get_state(legacy=False),))

    def _sparse(self, value: Any) -> bytes:
        value.sum_duplicates()
        indices = value.indices.astype(np.int64), value.indptr.astype(np.int64)
        return self._parts(f"sparse {value.shape}", (value.data, *indices))

    def _object(self, value: Any) -> bytes:
        kind = type(value)
        if kind.__reduce__ is object.__reduce__ and hasattr(value, "__dict__"):
            attributes = {name: part for name, part in vars(value).items() if name not in RECORDS}
            return self._parts(_name(kind), (attributes,))
        made_by, arguments, *state = value.__reduce_ex__(2)[:3]
        return self._parts(_name(kind), (made_by, arguments, *state))

    def _parts(self, what: str, parts: Iterable[Any]) -> bytes:
        return _hash(what, b"".join(self.digest(part) for part in parts))


_READERS: tuple[tuple[Any, Callable[[_Reader, Any], bytes]], ...] = (
    ((str, bytes), _Reader.text),
    ((type(None), bool, int, float, complex, np.generic), _Reader.number),
    (np.ndarray, _Reader.array),
    (np.dtype, _Reader.dtype),
    (Mapping, _Reader.mapping),
    ((list, tuple, range), _Reader.sequence),
    ((set, frozenset), _Reader.unordered),
    (slice, _Reader.slices),
    (functools.partial, _Reader.partial),
    (np.random.RandomState, _Reader.random_state),
    ((type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc), _Reader.named),
)


def _hash(what: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{what}:{len(content)}:".encode() + content).digest()


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None) or ''}.{getattr(value, '__qualname__', None) or value.__name__}"
