"""prune, verify, plan and status look at what loaders look at: through symlinks, and at files that come before ours."""

from __future__ import annotations

import os
import pathlib
import time

import pytest

from tasks.core.deploy.prune import DAY, Rules, prune_server
from tasks.core.inspect import status, verify
from tasks.core.store.kept import published
from tasks.core.store.paths import Targets
from tests.support import sample_site
from tests.support.deploy_kit import AUTHOR, build, run, want


class Site:
    """The small site, deployed."""

    def __init__(self, doit, reference: pathlib.Path):
        self.doit, self.reference, self.dest = doit, reference, doit.folder / "dest"
        self.tftp = self.dest / "tftpboot"
        self("deploy")

    def __call__(self, *words: str, **options) -> str:
        return self.doit(*words, f"destdir={self.dest}", **options)

    def put(self, name: str, text: str = "LABEL mine\n") -> None:
        sample_site.put(self.tftp / name, text.encode())


@pytest.fixture
def site(built, reference) -> Site:
    return Site(built, reference)


# wn001 is 172.24.10.100 with ae:d6:90:bb:aa:1d, wn002 is 172.24.10.10 with …:1e. Apart, since
# a node with a file of its own does not get as far as its address.
BY_NODE = {
    "pxelinux.cfg/01-ae-d6-90-bb-aa-1d": "pxelinux takes it before ours: wn001",
    "pxelinux.cfg/b8945908-d6a6-41a9-611d-74a6ab80b83d": "pxelinux takes it before ours: the node of that UUID",
    "grub/grub.cfg-01-ae-d6-90-bb-aa-1e": "GRUB takes it before ours: wn002",
    "boot.ipxe-01-ae-d6-90-bb-aa-1e": "iPXE takes it before ours: wn002",
}
BY_ADDRESS = {
    "pxelinux.cfg/AC180A64": "pxelinux takes it before ours: wn001",
    "pxelinux.cfg/AC180": "pxelinux takes it before ours: wn[001-002]",
    "grub/grub.cfg-AC180A0A": "GRUB takes it before ours: wn002",
    "grub.cfg": "GRUB of EL takes it before ours: every node",
    "autoexec.ipxe": "iPXE takes it before ours: every node",
    "grub/x86_64-efi/grub.cfg": "GRUB of Debian takes it before ours: every node",
    "grub/arm64-efi/grub.cfg": "GRUB of Debian takes it before ours: every node",
}


@pytest.mark.parametrize("first", [BY_NODE, BY_ADDRESS])
def test_files_of_somebody_else_that_a_loader_takes_before_ours_are_named(site, first):
    for name in first:
        site.put(name)
    lines = [f"/tftpboot/{name}: not Plugnode's, and {taken}" for name, taken in first.items()]
    plan, status, verified = site("plan"), site("status", status=1), site("verify", status=1)
    deployed = site("deploy")
    assert "no changes\n" in plan
    for line in lines:
        assert f"  ! {line}\n" in plan
        assert f"! {line}\n" in status
        assert f"{line}\n" in verified
        assert line in deployed
    assert all((site.tftp / name).read_text() == "LABEL mine\n" for name in first), "the admin's"


def test_files_of_machines_that_are_no_nodes_of_ours_are_nobodys_business(site):
    for name in (
        "01-00-00-00-00-00-99",
        "C0A80001",
        "default.bak",
        "01-AE-D6-90-BB-AA-1D",
        "ac180a64",
    ):
        site.put(f"pxelinux.cfg/{name}")
    (site.tftp / "pxelinux.cfg/AC18").mkdir()
    assert "!" not in site("plan") and "ok: as it was deployed" in site("verify")


def test_a_node_with_a_file_of_its_own_does_not_get_as_far_as_its_address(site):
    own = ["{mac: 'ae:d6:90:bb:aa:1d', ip: 172.24.10.100, cmdline: quiet}", sample_site.NODES[1]]
    sample_site.write(site.doit.site, site.reference, own)
    site("deploy")
    site.put("pxelinux.cfg/AC180A")
    assert "takes it before ours: wn002\n" in site("verify", status=1)


