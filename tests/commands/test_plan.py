"""Golden plans: what an admin reads of each kind of change, byte for byte but for the digests in ids.

A small site is built and deployed once. Each change is built on top of it and its plan compared with
tests/golden/plans/<name>.txt. To accept new ones: PLANS=accept, and look at the difference in git.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tasks.core.initrd.busybox import OWN
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit
from tests.support.initrd_images import kernel_files

GOLDEN = REPOSITORY / "tests/golden/plans"
NEWER = "6.1.0-10-amd64"

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")


def busybox() -> bytes:
    """As much of one as a build looks at: the same on every machine."""
    head = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + b"\x3e\0"
    return head.ljust(64, b"\0") + b"".join(b"\0%s\0" % name.encode() for name in sorted(OWN))


def site() -> dict:
    return {
        "site": "small",
        "network": {"subnet": "172.24.10.0/24"},
        "servers": {"boot1": {"ip": "172.24.10.1"}},
        "images": {
            "worker": {
                "reference": {"path": "reference"},
                "initrd": {"base": "none"},
                "cmdline": "console=ttyS0",
                "disk": {"devices": ["/dev/vda"]},
            }
        },
        "groups": {"quiet": {"cmdline": "quiet"}},
        "nodes": {
            f"wn{n:03}": {"mac": f"52:54:00:00:00:{n:02x}", "ip": f"172.24.10.{n}"}
            for n in range(101, 109)
        },
    }


class Place:
    """A built and deployed site that a change is made to."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.doit = folder, Doit(folder)
        self.reference, self.dest = folder / "reference", folder / "dest"
        self.site = site()

    def deploy(self) -> None:
        sample_site.reference(self.reference, files=30)
        (self.reference / "bin/busybox").write_bytes(busybox())
        (self.reference / "usr/bin").mkdir()
        sample_site.put(self.reference / "usr/bin/su", b"su\n", 0o755)
        self.doit.site.write_text(json.dumps(self.site, indent=1))
        self.doit("deploy", f"destdir={self.dest}")

    def plan(self) -> str:
        self.doit.site.write_text(json.dumps(self.site, indent=1))
        running = self.doit.start("plan", f"destdir={self.dest}", stderr=subprocess.PIPE)
        out, said = running.communicate(timeout=600)
        assert running.returncode == 0, said
        return out

    @property
    def worker(self) -> dict:
        return self.site["images"]["worker"]

    @property
    def nodes(self) -> dict:
        return self.site["nodes"]

    @property
    def release(self) -> str:
        return json.loads((self.doit.build / "worker/release.json").read_text())["id"]


def new_nodes(place: Place) -> None:
    place.nodes["wn[109-111]"] = {
        "macs": [f"52:54:00:00:00:{n:02x}" for n in range(109, 112)], "ip": "172.24.10.[109-111]",
    }  # fmt: skip


def removed_nodes(place: Place) -> None:
    del place.nodes["wn103"], place.nodes["wn104"]


def changed_mac(place: Place) -> None:
    place.nodes["wn102"]["mac"] = "52:54:00:00:01:02"


def changed_addresses(place: Place) -> None:
    for number in (106, 107):
        place.nodes[f"wn{number}"]["ip"] = f"172.24.10.{number + 100}"


def root_files(place: Place) -> None:
    (place.reference / "usr/share/0/file1").write_bytes(b"longer than before\n")
    (place.reference / "usr/share/0/file2").unlink()
    sample_site.put(place.reference / "opt/soft/bin/tool", b"tool\n", 0o755)


def setuid(place: Place) -> None:
    (place.reference / "usr/bin/su").chmod(0o4755)


def owner_and_mode(place: Place) -> None:
    os.chown(place.reference / "usr/share/0/file3", 12, 34)
    (place.reference / "usr/share/0/file4").chmod(0o600)


def kernel(place: Place) -> None:
    for path, data in kernel_files(NEWER, sample_site.MODULES).items():
        sample_site.put(place.reference / path, data)


def image_arguments(place: Place) -> None:
    place.worker["cmdline"] = "console=ttyS0 quiet"


