"""Index: what a scan remembers of a folder, in a file of the build. It saves work, and changes nothing.

Its head is all that a walk needs. A record for each folder follows, of which only those are read that are asked for.
"""

from __future__ import annotations

import marshal
import mmap
import os
import sys
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

from ..base.files import replace
from .walk import Known, Row

Attributes = tuple[tuple[str, bytes], ...]
# Of a name: status, a link's target, a device's numbers, a file's digest and verdict, attributes (None: read each time)
Item = tuple[Row, bytes, "tuple[int, int] | None", str, str, "Attributes | None"]
IndexRecord = tuple[
    int, Row, Attributes, "dict[bytes, Item]"
]  # of a folder: its file system, its own, and what is in it
IndexRecords = Mapping[bytes, "bytes | memoryview"]  # folder -> its record, marshalled

_FORMAT = f"plugnode index 6 {sys.implementation.cache_tag}\n".encode()


class Index(NamedTuple):
    known: Known = {}  # a folder of which not all is known is not in here
    records: IndexRecords = {}
    judge: str = ""  # by whose rules the verdicts in the records are
    signature: str | None = None  # of the scan that wrote it


def load_index(path: str | None, rules: str) -> Index:
    """The index in a file; an empty one where there is none, or it is damaged or of another form.

    `rules` says in words what is skipped: where that is no longer the same, nothing is known of what a folder holds.
    """
    try:
        with open(path or os.devnull, "rb") as file:
            if file.readline() != _FORMAT:
                return Index()
            head = file.read(int.from_bytes(file.read(8), "big"))
            by, judge, signature, known, sizes = marshal.loads(head)
            ends = list(accumulate(sizes, initial=file.tell()))
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, EOFError, ValueError, TypeError):
        return Index()
    if len(data) != ends[-1]:
        return Index()
    records = {folder: data[start:end] for folder, start, end in zip(known, ends, ends[1:])}
    return Index(known, records, judge, signature) if by == rules else Index({}, records, judge)


def save_index(path: str, rules: str, index: Index) -> None:
    sizes = [len(index.records[folder]) for folder in index.known]
    head = marshal.dumps((rules, index.judge, index.signature, index.known, sizes))
    records = map(index.records.__getitem__, index.known)
    replace(
        path, [_FORMAT, len(head).to_bytes(8, "big"), head, *records], mode=0o600
    )  # digests of secrets are in it
