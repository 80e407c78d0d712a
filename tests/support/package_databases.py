"""What package managers list: dpkg's databases and rpm's, of one package."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import sqlite3
import struct

OF_DEBIAN = b"Package: x\nMaintainer: Debian X Team <x@lists.debian.org>\n"  # dpkg's status


def sums_of(data: bytes, name: str) -> bytes:
    """A line of dpkg's x.md5sums."""
    return f"{hashlib.md5(data).hexdigest()}  {name}\n".encode()


def rpm_database(at: pathlib.Path, vendor: bytes, *digests: bytes) -> bytes:
    """One package as rpm writes it: a header with its vendor (tag 1011) and digests (1035)."""
    store = b"".join(word + b"\0" for word in (vendor, *digests))
    count = len(digests)
    index = struct.pack(">4I", 1011, 6, 0, 1) + struct.pack(">4I", 1035, 8, len(vendor) + 1, count)
    name = at / f"{vendor.decode()}.sqlite"
    name.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(name)) as database, database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        header = struct.pack(">II", 2, len(store)) + index + store
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (header,))
    return name.read_bytes()
