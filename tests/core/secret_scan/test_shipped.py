"""A search that is put off finds what one at once does, and databases may say anything."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import sqlite3
import struct
import subprocess
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.secret_scan import find
from tasks.core.secret_scan.shipped import NOTHING_LISTED, Listed, Shipped, listed_in
from tasks.core.tree.model import FILE, Tree, directory, generated_file
from tests.support.package_databases import OF_DEBIAN, rpm_database, sums_of

KEY = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=True).stdout
BYTES = [KEY, KEY + b"x", b"nothing of interest\n" * 3, b"\x7fELF" + bytes(60), b"short"]


def dpkg(listed: set[bytes]) -> Tree:
    lines = [sums_of(data, "usr/share/x/file") for data in listed]
    return {
        b"var/lib/dpkg/status": generated_file(OF_DEBIAN),
        b"var/lib/dpkg/info/x.md5sums": generated_file(b"".join(lines)),
    }


def rpm(listed: set[bytes]) -> Tree:
    digests = [hashlib.sha256(data).hexdigest().encode() for data in listed]
    with tempfile.TemporaryDirectory() as folder:
        database = rpm_database(pathlib.Path(folder), b"Rocky", b"", *digests)
    return {b"usr/lib/sysimage/rpm/rpmdb.sqlite": generated_file(database)}


@given(
    files=st.dictionaries(
        st.sampled_from(["a", "b", "open/a", "closed/a", "closed/in/b"]),
        st.tuples(st.sampled_from(BYTES), st.sampled_from([0o644, 0o600])),
    ),
    listed=st.sets(st.sampled_from(BYTES)),
    listed_then=st.sets(st.sampled_from(BYTES)),
    records=st.sampled_from([dpkg, rpm]),
)
def test_what_is_searched_later_is_judged_as_at_once(files, listed, listed_then, records):
    tree = {name: directory() for name in (b"open", b"closed/in")}
    tree[b"closed"] = directory(0o700)
    tree |= records(listed)
    for name, (data, mode) in files.items():
        tree[name.encode()] = generated_file(data, mode)
    put_off = verdicts(tree, Shipped(records(listed_then)).listed)
    at_once = find.find_secrets(tree, [], {})
    assert find.find_secrets(tree, [], put_off) == at_once


def verdicts(tree: Tree, listed: Listed) -> dict[str, str]:
    """What a reader hears of a tree's files, by digest."""
    found = {}
    for entry in tree.values():
        if entry.type == FILE:
            found[entry.digest] = find.scanner(listed).verdict(entry.data, entry.digest)
    return found


@pytest.mark.parametrize("records", [dpkg, rpm])
def test_what_a_package_lists_is_not_searched_while_it_is_read(records):
    verdict = find.scanner(Shipped(records({KEY})).listed).verdict
    for data, is_searched in ((KEY, False), (KEY + b"x", True)):
        said = verdict(data, hashlib.sha256(data).hexdigest())
        assert said.startswith("holds") == is_searched


# --- databases that nobody's package manager wrote

HEADER = struct.pack(">II", 1, 70) + struct.pack(">4I", 1011, 6, 0, 1)
HEADERS = {
    "entries without end": struct.pack(">II", 0xFFFFFFFF, 0) + HEADER,
    "strings without end": HEADER.replace(b"\0\0\0\1", b"\xff\xff\xff\xff") + b"Rocky\0",
    "digests that are none": struct.pack(">II", 2, 99)
    + struct.pack(">8I", 1011, 6, 0, 1, 1035, 8, 6, 2)
    + b"Rocky\0\xff\xfe\0Z\0",
    "nothing": b"",
    "no bytes": "text",
    "null": None,
    "a number": 7,
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_database_of_rpm_s_may_say_anything(tmp_path, header):
    path = tmp_path / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (HEADERS[header],))
    assert listed_in(str(tmp_path), None) == NOTHING_LISTED
    path.write_bytes(path.read_bytes()[:5000])
    assert listed_in(str(tmp_path), None) == NOTHING_LISTED
