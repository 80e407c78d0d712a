"""Exports on a machine of namespaces, reached by ssh: what exportfs(8) makes of a site's files, and where it fails."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest

from tasks.core.services.exports import SHARED, exports_of, file_of
from tests.support import sample_site
from tests.support.netns import Lan, doit, lan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: {site}
network: {{subnet: {subnet}}}
servers: {{boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}}}
images: {{worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}}}
nodes: {{{site}-wn1: {{mac: "ae:d6:90:bb:00:{card:02}", ip: 10.99.0.{card}}}}}
deploy: {{tftp_root: /srv/tftp-{site}, nfs_root: {nfs}, keep_days: 0}}
"""


class Server:
    """One server for several sites, none of them deployed yet."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder = net, folder
        self.reference = sample_site.reference(folder / "reference", files=5)
        self.machine = net.machine("boot1", 1, own=("/run", "/var/lib/nfs"))

    def __call__(self, command: str, site: str = "a", status: int = 0, **more: object) -> str:
        """A command on a site, which is first written: its nfs_root, subnet, and the number of its card."""
        path = self.folder / site / "site.yaml"
        path.parent.mkdir(exist_ok=True)
        values = {
            "site": site,
            "nfs": f"/srv/nfs-{site}",
            "subnet": "10.99.0.0/24",
            "card": 11,
            **more,
        }
        path.write_text(SITE.format(reference=self.reference, **values))
        done = doit(self.net, path, command)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status and "Traceback" not in out, (
            f"exit status {done.returncode}\n{out}"
        )
        return out

    def path(self, path: str) -> pathlib.Path:
        return self.machine.path(path)

    def exported(self) -> dict[str, str]:
        """What the kernel was told: folder and client -> fsid."""
        lines = self.path("/var/lib/nfs/etab").read_text().splitlines()
        found = [re.match(r"(\S+)\t([^(]+)\(.*?(?:fsid=([^,]+))?,anonuid", line) for line in lines]
        return {f"{one[1]} {one[2]}": one[3] for one in found if one}

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.path("/etc/exports.d").iterdir()}


@pytest.fixture
def server(tmp_path):
    with lan(tmp_path / "lan") as net:
        yield Server(net, tmp_path)


def test_an_export_outlives_the_shared_file_a_narrower_subnet_a_second_site_and_a_new_name(server):
    server("deploy", subnet="10.99.0.0/16")
    (fsid,) = server.exported().values()
    os.rename(server.path(file_of("a")), server.path(SHARED))  # as earlier versions left it
    server.path("/srv/data").mkdir()
    with open(server.path(SHARED), "a") as file:
        file.write("/srv/data 10.99.0.9(ro,no_subtree_check,fsid=77)\n")
    server("deploy")
    assert exports_of(server.path(SHARED).read_bytes())[0].path == "/srv/data"
    ours = {
        "/srv/nfs-a 10.99.0.0/16": fsid,
        "/srv/nfs-a 10.99.0.0/24": fsid,
        "/srv/data 10.99.0.9": "77",
    }
    assert server.exported() == ours
    server("deploy", "b", card=12)
    theirs = {key: fsid for key, fsid in server.exported().items() if key not in ours}
    assert list(theirs) == ["/srv/nfs-b 10.99.0.0/24"] and server.exported() == {**ours, **theirs}
    assert "no changes" in server("plan") and "no changes" in server("plan", "b", card=12)
    renamed = {"nfs": "/srv/nfs-a", "card": 11}
    server("deploy", "new", **renamed)
    assert server.exported() == {**ours, **theirs} and sorted(server.files()) == [
        "plugnode-b.exports",
        "plugnode-new.exports",
        "plugnode.exports",
    ]
    assert "removed /srv/nfs-a 10.99.0.0/16: exported until" in server("prune", "new", **renamed)
    del ours["/srv/nfs-a 10.99.0.0/16"]
    assert server.exported() == {**ours, **theirs}


def test_another_nfs_root_leaves_the_former_one_exported_until_prune(server):
    server("deploy")
    server("deploy", nfs="/srv/other")
    assert sorted(server.exported()) == ["/srv/nfs-a 10.99.0.0/24", "/srv/other 10.99.0.0/24"]
    server.path("/srv/nfs-a").rename(server.path("/srv/away"))  # exportfs(8) would fail at it
    server("deploy", nfs="/srv/third")
    assert sorted(server.exported()) == ["/srv/other 10.99.0.0/24", "/srv/third 10.99.0.0/24"]
    said = server("prune", nfs="/srv/third")
    assert (
        "removed /srv/other/worker-" in said
        and "removed /srv/other 10.99.0.0/24: no release is left" in said
    )
    assert sorted(server.exported()) == ["/srv/third 10.99.0.0/24"]
    assert "ok: as it was deployed" in server("verify", nfs="/srv/third")


def test_where_exportfs_fails_every_file_is_put_back_and_no_boot_file_was_touched(server):
    server("deploy")
    os.rename(server.path(file_of("a")), server.path(SHARED))
    server.path(SHARED).chmod(0o640)
    os.chown(server.path(SHARED), 0, 7)
    before, boots = server.files(), server.path("/srv/tftp-a/plugnode/worker.cfg").read_bytes()
    server.path("/etc/exports.d/zz.exports").write_text("/srv/nfs-a 10.1.1.1(bogus)\n")
    sample_site.put(server.reference / "etc/more", b"another release\n")
    assert 'unknown keyword "bogus"' in server("deploy", status=1)
    server.path("/etc/exports.d/zz.exports").unlink()
    assert server.files() == before
    status = server.path(SHARED).stat()
    assert (status.st_mode & 0o777, status.st_gid) == (0o640, 7)
    assert server.path("/srv/tftp-a/plugnode/worker.cfg").read_bytes() == boots
    server("deploy")
    assert sorted(server.files()) == ["plugnode-a.exports"]


def test_an_admins_own_line_for_the_same_folder_and_client_stands_beside_ours(server):
    server.path("/srv/nfs-a").mkdir()
    admins = server.path("/etc/exports.d/admin.exports")
    admins.write_text("/srv/nfs-a 10.99.0.0/24(ro,no_subtree_check,no_root_squash,fsid=5)\n")
    said = server("deploy")
    assert "! /etc/exports.d/admin.exports exports /srv/nfs-a to 10.99.0.0/24, too" in said, said
    both = {"/srv/nfs-a 10.99.0.0/24": "5", "/srv/nfs-a 10.99.0.0/255.255.255.0": "5"}
    assert server.exported() == both
    admins.unlink()
    server("deploy")
    assert server.exported() == {"/srv/nfs-a 10.99.0.0/24": "5"}


def test_a_server_where_a_deploy_was_killed_between_its_two_files_exports_all_and_is_finished(
    server,
):
    server("deploy")
    before = server.exported()
    server.path(SHARED).write_bytes(server.path(file_of("a")).read_bytes())
    again = subprocess.run(server.machine.inside("exportfs", "-ra"), capture_output=True, text=True)
    assert (
        "duplicated export entries" in again.stderr and server.exported() == before
    )  # as at a boot
    server("deploy")
    assert sorted(server.files()) == ["plugnode-a.exports"] and server.exported() == before


def test_what_a_killed_deploy_wrote_and_exportfs_never_heard_of_is_exported_by_the_next_one(server):
    killing = server.machine.shim("exportfs", "kill -9 $PPID")
    server("deploy", status=1)
    assert list(server.files()) == ["plugnode-a.exports"]
    assert not server.path("/srv/tftp-a/plugnode/worker.cfg").exists(), (
        "no node is told to boot from there yet"
    )
    killing.unlink()
    server("deploy")
    assert list(server.exported()) == ["/srv/nfs-a 10.99.0.0/24"]
