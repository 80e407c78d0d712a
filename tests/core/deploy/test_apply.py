"""Deploy: what nodes are served is the old or the new, whatever happens."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import time

import pytest

from tasks.core.base.errors import Refused
from tasks.core.deploy.prune import Rules, prune_server
from tasks.core.desired.build import site_id
from tasks.core.inspect import verify
from tasks.core.plan import decide
from tasks.core.plan.actual import read_actual
from tasks.core.plan.model import Plan
from tasks.core.store.kept import damaged, published
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import NODES, build, finish, run, served, snapshot, want

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes owners and devices")


@pytest.fixture
def targets(tmp_path: pathlib.Path) -> Targets:
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"))


def plan(targets: Targets, wanted) -> Plan:
    return decide.plan(read_actual(targets, wanted), wanted)


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_fresh_deploy_puts_everything_where_the_design_says(tmp_path, targets):
    built = build(tmp_path / "build")
    run(targets, want(built, loaders={"pxelinux.0": str(tmp_path / "build/worker/vmlinuz")}))
    id, dest = built.release.id, tmp_path / "dest"
    assert (dest / f"opt/nfs_export/{id}/usr/lib0/file7").read_bytes() == b"7\n" * 50
    assert sorted(os.listdir(dest / "opt/nfs_export/.plugnode")) == sorted(
        [
            f"{id}.json",
            f"{id}.mtree",
            f"{id}.xattrs",
            f"{id}.seen",
            "boot-ctimes",
            "ctimes",
            "daemons",
            "files",
            "journal.jsonl",
            "lock",
            "nodes.json",
        ]
    )
    assert sorted(os.listdir(dest / "tftpboot")) == sorted(
        [id, site_id(b"site data 1"), "boot.ipxe", "plugnode", "pxelinux.0", "pxelinux.cfg"]
    )
    assert sorted(os.listdir(dest / "tftpboot" / id)) == ["initrd.img", "vmlinuz"]
    assert served(targets) == (id, site_id(b"site data 1"))


def test_a_second_deploy_does_nothing(tmp_path, targets):
    wanted = want(build(tmp_path / "build"))
    assert run(targets, wanted).changed
    before = snapshot(targets.destdir)
    assert not run(targets, wanted).changed
    after = snapshot(targets.destdir)
    lock = targets.kept("lock")
    assert {path: was for path, was in before.items() if path != lock} == {
        p: now for p, now in after.items() if p != lock
    }


def test_unchanged_files_of_a_new_release_are_hard_links_to_the_old(tmp_path, targets):
    old = build(tmp_path / "1")
    new = build(tmp_path / "2", **{f"file{number}": b"new\n" for number in range(10, 20)})
    run(targets, want(old))
    run(targets, want(new))
    before, after = (pathlib.Path(targets.root(built.release.id)) for built in (old, new))
    for number in range(300):
        one, two = (folder / f"usr/lib{number // 100}/file{number}" for folder in (before, after))
        assert (one.stat().st_ino == two.stat().st_ino) == (number not in range(10, 20)), number
    assert (after / "usr/lib0/file1").stat().st_ino == (
        after / "usr/lib0/second name"
    ).stat().st_ino
    assert served(targets)[0] == new.release.id


@root_only
def test_a_root_staged_without_rights_gets_its_true_owners_and_devices(tmp_path, targets):
    built = build(tmp_path / "build")
    root = pathlib.Path(built.path("root"))
    os.unlink(root / "etc/null")
    (root / "etc/null").touch()  # what a build without rights leaves for a device
    os.chown(root / "etc/shadow", 65534, 65534)
    run(targets, want(built))
    served(targets)
    there = os.stat(targets.root(built.release.id) + "/etc/null")
    assert stat.S_ISCHR(there.st_mode) and there.st_rdev == os.makedev(1, 3)
    shadow = os.stat(targets.root(built.release.id) + "/etc/shadow")
    assert (shadow.st_uid, shadow.st_gid) == (0, 42)


def test_modes_do_not_depend_on_the_umask(tmp_path, targets):
    built = build(tmp_path / "build")
    before = os.umask(0o077)
    try:
        run(targets, want(built))
    finally:
        os.umask(before)
    for folder, _, files in os.walk(targets.tftp_root):
        assert mode(folder) == 0o755
        assert {mode(os.path.join(folder, file)) for file in files} <= {0o644}
    assert mode(targets.nfs_root) == 0o700  # no way to setuid programs for local users


def test_boot_files_come_last_and_those_of_a_new_image_first(tmp_path, targets):
    worker, gpu = build(tmp_path / "1"), build(tmp_path / "2", image="gpu", kernel=b"other")
    run(targets, want(worker))
    own = {"pxelinux.cfg/01-ae-d6-90-bb-00-01": b"INCLUDE plugnode/gpu.cfg\n"}
    step = plan(targets, want(worker, gpu, site_img=b"site data 2", files=own))
    assert [change.path for change in step.files] == [
        "/tftpboot/plugnode/gpu.cfg",
        "/tftpboot/plugnode/gpu.grub",
        "/tftpboot/plugnode/gpu.ipxe",
        "/tftpboot/pxelinux.cfg/01-ae-d6-90-bb-00-01",
    ]
    assert [change.path for change in step.boot_files] == [
        f"/tftpboot/plugnode/worker.{k}" for k in ("cfg", "grub", "ipxe")
    ]


def test_a_new_node_makes_no_new_release(tmp_path, targets):
    built = build(tmp_path / "build")
    run(targets, want(built))
    more = NODES | {"wn099": {"ip": "172.24.10.99", "mac": "ae:d6:90:bb:00:99", "image": "worker"}}
    step = plan(targets, want(built, site_img=b"site data 2", nodes=more))
    assert not step.roots and not step.boots and not step.moves and step.site_img
    assert step.nodes.added == ("wn099",) and not step.nodes.removed and not step.nodes.changed


def test_a_removed_nodes_file_goes_and_foreign_files_stay(tmp_path, targets):
    built = build(tmp_path / "build")
    foreign = pathlib.Path(targets.served("pxelinux.cfg/01-00-00-00-00-00-01"))
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"the admin's\n")
    own = {"pxelinux.cfg/01-ae-d6-90-bb-00-01": b"INCLUDE plugnode/gpu.cfg\n"}
    run(targets, want(built, files=own))
    assert os.path.exists(targets.served("pxelinux.cfg/01-ae-d6-90-bb-00-01"))
    run(targets, want(built))
    assert not os.path.exists(targets.served("pxelinux.cfg/01-ae-d6-90-bb-00-01"))
    assert foreign.read_bytes() == b"the admin's\n"


def test_what_is_in_the_place_of_ours_is_called_out(tmp_path, targets):
    built = build(tmp_path / "build")
    pathlib.Path(targets.served("pxelinux.cfg")).mkdir(parents=True)
    pathlib.Path(targets.served("pxelinux.cfg/default")).write_bytes(b"LABEL admin\n")
    found = {change.path: change.found for change in run(targets, want(built)).changes}
    assert (
        found["/tftpboot/pxelinux.cfg/default"] == "not Plugnode's"
        and found["/tftpboot/boot.ipxe"] == ""
    )
    pathlib.Path(targets.served("boot.ipxe")).write_bytes(b"#!ipxe\nshell\n")
    assert [change.found for change in plan(targets, want(built)).changes] == ["edited by hand"]


def test_a_git_revert_publishes_nothing(tmp_path, targets):
    old, new = build(tmp_path / "1"), build(tmp_path / "2", file7=b"new\n")
    for built in (old, new):
        run(targets, want(built))
    step = run(targets, want(old))
    assert not step.roots and not step.boots and len(step.boot_files) == 3
    assert served(targets)[0] == old.release.id


def test_what_was_edited_in_a_published_release_is_not_shared(tmp_path, targets):
    old, new = build(tmp_path / "1"), build(tmp_path / "2", file7=b"new\n")
    run(targets, want(old))
    edited = pathlib.Path(targets.root(old.release.id), "usr/lib0/file8")
    edited.write_bytes(b"edited on the server\n")
    run(targets, want(new))
    assert served(targets)[0] == new.release.id
    assert edited.read_bytes() == b"edited on the server\n"


@pytest.mark.parametrize("kind", ["mtree", "xattrs"])
def test_what_is_kept_of_a_release_is_believed_only_as_far_as_its_id_says(tmp_path, targets, kind):
    old, new = build(tmp_path / "1"), build(tmp_path / "2", file7=b"new\n")
    run(targets, want(old))
    kept = pathlib.Path(targets.kept(f"{old.release.id}.{kind}"))
    theirs = pathlib.Path(new.path(f"root.{kind}")).read_bytes()
    kept.write_bytes(
        theirs if kind == "mtree" else b"usr user.note=eA==\n"
    )  # file7 would be shared, not brought
    run(targets, want(new))
    before, after = (
        pathlib.Path(targets.root(built.release.id), "usr/lib0/file8") for built in (old, new)
    )
    assert served(targets)[0] == new.release.id and not after.samefile(before), (
        "nothing is shared with it"
    )
    (found,) = map(str, verify.of_server(targets))
    assert re.search(f"not compared: .*{kind} is not what .*json says; remove both", found)
    for path in (kept, targets.kept(f"{old.release.id}.json")):
        os.unlink(path)
    run(targets, want(old))  # as the message says
    assert served(targets)[0] == old.release.id and not list(verify.of_server(targets))


@pytest.mark.parametrize("said", ["image", "cmdline", "kernel", "id"])
def test_what_a_release_says_of_itself_is_in_its_id(tmp_path, targets, said):
    built = build(tmp_path / "build")
    run(targets, want(built))
    path = pathlib.Path(targets.kept(f"{built.release.id}.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {said: "another"}))
    assert str(path) in damaged(targets) and not published(targets)
    run(targets, want(built))
    assert published(targets) == {built.release.id: built.release}, (
        "what is there was seen to be the release"
    )


def test_a_list_of_nodes_that_is_damaged_is_one_line_and_written_anew(tmp_path, targets):
    built = build(tmp_path / "build")
    run(targets, want(built))
    nodes = pathlib.Path(targets.kept("nodes.json"))
    for text in ("garbage", "[]", '{"wn001": 5}'):
        nodes.write_text(text)
        assert "takes every node for a new one" in damaged(targets)[str(nodes)]
        assert run(targets, want(built)).nodes.added == tuple(sorted(NODES))
        assert "wn040" in nodes.read_text() and not damaged(targets)


def test_nobody_waits_for_a_fifo_in_a_boot_files_place(tmp_path, targets):
    built = build(tmp_path / "build")
    run(targets, want(built))
    place = pathlib.Path(targets.served("plugnode/worker.cfg"))
    place.unlink()
    os.mkfifo(place)
    run(targets, want(built))
    assert served(targets)[0] == built.release.id and place.is_file()


def test_a_build_that_was_tampered_with_is_refused_and_nothing_changes(tmp_path, targets):
    old, new = build(tmp_path / "1"), build(tmp_path / "2", file7=b"new\n")
    run(targets, want(old))
    pathlib.Path(new.path("root"), "usr/lib0/file7").write_bytes(b"NEW\n")
    with pytest.raises(Refused, match="usr/lib0/file7: changed after it was staged"):
        run(targets, want(new))
    assert served(targets)[0] == old.release.id
    assert not os.path.exists(targets.incoming_roots) and not os.path.exists(targets.incoming_files)


def test_a_folder_in_a_releases_place_is_refused_unless_it_is_the_release(tmp_path, targets):
    built = build(tmp_path / "build")
    run(targets, want(built))
    os.unlink(targets.kept(built.release.id + ".json"))
    assert run(targets, want(built)).roots
    served(targets)
    os.unlink(targets.kept(built.release.id + ".json"))
    pathlib.Path(targets.root(built.release.id), "usr/lib0/file7").unlink()
    with pytest.raises(Refused, match="move it away"):
        run(targets, want(built))


@pytest.mark.parametrize(
    "link", ["tftpboot", "opt", "opt/nfs_export", "tftpboot/pxelinux.cfg", "tftpboot/plugnode"]
)
def test_a_symlink_in_destdir_leads_nothing_out_of_it(tmp_path, targets, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "nfs_export").mkdir()
    before = snapshot(str(outside))
    place = pathlib.Path(targets.destdir, link)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside)
    with pytest.raises(Refused, match="outside destdir"):
        run(targets, want(build(tmp_path / "build")))
    assert snapshot(str(outside)) == before


def test_a_file_that_is_a_symlink_is_replaced_and_never_written_through(tmp_path, targets):
    precious = tmp_path / "precious"
    precious.write_bytes(b"the host's\n")
    place = pathlib.Path(targets.served("pxelinux.cfg/default"))
    place.parent.mkdir(parents=True)
    place.symlink_to(precious)
    run(targets, want(build(tmp_path / "build")))
    assert precious.read_bytes() == b"the host's\n" and not place.is_symlink()


def test_an_incomplete_folder_of_tftp_root_is_mended(tmp_path, targets):
    built = build(tmp_path / "build")
    run(targets, want(built))
    initrd = pathlib.Path(targets.boot(built.release.id), "initrd.img")
    initrd.write_bytes(b"torn")
    assert run(targets, want(built)).boots
    initrd.chmod(0o600)
    assert run(targets, want(built)).boots
    assert initrd.stat().st_mode & 0o777 == 0o644
    served(targets)


def test_a_pinned_release_that_is_not_there_is_refused(tmp_path, targets):
    nodes = NODES | {"wn001": {**NODES["wn001"], "release": "worker-000000000000"}}
    with pytest.raises(
        Refused, match="worker-000000000000: pinned in site.yaml and not on the server"
    ):
        run(targets, want(build(tmp_path / "build"), nodes=nodes))
    assert not os.path.exists(targets.served("plugnode"))


def test_the_kernel_arguments_alone_make_a_release_that_shares_all_files(tmp_path, targets):
    old = build(tmp_path / "1")
    run(targets, want(old))
    new = finish(tmp_path / "1/worker", cmdline="quiet")
    run(targets, want(new))
    one, two = (os.stat(targets.root(built.release.id) + "/usr/lib0/file7") for built in (old, new))
    assert old.release.id != new.release.id and one.st_ino == two.st_ino


def test_one_folder_for_both_targets_is_refused(tmp_path):
    with pytest.raises(Refused, match="must be two"):
        run(Targets("/srv", "/srv", str(tmp_path / "dest")), want(build(tmp_path / "build")))


def test_nfs_root_below_tftp_root_works(tmp_path):
    targets = Targets("/srv", "/srv/nfs", str(tmp_path / "dest"))
    old, new = build(tmp_path / "1"), build(tmp_path / "2", file7=b"new\n")
    for built in (old, new):
        run(targets, want(built))
    assert served(targets)[0] == new.release.id
    removed = [
        verdict.id
        for verdict in prune_server(targets, Rules(0, 0, time.time()), {})
        if verdict.removed
    ]
    assert removed == [old.release.id] and served(targets)[0] == new.release.id
