"""Packages and texts of /etc that change: in a plan, in a deploy, and between any two releases."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


def installed(**packages: str) -> bytes:
    """dpkg's file."""
    stanzas = [
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n"
        for name, version in packages.items()
    ]
    return "\n".join(stanzas).encode()


def change(reference: pathlib.Path, motd: bytes, **packages: str) -> None:
    sample_site.put(reference / "var/lib/dpkg/status", installed(**packages))
    sample_site.put(reference / "etc/motd", motd)
    sample_site.put(reference / "etc/closed.conf", motd, 0o600)


CHANGED = """\
~ 1 package: openssl 3.0.1 -> 3.0.2
+ 1 package: new 2
- 1 package: old 1
~ /etc/closed.conf: not shown: others may not read it
~ /etc/motd
  @@ -1 +1 @@
  -one
  +two
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Doit:
    """A site of which one release is deployed, and another built, planned and deployed."""
    doit = Doit(tmp_path_factory.mktemp("history"))
    reference = sample_site.reference(doit.folder / "reference", files=3)
    change(reference, b"one\n", openssl="3.0.1", libc6="2.36", old="1")
    sample_site.write(doit.site, reference)
    doit("deploy", dest(doit))
    change(reference, b"two\n", openssl="3.0.2", libc6="2.36", new="2")
    return doit


def dest(doit: Doit) -> str:
    return f"destdir={doit.folder}/dest"


def test_a_plan_tells_it_and_the_report_too(place: Doit):
    shown = place("plan", dest(place))
    assert re.sub("(?m)^", "      ", CHANGED).rstrip(" ") in shown
    page = (place.build / "report.html").read_text()
    assert ">openssl</th>" in page and "3.0.2" in page and "+two" in page
    assert "closed.conf</code> differs; not shown" in page
    assert "<b>3</b> packages differ" in page


def test_a_plan_against_another_build_and_one_for_scripts_tell_all_of_it(place: Doit):
    said = place("plan", f"--against={place.folder}/dest", "--json")
    plan = json.loads(said[said.index("{\n") :])
    (told,) = plan["history"]
    assert told["packages"] == {
        "added": {"new": "2"},
        "removed": {"old": "1"},
        "changed": {"openssl": ["3.0.1", "3.0.2"]},
    }
    assert [text["path"] for text in told["texts"]] == ["etc/closed.conf", "etc/motd"]


def test_any_two_releases_of_a_server_are_compared(place: Doit):
    place("deploy", dest(place))
    held = place.folder / "dest/opt/nfs_export"
    older, newer = sorted(held.glob("worker-*"), key=lambda path: path.stat().st_ctime)
    said = place("status", f"{older.name}..{newer.name}", dest(place))
    assert said == "~ root: 4 paths: 0 added, 0 removed, 4 changed, +0 B\n" + CHANGED
    back = place("status", f"{newer.name}..{older.name}", dest(place))
    assert "~ 1 package: openssl 3.0.2 -> 3.0.1\n" in back and "+ 1 package: old 1\n" in back
    same = place("status", f"{newer.name}..{newer.name}", dest(place))
    assert same == "root: the same\n"


def test_a_plan_tells_it_of_releases_that_nodes_move_between_on_the_server_and_goes_on_without(
    place: Doit,
):
    before = place.site.read_text()
    held = place.folder / "dest/opt/nfs_export"
    older = min(held.glob("worker-*"), key=lambda path: path.stat().st_ctime)
    place.site.write_text(
        before.replace("    cmdline:", f"    release: {older.name}\n    cmdline:")
    )
    said = place("plan", dest(place))
    assert "~ 1 package: openssl 3.0.2 -> 3.0.1\n" in said
    with open(held / f".plugnode/{older.name}.mtree", "a") as file:
        file.write("damaged\n")
    said = place("plan", dest(place))
    assert "-> " + older.name in said and "openssl" not in said
    place.site.write_text(before)


@pytest.mark.parametrize(
    "words, status, why",
    [
        (["..worker-0123456789ab"], 3, "name two releases"),
        (["worker-0123456789ab.."], 3, "name two releases"),
        (["worker-0123456789ab..worker-0123456789ac", "plan"], 3, "name two releases"),
        (["worker-0123456789ab..worker-0123456789ac"], 1, "is not on the server; it has worker-"),
        (["..", "--nodes"], 3, "no such option"),
    ],
)
def test_two_that_are_not_there_are_one_line(place: Doit, words, status, why):
    assert why in place("status", *words, dest(place), status=status)
