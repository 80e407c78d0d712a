"""Packages of a root: by dpkg's file and by rpm's own program, and how two roots differ in them."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import subprocess

import pytest

from tasks.core.history.packages import compare_packages, may_differ, packages_of
from tasks.core.tree.model import Tree, generated_file

STATUS = """\
Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.0.1-1
Conffiles:
 /etc/ssl/openssl.cnf 0123
Description: of no
 Version: here

Package: libc6
Status: hold ok installed
Architecture: amd64
Version: 2.36

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.35

Package: gone
Status: deinstall ok config-files
Version: 1

Package: broken
Status: install reinstreq half-installed
Version: 1
"""


@pytest.mark.parametrize("place", ["var/lib/dpkg", "var.ro/lib/dpkg"])
def test_dpkg_says_what_is_installed_and_no_more(tmp_path: pathlib.Path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "status").write_text(STATUS)
    assert packages_of(str(tmp_path)) == {"libc6": "2.35, 2.36", "openssl": "3.0.1-1"}


def test_a_data_base_is_looked_at_in_the_root_alone(tmp_path: pathlib.Path):
    (tmp_path / "dpkg").mkdir()
    (tmp_path / "dpkg/status").write_text(STATUS)
    (tmp_path / "root/var/lib").mkdir(parents=True)
    (tmp_path / "root/var/lib/dpkg").symlink_to(tmp_path / "dpkg")
    assert packages_of(str(tmp_path / "root")) is None


def packed(folder: pathlib.Path, name: str, version: str) -> str:
    """A package without files."""
    spec = folder / f"{name}.spec"
    spec.write_text(
        f"Name: {name}\nVersion: {version}\nRelease: 1\nEpoch: 2\nSummary: -\nLicense: -\n"
        "BuildArch: noarch\n%description\n-\n%files\n"
    )
    words = ["--define", f"_topdir {folder}", "-bb", spec]
    subprocess.run(["rpmbuild", "--quiet", *words], check=True, capture_output=True)
    return str(folder / f"RPMS/noarch/{name}-{version}-1.noarch.rpm")


def test_rpm_says_it_of_its_own_and_leaves_it_as_it_was(tmp_path: pathlib.Path):
    place = tmp_path / "root/usr/lib/sysimage/rpm"
    place.mkdir(parents=True)
    for version in ("1.0", "1.1"):
        file = packed(tmp_path, "kernel", version)
        install = ["rpm", "--dbpath", place, "-i", "--justdb", "--nodeps", "--oldpackage", file]
        subprocess.run(install, check=True)
    before = sorted((path.name, path.read_bytes()) for path in place.iterdir())
    assert packages_of(str(tmp_path / "root")) == {"kernel": "2:1.0-1, 2:1.1-1"}
    assert sorted((path.name, path.read_bytes()) for path in place.iterdir()) == before


def berkeley(database: pathlib.Path) -> str:
    """What db_load makes a Berkeley DB of: the headers of a data base, by number as EL 5 to 8 keep them."""
    rows = sqlite3.connect(database).execute("select hnum, blob from Packages").fetchall()
    pairs = [(0, len(rows).to_bytes(4, "little")), *rows]
    lines = [f" {key.to_bytes(4, 'little').hex()}\n {held.hex()}\n" for key, held in pairs]
    return f"VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n{''.join(lines)}DATA=END\n"


def test_rpm_reads_what_el_8_kept_in_berkeley_db(tmp_path: pathlib.Path):
    install = ["rpm", "--dbpath", tmp_path / "db", "-i", "--justdb", "--nodeps"]
    subprocess.run([*install, packed(tmp_path, "kernel", "1.0")], check=True)
    place = tmp_path / "root/var.ro/lib/rpm"
    place.mkdir(parents=True)
    load = ["db_load", "-t", "hash", place / "Packages"]
    text = berkeley(tmp_path / "db/rpmdb.sqlite")
    subprocess.run(load, input=text, text=True, check=True)
    assert packages_of(str(tmp_path / "root")) == {"kernel": "2:1.0-1"}


def test_a_data_base_that_rpm_cannot_read_is_not_known(tmp_path: pathlib.Path):
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm/Packages").write_bytes(b"some data base")
    assert packages_of(str(tmp_path)) is None


def test_without_the_program_rpm_it_is_not_known(tmp_path: pathlib.Path, monkeypatch):
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm/Packages").write_bytes(b"some data base")
    monkeypatch.setenv("PATH", os.devnull)
    assert packages_of(str(tmp_path)) is None


def test_what_was_added_removed_and_changed_makes_the_one_of_the_other():
    before = {"a": "1", "b": "1", "c": "1"}
    after = {"b": "2", "c": "1", "d": "1"}
    found = compare_packages(before, after)
    assert found == {"added": {"d": "1"}, "removed": {"a": "1"}, "changed": {"b": ["1", "2"]}}
    assert compare_packages(after, after) == {"added": {}, "removed": {}, "changed": {}}
    assert compare_packages(None, after) is None


def test_packages_are_read_only_where_their_data_base_differs():
    def root(status: bytes) -> Tree:
        return {b"var.ro/lib/dpkg/status": generated_file(status), b"etc/x": generated_file(status)}

    assert may_differ(root(b"1"), root(b"2")) and may_differ({}, root(b"1"))
    assert not may_differ(root(b"1"), root(b"1"))
    assert not may_differ({b"etc/rpm": generated_file(b"1")}, {})
