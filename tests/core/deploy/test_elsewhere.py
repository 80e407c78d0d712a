"""Roots that another machine serves: a real NFS server, in namespaces of its own, with what was published or not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.commands import REPOSITORY
from tests.support.sample_site import put

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("ganesha.nfsd") or not shutil.which("nfs-cat"),
        reason="needs root, nfs-ganesha and libnfs-utils",
    ),
]
IDS = ("worker-000000000001", "worker-000000000002", "worker-000000000003")
# The filer has the first release whole, of the second another file, nothing of the third
ASK = """\
import sys
from types import SimpleNamespace
from tasks.core.base.errors import Refused
from tasks.core.deploy.elsewhere import must_be_served
from tasks.core.lab.network import Daemons, Lab, private_mounts, sh, start_nfs
from tasks.core.plan.state import Desired
from tasks.core.store.paths import Targets

folder = sys.argv[1]
lab = Lab("10.9.0.1", 24, folder + "/filer", "/t", folder, "dhcpd", folder, nfs_server="10.9.0.5:/vol/roots")
private_mounts()
for words in ("link set lo up", "addr add 10.9.0.5/32 dev lo"):
    sh("ip", *words.split())
start_nfs(lab, Daemons(folder))
for place in ("10.9.0.5:/vol/roots", "10.9.0.6:/vol/roots"):
    for id in sys.argv[2:]:
        for nfs in ("", "vers=4.2"):
            release = SimpleNamespace(release=SimpleNamespace(id=id, nfs=nfs))
            wanted = Desired((release,), "", b"", {}, {}, nfs_server=place)
            try:
                must_be_served(Targets("/t", folder + "/here", ""), wanted, print)
                print("same")
            except Refused as error:
                print(error)
    del sys.argv[3:]
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from tasks.core.lab.network import UNSHARE

    folder = tmp_path_factory.mktemp("filer")
    for id in IDS:
        put(folder / f"here/{id}/etc/setup.sh", b"#!/bin/sh\n")
    put(folder / f"filer/opt/nfs_export/{IDS[0]}/etc/setup.sh", b"#!/bin/sh\n")
    put(folder / f"filer/opt/nfs_export/{IDS[1]}/etc/setup.sh", b"#!/bin/sh -x\n")
    put(folder / "exports", b"/opt/nfs_export 10.9.0.0/24(ro,no_root_squash)\n")
    argv = [*UNSHARE, sys.executable, "-c", ASK, str(folder), *IDS]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_was_published_is_found_where_nodes_will_look_by_either_version(said: list[str]):
    assert said[:2] == ["same", "same"]


def test_another_file_and_none_are_refused_with_where_it_should_be_mounted(said: list[str]):
    for line in said[2:4]:
        assert (
            "nfs_server 10.9.0.5:/vol/roots does not have worker-000000000002: etc/setup.sh is another"
            in line
        )
    for line in said[4:6]:
        assert "does not have worker-000000000003: " in line and "is it what is mounted at" in line


def test_a_machine_that_serves_no_nfs_is_refused(said: list[str]):
    assert all("nfs_server 10.9.0.6:/vol/roots does not have" in line for line in said[6:])
    assert len(said) == 8
