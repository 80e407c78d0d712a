"""Services on a root that no node can write, as an admin sees it: what is cured, and what check and the build say."""

from __future__ import annotations

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

UNITS = {
    "usr/lib/systemd/system/multi-user.target": b"[Unit]\nWants=chrony.service odd.service\n",
    "usr/lib/systemd/system/chrony.service": b"[Service]\nConfigurationDirectory=chrony\n",
    "usr/lib/systemd/system/odd.service": b"[Service]\nPIDFile=/etc/odd.pid\n",
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
    "etc/chrony/chrony.conf": b"makestep 1 3\n",
}


def test_a_service_with_a_folder_below_etc_is_cured_and_another_is_named(doit: Doit):
    folder = sample_site.reference(doit.folder / "reference", files=5)
    sample_site.fill(folder, UNITS)
    sample_site.write(doit.site, folder)
    doit()
    dropin = doit.build / "worker/root/etc/systemd/system/chrony.service.d/zz-plugnode.conf"
    assert "\nConfigurationDirectory=\n" in dropin.read_text()
    out = doit("check")
    said = "worker: odd.service: PIDFile=/etc/odd.pid cannot be written on a node; name a place "
    assert f"warning  services: {said}" in out, out
    assert "chrony" not in out


def test_an_overlay_that_mends_a_service_ends_the_warning(doit: Doit):
    folder = sample_site.reference(doit.folder / "reference", files=5)
    sample_site.fill(folder, UNITS)
    sample_site.write(doit.site, folder, overlays="mend")
    mend = doit.folder / "overlays/mend/etc/systemd/system/odd.service.d/mend.conf"
    sample_site.put(mend, b"[Service]\nPIDFile=\nPIDFile=/run/odd.pid\n")
    doit()
    assert "odd.service" not in doit("check")


@pytest.mark.parametrize("root", ["nfs", "nfs-overlay"])
def test_a_service_that_waits_for_a_disk_of_the_reference_is_named(doit: Doit, root: str):
    """Each node would wait for a minute and a half, where its root can be written as well."""
    folder = sample_site.reference(doit.folder / "reference", files=5)
    disk = b"[Mount]\nWhat=/dev/sdb1\nWhere=/data\n"
    sample_site.fill(folder, UNITS | {"etc/systemd/system/data.mount": disk})
    unit = folder / "usr/lib/systemd/system/chrony.service"
    unit.write_bytes(b"[Unit]\nRequires=data.mount\n[Service]\nExecStart=/bin/true\n")
    sample_site.write(doit.site, folder, root=root)
    doit("validate")
    doit("root")
    assert not (doit.build / "worker/root/etc/systemd/system/data.mount").exists()
    said = "worker: chrony.service: needs data.mount, which is a disk of the reference's own; "
    assert f"warning  services: {said}" in doit("check")


def test_a_reference_that_enforces_selinux_is_warned_of_until_the_nodes_do_not(doit: Doit):
    folder = sample_site.reference(doit.folder / "reference", files=5)
    sample_site.put(folder / "etc/selinux/config", b"SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    sample_site.write(doit.site, folder)
    said = "worker: SELINUX=enforcing in etc/selinux/config, but the root has no labels over NFS"
    out = doit()
    assert said in out, out
    assert f"warning  selinux: {said}" in doit("check")
    sample_site.write(doit.site, folder, cmdline="console=ttyS0 selinux=0")
    assert "SELINUX" not in doit() + doit("check")