def initrd(place: Place) -> None:
    place.worker["initrd"]["compression"] = "zstd"
    place.worker["initrd"]["modules"] = ["dummy"]
    files = kernel_files(sample_site.VERSION, {**sample_site.MODULES, "drivers/net/dummy.ko": ""})
    for path, data in files.items():
        (place.reference / path).unlink(missing_ok=True)
        sample_site.put(place.reference / path, data)


def pin(place: Place) -> None:
    """A new release for all but one."""
    image_arguments(place)
    place.nodes["wn108"]["release"] = place.release


def group_arguments(place: Place) -> None:
    for number in (101, 102):
        place.nodes[f"wn{number}"]["groups"] = ["quiet"]


def new_image(place: Place) -> None:
    place.site["images"]["gpu"] = {**place.worker, "cmdline": "console=ttyS0 nouveau.modeset=0"}
    for name, node in place.nodes.items():
        node["image"] = "gpu" if name > "wn106" else "worker"


def loader(place: Place) -> None:
    (place.folder / "own.0").write_bytes(b"MZ: a loader of the site's own\n")
    place.worker["loaders"] = {"own.0": "own.0"}


def server_address(place: Place) -> None:
    place.site["servers"]["boot1"]["ip"] = "172.24.10.2"


def second_partition(place: Place) -> None:
    place.worker["disk"]["partitions"] = [
        {"mount": "/var", "size": "6000M", "fs": "ext4", "fill": "/var.ro"}
    ]


def dhcp_by_kea(place: Place) -> None:
    place.site["deploy"] = {"dhcp": "kea"}


def edited_by_hand(place: Place) -> None:
    with open(place.dest / "tftpboot/boot.ipxe", "a") as file:
        file.write("# by hand\n")


def nothing(place: Place) -> None:
    """Words that mean the same."""
    place.nodes["wn101"]["mac"] = place.nodes["wn101"]["mac"].upper().replace(":", "-")


CHANGES = [
    new_nodes, removed_nodes, changed_mac, changed_addresses, root_files, setuid,
    pytest.param(owner_and_mode, marks=root_only), kernel, image_arguments, initrd, pin, group_arguments, new_image,
    loader, server_address, second_partition, dhcp_by_kea, edited_by_hand, nothing,
]  # fmt: skip


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    place = Place(tmp_path_factory.mktemp("deployed"))
    place.deploy()
    return place.folder


@pytest.fixture
def place(deployed: pathlib.Path, tmp_path: pathlib.Path) -> Place:
    """A copy of it, build folder and all."""
    shutil.copytree(deployed, tmp_path, symlinks=True, dirs_exist_ok=True, copy_function=copy)
    return Place(tmp_path)


def copy(source: str, to: str) -> None:
    shutil.copy2(source, to, follow_symlinks=False)
    if os.geteuid() == 0:
        status = os.lstat(source)
        os.chown(to, status.st_uid, status.st_gid, follow_symlinks=False)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_told_as_its_golden_plan_tells_it(place: Place, change):
    change(place)
    text = anonymous(place.plan())
    golden = GOLDEN / f"{change.__name__}.txt"
    if os.environ.get("PLANS") == "accept":
        golden.write_text(text)
    assert text == golden.read_text()


def anonymous(text: str) -> str:
    """Ids by the order in which they appear: their digests hold what zlib and overlays are today."""
    found: dict[str, str] = {}

    def name(match: re.Match) -> str:
        kind = match[1]
        number = sum(known.startswith(kind) for known in found) + 1
        return found.setdefault(match[0], f"{kind}-<{number}>")

    text = re.sub(r"--plan=[0-9a-f]{12}", "--plan=<id>", text)
    return re.sub(r"\b(worker|gpu|site)-[0-9a-f]{12}\b", name, text)


def test_every_golden_plan_belongs_to_a_change():
    names = {getattr(change, "__name__", None) or change.values[0].__name__ for change in CHANGES}
    assert {path.stem for path in GOLDEN.iterdir()} == names
