"""A reference of EL's packages, by a real dnf on this machine: of stand-ins that are built and listed here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.core.base.errors import Refused
from tasks.core.base.process import Say
from tasks.core.reference.bootstrap import KIND as BOOTSTRAP
from tasks.core.reference.snapshot import Snapshot
from tasks.core.site.model import Image, Reference
from tests.support.el_packages import KERNEL, make_mirror, needs_dnf
from tests.support.initrd_images import kernel_files

pytestmark = needs_dnf
PACKAGES = {
    "basesystem": {"etc/os-release": b'NAME="Stand-in EL"\n', "usr/bin/ping": b"\x7fELF"},
    "kernel": kernel_files(KERNEL, {"fs/nfs/nfs.ko": ""}),
}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mirror(tmp_path_factory.mktemp("el"), PACKAGES)


def taken(
    mirror: Path, folder: Path, suite: str, *packages: str, say: Say = lambda text: None
) -> Path:
    reference = Reference("bootstrap", suite=suite, packages=packages, mirror=f"file://{mirror}")
    snapshot = Snapshot(str(folder))
    BOOTSTRAP.take(Image("worker", reference), snapshot, say)
    return Path(snapshot.incoming)


@pytest.mark.parametrize(
    ("suite", "place"), [("el9", "var/lib/rpm"), ("10", "usr/lib/sysimage/rpm")]
)
def test_a_root_of_el_knows_its_packages_where_its_rpm_looks(
    mirror: Path, tmp_path: Path, suite: str, place: str
):
    tree = taken(mirror, tmp_path, suite, "kernel")
    assert (tree / place / "rpmdb.sqlite").is_file() and not (tree / "root/.rpmdb").exists()
    query = ["rpm", f"--root={tree}", f"--dbpath=/{place}", "-qa", "--qf=%{NAME} "]
    found = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    assert set(found.split()) == set(PACKAGES)
    assert (tree / f"boot/vmlinuz-{KERNEL}").is_file()
    assert os.getxattr(tree / "usr/bin/ping", "security.capability")


def test_a_release_whose_rpm_cannot_read_what_this_one_writes_is_told_of(
    mirror: Path, tmp_path: Path
):
    told: list[str] = []
    taken(mirror, tmp_path, "el8", say=told.append)
    assert "keeps them in sqlite, which EL 8 cannot read" in told[-1]


def test_a_package_that_is_not_there_is_named(mirror: Path, tmp_path: Path):
    with pytest.raises(Refused, match="no package kernel-rt in el9; correct `packages`"):
        taken(mirror, tmp_path, "el9", "kernel-rt")
