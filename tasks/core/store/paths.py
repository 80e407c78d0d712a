"""Where everything that is deployed lies on a boot server: each path spelled once."""

from __future__ import annotations

import os
from typing import NamedTuple

from ..base.errors import Refused
from ..release import ID_END

OURS = ".plugnode"  # our own folder in nfs_root
BESIDE = ".file"  # behind a release's name there: the folder of a root file that nodes mount
BOOT_FILES = "plugnode/"  # the files below tftp_root that name a release: the commit points
RELEASE_ID = rf"[A-Za-z0-9][\w.-]*{ID_END}"  # of a release, or of site data


class Targets(NamedTuple):
    """One boot server's folders. Every path that a method gives begins with `destdir`."""

    tftp: str  # absolute, as the server knows it: "/tftpboot"
    nfs: str  # "/opt/nfs_export"
    destdir: str = ""  # with it, no service of this machine is touched
    http: str = "/srv/http/plugnode"  # root files lie here, and nothing where there are none

    def at(self, path: str) -> str:
        """Where `path` of the server lies on this machine."""
        if not self.destdir:
            return path
        return os.path.abspath(self.destdir) + path

    @property
    def tftp_root(self) -> str:
        return self.at(self.tftp)

    @property
    def nfs_root(self) -> str:
        return self.at(self.nfs)

    @property
    def http_root(self) -> str:
        return self.at(self.http)

    def fetched(self, release: str, name: str = "") -> str:
        """A release's root file, or the folder that it alone lies in."""
        return os.path.join(self.http_root, release, name).rstrip("/")

    def mounted(self, release: str, name: str = "") -> str:
        """The same of one that nodes mount from here: beside its tree."""
        return os.path.join(self.nfs_root, release + BESIDE, name).rstrip("/")

    def served(self, name: str) -> str:
        """A file below tftp_root: `pxelinux.cfg/default`."""
        return os.path.join(self.tftp_root, name)

    def root(self, release: str) -> str:
        """The folder that nodes mount; it exists only once it is complete."""
        return os.path.join(self.nfs_root, release)

    def boot(self, folder: str) -> str:
        """vmlinuz and initrd.img of a release, or site.img of site data.

        It exists only once it is complete.
        """
        return os.path.join(self.tftp_root, folder)

    def kept(self, name: str) -> str:
        """What we keep about the deployed: `<release>.mtree`, `journal.jsonl`, `lock`."""
        return os.path.join(self.nfs_root, OURS, name)

    @property
    def journal(self) -> str:
        """Who deployed what, when, and how it ended."""
        return self.kept("journal.jsonl")

    @property
    def ctimes(self) -> str:
        """By which files of the roots are known to be what they were."""
        return self.kept("ctimes")

    @property
    def boot_ctimes(self) -> str:
        """The same of kernels and initrds: tftp_root can be another file system."""
        return self.kept("boot-ctimes")

    @property
    def http_ctimes(self) -> str:
        """The same of root files."""
        return self.kept("http-ctimes")

    @property
    def incoming_roots(self) -> str:
        """Where trees are written before they are published: nfs_root's file system."""
        return self.kept("incoming")

    @property
    def replaced(self) -> str:
        """Files that a repair replaced, until a prune: nodes that run may have them open."""
        return self.kept("replaced")

    @property
    def received(self) -> str:
        """Files of a root that came from another machine, until they are a release.

        They stay when a deploy is cut off.
        """
        return self.kept("received")

    @property
    def incoming_files(self) -> str:
        """Where files are written before: tftp_root's file system. Gone when nobody deploys."""
        return os.path.join(self.tftp_root, f"{OURS}.new")

    @property
    def incoming_http(self) -> str:
        """The same for root files: http_root's file system."""
        return os.path.join(self.http_root, f"{OURS}.new")

    @property
    def commit(self) -> str:
        """Files that change together, all written, on their way to their places.

        Whoever comes next ends it.
        """
        return os.path.join(self.incoming_files, "commit")


def stay_inside(targets: Targets, folder: str) -> None:
    """Raises Refused where a symlink below `destdir` would lead a write out of it."""
    if not targets.destdir:
        return
    if not folder.startswith(targets.at("/")):  # destdir itself is made by whoever names it
        return
    inside = os.path.realpath(targets.destdir)
    real = os.path.realpath(folder)
    if os.path.commonpath([inside, real]) != inside:
        outside = f"outside destdir={targets.destdir}"
        raise Refused(f"{folder} leads to {real}, {outside}; remove that symlink")
