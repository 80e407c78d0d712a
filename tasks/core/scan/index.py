"""What a scan remembers of a folder, as bytes of a file: it saves work, and changes nothing.

Its head is all that a walk needs. A record for each folder follows, of which only those are read
that are asked for.
"""

from __future__ import annotations

import marshal
import mmap
import os
import sys
from collections.abc import Mapping
from itertools import accumulate
from typing import BinaryIO, NamedTuple

from ..base.files import replace
from ..tree.xattrs import Attributes
from .walk import Known, Row

# Of a name: status, a link's target, a device's numbers, a file's digest and verdict, attributes
# (None: they are read each time). A tuple, for marshal.
Item = tuple[Row, bytes, "tuple[int, int] | None", str, str, "Attributes | None"]
# Of a folder: its file system, its own status and attributes, and what is in it.
IndexRecord = tuple[int, Row, Attributes, "dict[bytes, Item]"]
IndexRecords = Mapping[bytes, "bytes | memoryview"]  # folder -> its record, marshalled

_FORMAT = f"plugnode index 6 {sys.implementation.cache_tag}\n".encode()


class Index(NamedTuple):
    known: Known = {}  # a folder of which not all is known is not in here
    records: IndexRecords = {}
    judge: str = ""  # by whose rules the verdicts in the records are
    signature: str | None = None  # of the scan that wrote it


NOTHING_KNOWN = Index()


def load_index(path: str | None, rules: str) -> Index:
    """Read the index that is all of a file; it is empty where there is none."""
    try:
        with open(path or os.devnull, "rb") as file:
            return read_index(file, rules)
    except OSError:
        return NOTHING_KNOWN


def read_index(file: BinaryIO, rules: str) -> Index:
    """Read the index that begins where a file is read; a damaged or other one is empty.

    `rules` says in words what is skipped: where that is no longer the same, nothing is known of
    what a folder holds.
    """
    try:
        head, data, start = _read(file)
        by, judge, signature, known, sizes = marshal.loads(head)
        ends = list(accumulate(sizes, initial=start))
    except (EOFError, ValueError, TypeError):
        return NOTHING_KNOWN
    if len(data) != ends[-1]:
        return NOTHING_KNOWN
    records = {folder: data[start:end] for folder, start, end in zip(known, ends, ends[1:])}
    if by != rules:
        return Index({}, records, judge)
    return Index(known, records, judge, signature)


def _read(file: BinaryIO) -> tuple[bytes, memoryview, int]:
    """Give head, all bytes, and where the records begin; ValueError where it is of another form."""
    if file.readline() != _FORMAT:
        raise ValueError
    head = file.read(int.from_bytes(file.read(8), "big"))
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return head, memoryview(mapped), file.tell()


def dump_index(rules: str, index: Index) -> list[bytes | memoryview]:
    """The bytes of an index, in pieces. Digests of secrets are in it: they are for its owner."""
    records = [index.records[folder] for folder in index.known]
    sizes = list(map(len, records))
    head = marshal.dumps((rules, index.judge, index.signature, index.known, sizes))
    return [_FORMAT, len(head).to_bytes(8, "big"), head, *records]


def save_index(path: str, rules: str, index: Index) -> None:
    """Write it for its owner alone."""
    replace(path, dump_index(rules, index), mode=0o600)
