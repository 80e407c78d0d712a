"""An image whose nodes stay at a release, and a group that goes ahead: canary, promote, rollback, hold."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

NODES = [f"{{mac: 'ae:d6:90:bb:aa:{n:02x}', ip: 172.24.10.{n}}}" for n in range(11, 15)]
CANARY = NODES[3].replace("}", ", groups: [canary]}")


class Held:
    """Four nodes, the last of them in a group of its own, deployed to a folder."""

    def __init__(self, doit: Doit, folder: pathlib.Path):
        self.doit, self.dest = doit, folder / "dest"
        self.reference = sample_site.reference(folder / "reference", files=5)
        self.site("{}")
        self("deploy")
        self.first = self.built()

    def __call__(self, *words: str, status: int = 0) -> str:
        return self.doit(*words, f"destdir={self.dest}", status=status)

    def site(self, canary: str, release: str = "") -> None:
        sample_site.write(self.doit.site, self.reference, [*NODES[:3], CANARY])
        text = self.doit.site.read_text().replace(
            "nodes:\n", f"groups: {{canary: {canary}}}\nnodes:\n"
        )
        pin = f"    release: {release}\n" if release else ""
        self.doit.site.write_text(text.replace("    overlays:", f"{pin}    overlays:"))

    def built(self) -> str:
        return json.loads((self.doit.build / "worker/release.json").read_text())["id"]

    def change(self, text: str) -> None:
        (self.reference / "usr/share/0/file0").write_text(text)

    def boots(self) -> list[str]:
        """What pxelinux gives the four nodes, by the files that are deployed."""
        tftp = self.dest / "tftpboot"
        found = []
        for number in range(11, 15):
            own = tftp / f"pxelinux.cfg/01-ae-d6-90-bb-aa-{number:02x}"
            text = (own if own.exists() else tftp / "pxelinux.cfg/default").read_text()
            include = text.partition("INCLUDE ")[2].split()[0]
            kernel = (tftp / include).read_text().partition("KERNEL ")[2].split()[0]
            found.append(kernel.removesuffix("/vmlinuz"))
        return found


@pytest.fixture
def held(doit: Doit, tmp_path: pathlib.Path) -> Held:
    return Held(doit, tmp_path)


def test_a_canary_goes_ahead_is_promoted_rolled_back_and_held(held: Held):
    old = held.first
    held.site("{release: newest}", old)
    held.change("second\n")
    plan = held("plan")
    assert "1 node at the next boot: wn004" in plan, plan
    held("deploy")
    new = held.built()
    assert held.boots() == [old, old, old, new]
    assert len(list(held.dest.glob("tftpboot/pxelinux.cfg/01-*"))) == 1, "of who goes ahead alone"
    held("rollback")
    assert held.boots() == [old] * 4, "the canary is back"
    held("deploy", "--again")
    assert held.boots() == [old, old, old, new]

    held.site("{}")
    plan = held("plan")
    assert "3 nodes at the next boot: wn[001-003]" in plan, plan
    held("deploy")
    assert held.boots() == [new] * 4
    assert not list(held.dest.glob("tftpboot/pxelinux.cfg/01-*"))
    assert not list(held.dest.glob(f"tftpboot/plugnode/{old}.*"))

    held("rollback")
    assert held.boots() == [old] * 4

    held.site("{}", new)
    held.change("third\n")
    held("deploy")
    assert held.boots() == [new] * 4 and held.built() not in (old, new)
    assert held("verify").endswith("ok: as it was deployed\n")
    assert held("plan").endswith("no changes\n")


def test_an_image_that_shall_stay_at_a_release_that_is_not_there_is_refused(held: Held):
    before = held.boots()
    held.site("{release: newest}", "worker-0123456789ab")
    plan, deploy = held("plan", status=1), held("deploy", status=1)
    assert "worker-0123456789ab" in plan and "worker-0123456789ab" in deploy
    assert held.boots() == before


def test_nodes_says_which_line_holds_a_node_and_which_lets_it_go_ahead(held: Held):
    held.site("{release: newest}", held.first)
    out = held("nodes", "--json", "--why")
    file = held.doit.site.read_text().splitlines()
    lines = {}
    for node in json.loads(out):
        (place,) = node["why"]["release"]
        lines[node["node"]] = file[int(place.rpartition(":")[2]) - 1].strip()
    assert lines["wn001"] == f"release: {held.first}"
    assert lines["wn004"] == "groups: {canary: {release: newest}}"
