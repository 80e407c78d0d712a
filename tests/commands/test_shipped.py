"""What a package ships is public as long as it is shipped, and open to all: then it is no secret."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import resource
import sqlite3
import struct
import subprocess
import tempfile
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.secret_scan import find
from tasks.core.secret_scan.shipped import NOTHING_LISTED, Listed, Shipped, listed_in
from tasks.core.tree.model import FILE, Tree, directory, generated_file
from tests.support import sample_site
from tests.support.commands import Doit
from tests.support.rpm_database import rpm_database

KEY = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=True).stdout
KEY_FILE = "usr/share/x/snakeoil.key"
STATUS, SUMS = "var/lib/dpkg/status", "var/lib/dpkg/info/x.md5sums"
OF_DEBIAN = b"Package: x\nMaintainer: Debian X Team <x@lists.debian.org>\n"
OF_SITE = b"Package: x\nMaintainer: Operators <ops@grid.example.org>\n"
REFUSED = f"/{KEY_FILE}: holds a private key (PEM); remove it from the reference"


def sums(data: bytes) -> bytes:
    return f"{hashlib.md5(data).hexdigest()}  {KEY_FILE}\n".encode()


@pytest.fixture
def built(doit: Doit, reference: pathlib.Path) -> Doit:
    """A reference with a key that a package of Debian ships."""
    sample_site.put(reference / STATUS, OF_DEBIAN)
    sample_site.put(reference / SUMS, sums(KEY))
    sample_site.put(reference / KEY_FILE, KEY)
    sample_site.write(doit.site, reference)
    doit()
    return doit


def anew(doit: Doit) -> Doit:
    """The same site, of which nothing was built."""
    other = Doit(doit.folder)
    other.build = doit.folder / f"build-{time.monotonic_ns()}"
    return other


def test_a_key_that_a_distribution_ships_passes_the_first_time_and_each_time(built, reference):
    assert (built.build / "worker/root" / KEY_FILE).read_bytes() == KEY
    sample_site.put(reference / "opt/more", b"a file more\n")
    built()
    sample_site.put(reference / "usr/share/0/file7", b"other bytes alone\n")
    built()


CHANGED = {
    "the package is another's": (STATUS, OF_SITE),
    "its next version has another key": (SUMS, sums(KEY + b"of the next version\n")),
    "it lists nothing": (SUMS, b""),
}


@pytest.mark.parametrize("change", CHANGED)
def test_it_is_refused_when_no_distribution_ships_it_any_more(built, reference, change):
    path, data = CHANGED[change]
    (reference / path).write_bytes(data)
    for doit in (built, anew(built)):
        assert REFUSED in doit(status=3)


@pytest.mark.parametrize(
    "vendor, is_listed, status", [(b"Rocky", True, 0), (b"Rocky", False, 3), (b"Our own", True, 3)]
)
def test_a_key_of_rpm_s_packages_passes_where_they_list_it(
    doit, reference, vendor, is_listed, status
):
    listed = KEY if is_listed else KEY + b"of another version\n"
    digest = hashlib.sha256(listed).hexdigest().encode()
    database = rpm_database(doit.folder, vendor, b"", digest)
    sample_site.put(reference / "var/lib/rpm/rpmdb.sqlite", database)
    sample_site.put(reference / KEY_FILE, KEY)
    sample_site.write(doit.site, reference)
    assert (REFUSED in doit(status=status)) == bool(status)


def test_it_is_refused_when_it_is_closed_to_others(built, reference):
    (reference / KEY_FILE).chmod(0o600)
    assert REFUSED in built(status=3)
    (reference / KEY_FILE).chmod(0o644)
    built()
    (reference / KEY_FILE).parent.chmod(0o750)
    for doit in (built, anew(built)):
        assert REFUSED in doit(status=3)


def test_it_is_refused_where_the_lists_of_packages_are_left_out(built):
    text = built.site.read_text()
    built.site.write_text(
        text.replace("    overlays:", "    exclude: [/var/lib/dpkg]\n    overlays:")
    )
    for doit in (built, anew(built)):
        assert REFUSED in doit(status=3)


def test_a_list_of_packages_of_holes_is_not_read_into_memory(built, reference):
    os.truncate(reference / STATUS, 3 << 30)
    assert REFUSED in limited(built) and REFUSED in limited(anew(built))


def limited(doit: Doit) -> str:
    """With less memory than that list has bytes."""
    return doit(status=3, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30,) * 2))


def test_a_list_of_packages_that_is_none_is_nothing_to_wait_for(built, reference):
    (reference / SUMS).unlink()
    os.mkfifo(reference / SUMS)
    assert REFUSED in anew(built)(status=3)


# --- a search that is put off finds what one at once does

BYTES = [KEY, KEY + b"x", b"nothing of interest\n" * 3, b"\x7fELF" + bytes(60), b"short"]


@given(
    files=st.dictionaries(
        st.sampled_from(["a", "b", "open/a", "closed/a", "closed/in/b"]),
        st.tuples(st.sampled_from(BYTES), st.sampled_from([0o644, 0o600])),
    ),
    listed=st.sets(st.sampled_from(BYTES)),
    listed_then=st.sets(st.sampled_from(BYTES)),
    records=st.deferred(lambda: st.sampled_from([dpkg, rpm])),
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


def dpkg(listed: set[bytes]) -> Tree:
    return {
        STATUS.encode(): generated_file(OF_DEBIAN),
        SUMS.encode(): generated_file(b"".join(map(sums, listed))),
    }


def rpm(listed: set[bytes]) -> Tree:
    digests = [hashlib.sha256(data).hexdigest().encode() for data in listed]
    with tempfile.TemporaryDirectory() as folder:
        database = rpm_database(pathlib.Path(folder), b"Rocky", b"", *digests)
    return {b"usr/lib/sysimage/rpm/rpmdb.sqlite": generated_file(database)}


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
