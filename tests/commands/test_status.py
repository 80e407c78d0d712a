"""`doit status` in its several forms: which go together, and what scripts get."""

from __future__ import annotations

import json
import os
import pathlib
import stat

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

SYSLOG = "deploy: {syslog: rsyslog}\n"
AT = "2026-11-29T14:02:01.123456+00:00"


@pytest.fixture(scope="module")
def doit(tmp_path_factory) -> Doit:
    """A site that was deployed."""
    folder = tmp_path_factory.mktemp("status")
    made = Doit(folder)
    sample_site.write(made.site, sample_site.reference(folder / "reference", files=3))
    made.site.write_text(made.site.read_text() + SYSLOG)
    made("deploy", f"destdir={folder}/dest")
    return made


@pytest.mark.parametrize(
    "words",
    [
        "--boots --prometheus", "--boots --nodes", "--html=page --json", "--prometheus --json", "--nodes --json", "--ask --boots",
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(doit: Doit, words: str):
    out = doit("status", *words.split(), f"destdir={doit.folder}/dest", status=3)
    assert ": one of them at a time" in out and "status --" in out
    assert not pathlib.Path("page").exists()


def test_a_page_needs_a_file(doit: Doit):
    assert "--html=: name a file" in doit("status", "--html=", status=3)


def test_a_page_takes_the_place_of_a_file_alone(doit: Doit):
    """By a rename it would of a terminal and a pipe, too, /dev/stdout, say; and nobody meant a folder to be made."""
    pipe = doit.folder / "pipe"
    os.mkfifo(pipe)
    for name, why in (
        (pipe, "is no file; - is standard output"),
        (doit.folder, "is no file; - is standard output"),
        (doit.folder / "gone/page.html", "no such folder"),
    ):
        said = f"{doit.site}:1:1: status --html={name}: {why}\n"
        assert said in doit("status", f"--html={name}", status=3)
    assert stat.S_ISFIFO(pipe.stat().st_mode) and not (doit.folder / "gone").exists()
    link = doit.folder / "link.html"
    link.symlink_to("page.html")
    doit("status", f"--html={link}", f"destdir={doit.folder}/dest")
    assert link.is_symlink() and "</html>" in (doit.folder / "page.html").read_text()


def test_without_syslog_nobody_was_told_of_boots(doit: Doit):
    text = doit.site.read_text()
    doit.site.write_text(text.replace(SYSLOG, ""))
    out = doit("status", "--boots", f"destdir={doit.folder}/dest", status=3)
    doit.site.write_text(text)
    assert "no server keeps reports of boots: deploy: {syslog: rsyslog}" in out


def test_scripts_get_the_states_and_the_boots(doit: Doit):
    dest = doit.folder / "dest"
    release = json.loads((doit.build / "worker/release.json").read_text())["id"]
    states = json.loads(doit("status", "--json", f"destdir={dest}"))
    assert states["servers"]["boot1"]["current"] == {"worker": release}
    said = f"ready=20.50 release={release} stages=start:2,setup:8.5"
    line = json.dumps({"at": AT, "from": "172.24.10.100", "said": said})
    sample_site.put(dest / "var/log/plugnode/small.log", f"{line}\n".encode())
    boots = json.loads(doit("status", "--boots", "--json", f"destdir={dest}"))
    assert boots == {
        "wn001": {
            "at": "2026-11-29T14:02:01Z", "ready": True, "seconds": 20.5, "release": release, "degraded": [],
            "stages": {"kernel": 2, "start": 6.5, "setup": 12},
        }
    }  # fmt: skip
    out = doit("status", "--boots", f"destdir={dest}", "node=wn001")
    assert out.startswith(f"wn001: {release} in 20 s, slowest setup (12 s), 2026-11-29T14:02:01Z\n")
    assert doit("status", "--boots", f"destdir={dest}", "node=wn002") == "no boot known of wn002\n"
