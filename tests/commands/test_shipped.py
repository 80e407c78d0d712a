"""What a package ships is public as long as it is shipped, and open to all: then it is no secret."""

from __future__ import annotations

import hashlib
import os
import pathlib
import resource
import subprocess
import time

import pytest

from tests.support import sample_site
from tests.support.commands import Doit
from tests.support.package_databases import OF_DEBIAN, rpm_database, sums_of

KEY = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=True).stdout
KEY_FILE = "usr/share/x/snakeoil.key"
STATUS, SUMS = "var/lib/dpkg/status", "var/lib/dpkg/info/x.md5sums"
OF_SITE = b"Package: x\nMaintainer: Operators <ops@grid.example.org>\n"
REFUSED = f"/{KEY_FILE}: holds a private key (PEM); remove it from the reference"


@pytest.fixture
def built(doit: Doit, reference: pathlib.Path) -> Doit:
    """A reference with a key that a package of Debian ships."""
    sample_site.put(reference / STATUS, OF_DEBIAN)
    sample_site.put(reference / SUMS, sums_of(KEY, KEY_FILE))
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
    "its next version has another key": (SUMS, sums_of(KEY + b"of the next version\n", KEY_FILE)),
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