def test_files_behind_a_symlink_are_looked_at(site):
    os.rename(site.tftp / "pxelinux.cfg", site.dest / "elsewhere")
    (site.tftp / "pxelinux.cfg").symlink_to(site.dest / "elsewhere")
    site.put("pxelinux.cfg/AC180A64")
    assert "takes it before ours: wn001\n" in site("verify", status=1)


# --- prune


@pytest.fixture
def targets(tmp_path: pathlib.Path) -> Targets:
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"))


@pytest.fixture
def two(tmp_path, targets) -> list[str]:
    """Two releases, one after the other, by id."""
    builds = [build(tmp_path / str(number), files=5, file2=b"%d\n" % number) for number in range(2)]
    for built in builds:
        run(targets, want(built))
    return [built.release.id for built in builds]


def behind_the_folder(tftp: pathlib.Path, other: pathlib.Path) -> pathlib.Path:
    os.rename(tftp / "pxelinux.cfg", other)
    (tftp / "pxelinux.cfg").symlink_to(other)
    return other / "01-00-00-00-00-00-99"


def behind_a_file(tftp: pathlib.Path, other: pathlib.Path) -> pathlib.Path:
    (tftp / "pxelinux.cfg/01-00-00-00-00-00-99").symlink_to(other)
    return other


def two_links_deep(tftp: pathlib.Path, other: pathlib.Path) -> pathlib.Path:
    (other / "menus").mkdir(parents=True)
    (tftp / "old").symlink_to(other)
    (other / "again").symlink_to(tftp)  # a circle
    os.rename(other / "menus", other.with_name("third"))
    (other / "menus").symlink_to(other.with_name("third"))
    return other / "menus/legacy.cfg"


@pytest.mark.parametrize("place", [behind_the_folder, behind_a_file, two_links_deep])
def test_prune_keeps_what_a_file_behind_a_symlink_names(tmp_path, targets, two, place):
    file = place(pathlib.Path(targets.tftp_root), tmp_path / "other")
    file.write_text(f"KERNEL {two[0]}/vmlinuz\n")
    prune_server(targets, Rules(0, 0, time.time() + 99 * DAY), AUTHOR)
    assert set(published(targets)) == set(two)
    file.unlink()
    prune_server(targets, Rules(0, 0, time.time() + 99 * DAY), AUTHOR)
    assert set(published(targets)) == {two[1]}


def test_verify_names_a_file_of_somebody_else_whose_release_is_gone(tmp_path, targets, two):
    prune_server(targets, Rules(0, 0, time.time() + 99 * DAY), AUTHOR)
    file = behind_the_folder(pathlib.Path(targets.tftp_root), tmp_path / "other")
    file.write_text(f"KERNEL {two[0]}/vmlinuz\n")
    assert [*map(str, verify.of_server(targets))] == [
        f"/tftpboot/pxelinux.cfg/01-00-00-00-00-00-99: names {two[0]}, which is not there"
    ]


# --- folders


@pytest.mark.parametrize("name", ["plugnode", "pxelinux.cfg", "RELEASE", "SITE", "grub"])
def test_a_folder_of_ours_that_is_closed_to_its_readers_is_a_finding_and_deploy_opens_it(
    tmp_path, targets, name
):
    goal = want(build(tmp_path / "1", files=5), files={"grub/grub.cfg": b"source\n"})
    run(targets, goal)
    name = name.replace("RELEASE", goal.releases[0].release.id).replace("SITE", goal.site_id)
    os.chmod(targets.served(name), 0o700)
    assert [*map(str, verify.of_server(targets))] == [
        f"/tftpboot/{name}: closed to its readers, TFTP servers"
    ]
    plan = run(targets, goal)
    assert plan.opened == (name,) and not list(verify.of_server(targets))
    assert not run(targets, goal).changed


def test_tftp_root_itself_is_the_admins_to_open(tmp_path, targets):
    goal = want(build(tmp_path / "1", files=5))
    run(targets, goal)
    os.chmod(targets.tftp_root, 0o750)
    line = "/tftpboot: closed to its readers, TFTP servers"
    assert [*map(str, verify.of_server(targets))] == [line]
    assert line in status.server_status(targets, time.time())["wrong"]
    assert not run(targets, goal).changed and os.stat(targets.tftp_root).st_mode & 0o777 == 0o750
