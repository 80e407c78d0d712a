"""check asks for the mount options that keep a server's local users out of the roots of nodes."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support import sample_site

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


def test_check_names_the_mount_options_that_nfs_root_lacks(doit, reference):
    nfs = doit.folder / "nfs"
    nfs.mkdir()
    sample_site.write(doit.site, reference)
    with doit.site.open("a") as file:
        file.write(f"deploy: {{nfs_root: {nfs}, tftp_root: {doit.folder}/tftp}}\n")
    assert "with nosuid" not in doit("check"), "no file system of its own"
    subprocess.run(["mount", "-t", "tmpfs", "none", nfs], check=True)
    try:
        for options, asked in {"suid,dev": "nosuid,nodev", "nosuid,dev": "nodev"}.items():
            subprocess.run(["mount", "-o", f"remount,{options}", nfs], check=True)
            out = doit("check")
            assert f"warning  deploy.nfs_root: mount {nfs} with {asked}: setuid" in out, out
        subprocess.run(["mount", "-o", "remount,nosuid,nodev", nfs], check=True)
        assert f"deploy.nfs_root: chmod 0700 {nfs}: local users can enter it" in doit("check")
        nfs.chmod(0o700)
        assert "deploy.nfs_root" not in doit("check")
        subprocess.run(["mount", "-o", "remount,suid,dev", nfs], check=True)
        assert "with nosuid" not in doit("check", f"destdir={doit.folder}"), "no service is touched"
    finally:
        subprocess.run(["umount", nfs], check=True)
