"""Plan: what a deploy would change and whom it touches, as an admin reads it."""

from __future__ import annotations

import json
import os
import pathlib
import stat
import textwrap

import pytest

from tasks.core.base.errors import Refused
from tasks.core.desired import daemons
from tasks.core.plan import decide
from tasks.core.plan.actual import read_actual
from tasks.core.plan.as_json import plan_json
from tasks.core.plan.text import painted, plan_text
from tasks.core.services.daemon_files import FILE, Service
from tasks.core.site.model import Deploy, Network, Server, Site
from tasks.core.store import loaders
from tasks.core.store.paths import Targets
from tests.support import sample_site
from tests.support.deploy_kit import NODES, build, finish, run, snapshot, want
from tests.support.trees import bytes_read


@pytest.fixture
def targets(tmp_path: pathlib.Path) -> Targets:
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"))


def show(targets: Targets, wanted, colour: bool = False) -> str:
    there = read_actual(targets, wanted)
    text = plan_text(decide.plan(there, wanted), there)
    return painted(text) if colour else text


def expect(text: str, expected: str, **names: str) -> None:
    for name, value in names.items():
        text = text.replace(value, name)
    assert text == textwrap.dedent(expected).strip("\n")


def test_the_plan_of_a_first_deploy(tmp_path, targets):
    built = build(tmp_path / "build", files=5)
    wanted = want(built)
    expect(
        show(targets, wanted),
        """
        Releases
          + worker: RELEASE
            40 nodes at the next boot: wn[001-040]
            + kernel 6.1.0, initrd, console=ttyS0
            + root: PATHS paths, SIZE
              of its files 1 setuid or setgid, 1 not world-readable
        Site data
          + 40 nodes: wn[001-040]
        Files
          + /tftpboot/plugnode/worker.cfg
            @@ -0,0 +1 @@
            +RELEASE/vmlinuz RELEASE/initrd.img,SITE/site.img console=ttyS0
          + /tftpboot/plugnode/worker.grub
            @@ -0,0 +1 @@
            +RELEASE/vmlinuz RELEASE/initrd.img,SITE/site.img console=ttyS0
          + /tftpboot/plugnode/worker.ipxe
            @@ -0,0 +1 @@
            +RELEASE/vmlinuz RELEASE/initrd.img,SITE/site.img console=ttyS0
          + /tftpboot/boot.ipxe
            @@ -0,0 +1 @@
            +#!ipxe
          + /tftpboot/pxelinux.cfg/default
            @@ -0,0 +1 @@
            +INCLUDE plugnode/worker.cfg
        Plan: 1 release to publish, 5 files to add, 0 to change, 0 to remove.
        """,
        RELEASE=built.release.id,
        SITE=wanted.site_id,
        PATHS=str(built.release.entries),
        SIZE=f"{built.release.bytes / 1024:.1f} KiB"
        if built.release.bytes > 1023
        else f"{built.release.bytes} B",
    )


def test_a_new_node_a_changed_one_and_a_removed_one_are_site_data_and_no_release(tmp_path, targets):
    built = build(tmp_path / "build", files=5)
    own = {"pxelinux.cfg/01-ae-d6-90-bb-00-07": b"INCLUDE plugnode/gpu.cfg\n"}
    run(targets, want(built, files=own))
    nodes = {name: node for name, node in NODES.items() if name != "wn007"}
    nodes["wn001"] = nodes["wn001"] | {"cmdline": "quiet"}
    nodes |= {
        f"wn{n:03}": {"ip": f"172.24.10.{n}", "mac": "x", "image": "worker"} for n in (50, 51)
    }
    wanted = want(built, site_img=b"site data 2", nodes=nodes)
    text = show(targets, wanted)
    nodes_told = "  + 2 nodes: wn[050-051]\n  - 1 node: wn007\n  ~ 1 node: wn001 (cmdline)\n"
    assert text.startswith(f"Site data\n{nodes_told}Files\n  ~ /tftpboot/plugnode")
    assert (
        "  - /tftpboot/pxelinux.cfg/01-ae-d6-90-bb-00-07\n    @@ -1 +0,0 @@\n    -INCLUDE plugnode/gpu.cfg\n"
        in text
    )
    assert text.endswith("Plan: 0 files to add, 3 to change, 1 to remove.")


def test_a_changed_root_is_told_by_folders_paths_and_what_gives_rights(tmp_path, targets):
    old = build(tmp_path / "1", files=120)
    run(targets, want(old))
    new = build(tmp_path / "2", files=121, file3=b"changed\n", kernel=b"other")
    reference = pathlib.Path(new.folder, "reference")
    (reference / "usr/lib0/file5").chmod(0o4755)
    (reference / "usr/lib0/file9").unlink()
    text = show(targets, want(restaged(new)))
    assert f"  ~ worker: {old.release.id} -> worker-" in text
    assert "    ~ kernel 6.1.0 (" in text and "arguments" not in text
    assert "1 added, 1 removed, 2 changed, +" in text and "\n      /usr/lib0: +0 -1 ~2, -" in text
    assert "      /usr/lib1: +1 -0 ~0, +200 B\n" in text
    for line in ("+ /usr/lib1/file120", "- /usr/lib0/file9", "~ /usr/lib0/file3"):
        assert f"      {line}\n" in text
    assert "      ! /usr/lib0/file5: runs as its owner or group now (mode 4755, owner" in text
    assert "      of its files 2 setuid or setgid (1 before), 1 not world-readable\n" in text


def restaged(built):
    from tasks.core.checkout import staged
    from tasks.core.scan.reader import scan

    staged.checkout(staged.staged_paths(built.folder), scan(built.path("reference")).tree)
    return finish(pathlib.Path(built.folder), kernel=b"other")


def test_arguments_alone_show_as_such(tmp_path, targets):
    built = build(tmp_path / "1", files=5)
    run(targets, want(built))
    text = show(targets, want(finish(tmp_path / "1/worker", cmdline="quiet")))
    assert (
        "    ~ arguments 'console=ttyS0' -> 'quiet'\n" in text
        and f"    root: as in {built.release.id}\n" in text
    )


def test_nothing_to_do_is_no_changes_and_a_plan_changes_nothing(tmp_path, targets):
    wanted = want(build(tmp_path / "build", files=5))
    show(targets, wanted)
    assert not os.path.exists(targets.destdir)
    run(targets, wanted)
    before = snapshot(targets.destdir)
    assert show(targets, wanted) == "no changes"
    assert snapshot(targets.destdir) == before


def test_the_json_says_all_of_it(tmp_path, targets):
    wanted = want(build(tmp_path / "build", files=5))
    there = read_actual(targets, wanted)
    found = json.loads(json.dumps(plan_json(decide.plan(there, wanted), there)))
    assert (
        found["changed"]
        and found["releases"][0]["before"] is None
        and len(found["nodes"]["added"]) == 40
    )
    assert {one["path"]: one["action"] for one in found["files"]}["/tftpboot/boot.ipxe"] == "add"
    assert found["roots"][0]["release"] == wanted.releases[0].release.id
    run(targets, wanted)
    there = read_actual(targets, wanted)
    assert not plan_json(decide.plan(there, wanted), there)["changed"]


def test_colours_are_only_where_they_are_asked_for(tmp_path, targets):
    wanted = want(build(tmp_path / "build", files=5))
    assert "\033" not in show(targets, wanted) and "\033[32m" in show(targets, wanted, colour=True)


def test_long_diffs_are_cut_and_say_so(tmp_path, targets):
    files = {"pxelinux.cfg/default": b"".join(b"# %d\n" % n for n in range(500))}
    assert "      … and 381 more lines (--json has all)\n" in show(
        targets, want(build(tmp_path / "1", files=5), files=files)
    )


# --- the daemons' files


def daemon(tmp_path: pathlib.Path, name: str, script: str) -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def service(tmp_path: pathlib.Path, check: str = "true", reload: str = "true") -> Service:
    """A daemon whose file is `conf`; what its commands are given is in `calls`."""
    calls = f'echo "$0 $(cat "$1" 2>/dev/null)" | sed s,.*/,, >> {tmp_path}/calls; '
    return Service(
        str(tmp_path / "etc/conf"),
        b"new\n",
        (daemon(tmp_path, "check", calls + check), FILE),
        (daemon(tmp_path, "reload", calls + reload), str(tmp_path / "etc/conf")),
    )


def own_targets(tmp_path: pathlib.Path) -> Targets:
    """Without destdir, but nowhere else than here."""
    return Targets(str(tmp_path / "tftpboot"), str(tmp_path / "nfs"))


def test_a_daemons_file_is_checked_then_replaced_then_reloaded_and_only_when_it_changed(tmp_path):
    wanted = want(build(tmp_path / "build", files=5), services=(service(tmp_path),))
    said: list[str] = []
    run(own_targets(tmp_path), wanted, said)
    assert (tmp_path / "etc/conf").read_bytes() == b"new\n"
    assert (tmp_path / "calls").read_text() == "check new\nreload new\n"
    assert any("is not a file system of its own" in line for line in said)
    run(own_targets(tmp_path), wanted)
    assert (tmp_path / "calls").read_text().count("\n") == 2
    assert os.listdir(tmp_path / "etc") == ["conf"]


def test_a_file_that_its_checker_refuses_changes_nothing_at_all(tmp_path):
    bad = service(tmp_path, check="echo line 1: bad >&2; exit 1")
    with pytest.raises(Refused, match="conf is not changed: line 1: bad"):
        run(own_targets(tmp_path), want(build(tmp_path / "build", files=5), services=(bad,)))
    assert not os.listdir(tmp_path / "etc") and not os.listdir(tmp_path / "tftpboot")


def test_a_file_with_which_the_daemon_does_not_start_is_put_back_and_the_next_run_tries_again(
    tmp_path,
):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/conf").write_bytes(b"old\n")
    built = build(tmp_path / "build", files=5)
    bad = service(tmp_path, reload='grep -q old "$1"')
    with pytest.raises(Refused, match="conf is put back"):
        run(own_targets(tmp_path), want(built, services=(bad,)))
    assert (tmp_path / "etc/conf").read_bytes() == b"old\n"
    assert (tmp_path / "calls").read_text() == "check new\nreload new\nreload old\n"
    assert run(own_targets(tmp_path), want(built, services=(service(tmp_path),))).changed
    assert (tmp_path / "etc/conf").read_bytes() == b"new\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_a_daemons_file_keeps_its_owner_and_mode_and_so_does_what_is_kept_of_it(tmp_path):
    conf, kept = tmp_path / "etc/conf", tmp_path / "etc/conf.before-plugnode"
    sample_site.put(conf, b"secret = 1\n", 0o640)
    os.chown(conf, 7, 8)
    built = build(tmp_path / "build", files=5)
    run(own_targets(tmp_path), want(built, services=(service(tmp_path),)))
    assert (conf.read_bytes(), kept.read_bytes()) == (b"new\n", b"secret = 1\n")
    assert rights(conf) == rights(kept) == (0o640, 7, 8)
    newer = service(tmp_path, reload='grep -q new "$1"')._replace(data=b"bad\n")
    with pytest.raises(Refused, match="conf is put back"):
        run(own_targets(tmp_path), want(built, services=(newer,)))
    assert conf.read_bytes() == b"new\n" and rights(conf) == (0o640, 7, 8)


def rights(path: pathlib.Path) -> tuple[int, int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def test_what_the_checker_reads_is_as_closed_as_the_file_was(tmp_path):
    sample_site.put(tmp_path / "etc/conf", b"# Generated by Plugnode\n", 0o600)
    seen = f'stat -c %a "$1" > {tmp_path}/mode; true'
    wanted = want(build(tmp_path / "build", files=5), services=(service(tmp_path, check=seen),))
    run(own_targets(tmp_path), wanted)
    assert (tmp_path / "mode").read_text() == "600\n"
    assert rights(tmp_path / "etc/conf")[0] == 0o600


def test_that_a_foreign_file_is_replaced_is_said_before_and_not_after(tmp_path):
    sample_site.put(tmp_path / "etc/conf", b"the admin's\n")
    wanted = want(build(tmp_path / "build", files=5), services=(service(tmp_path),))
    line = f"  ! {tmp_path}/etc/conf is not Plugnode's: it is replaced, and kept as conf.before-plugnode\n"
    text = show(own_targets(tmp_path), wanted)
    assert line in text and "that is lost" not in text
    there = read_actual(own_targets(tmp_path), wanted)
    found = plan_json(decide.plan(there, wanted), there)["warnings"]
    assert [f"  ! {one}\n" for one in found] == [line]
    said: list[str] = []
    run(own_targets(tmp_path), wanted, said)
    assert not any("before-plugnode" in one for one in said)
    sample_site.put(tmp_path / "etc/conf", b"# Generated by Plugnode\n")
    assert "before-plugnode" not in show(own_targets(tmp_path), wanted)


def test_a_foreign_file_among_drop_ins_is_lost_and_plan_says_so(tmp_path):
    """Kept beside it would be read by the daemon, too."""
    one = service(tmp_path)._replace(path=str(tmp_path / "etc.d/plugnode.conf"))
    sample_site.put(tmp_path / "etc.d/plugnode.conf", b"the admin's\n")
    text = show(own_targets(tmp_path), want(build(tmp_path / "build", files=5), services=(one,)))
    assert f"  ~ {tmp_path}/etc.d/plugnode.conf (not Plugnode's: that is lost)\n" in text


def test_with_destdir_daemons_files_are_put_below_it_and_no_daemon_is_touched(tmp_path, targets):
    one = Service(
        "/etc/exports.d/plugnode-a.exports", b"/opt/nfs_export *(ro)\n", reload=("false",)
    )
    run(targets, want(build(tmp_path / "build", files=5), services=(one,)))
    path = pathlib.Path(targets.destdir, "etc/exports.d/plugnode-a.exports")
    assert path.read_bytes() == one.data and stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "dhcp, path", [("isc", "/etc/dhcp/dhcpd.conf"), ("kea", "/etc/kea/kea-dhcp4.conf")]
)
def test_dhcp_is_ours_only_when_the_site_says_so(dhcp, path):
    configs = {
        name: name.encode() for name in ("exports", "dhcpd.conf", "kea-dhcp4.json", "dnsmasq.conf")
    }
    assert [one.path for one in wanted(Deploy(), configs)] == ["/etc/exports.d/plugnode-a.exports"]
    assert wanted(Deploy(dhcp=dhcp), configs)[1].path == path
    assert wanted(Deploy(dhcp=dhcp, dhcp_conf="/x"), configs)[1].path == "/x"
    assert wanted(Deploy(dhcp="isc"), configs, is_el=True)[1].reload == (
        "systemctl",
        "restart",
        "dhcpd",
    )


def wanted(deploy: Deploy, configs: dict[str, bytes], is_el: bool = False) -> tuple[Service, ...]:
    site = Site("a", Network("10.1.0.0/24"), (), (), deploy, "", tuple)
    return daemons.desired_services(site, Server("boot1", "10.1.0.1"), configs, is_el)


# --- loaders


def test_loaders_are_found_where_debian_and_el_have_them_and_the_sites_own_win(tmp_path):
    for path in (
        "usr/lib/PXELINUX/pxelinux.0",
        "el/boot/efi/EFI/rocky/grubx64.efi",
        "el/usr/share/syslinux/ldlinux.c32",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = loaders.find_loaders(
        [str(tmp_path), str(tmp_path / "el")], [("ipxe.efi", "/site/ipxe.efi")]
    )
    assert found == {
        "pxelinux.0": f"{tmp_path}/usr/lib/PXELINUX/pxelinux.0",
        "ldlinux.c32": f"{tmp_path}/el/usr/share/syslinux/ldlinux.c32",
        "grubnetx64.efi": f"{tmp_path}/el/boot/efi/EFI/rocky/grubx64.efi",
        "grubx64.efi": f"{tmp_path}/el/boot/efi/EFI/rocky/grubx64.efi",
        "ipxe.efi": "/site/ipxe.efi",
    }
    assert (
        "no undionly.kpxe for BIOS nodes that boot by iPXE: install ipxe, on EL ipxe-bootimgs-x86"
        in "".join(loaders.missing_loaders(found))
    )
    assert not any("ipxe.efi" in line for line in loaders.missing_loaders(found))


def test_a_symlink_of_an_unpacked_package_is_followed_below_it(tmp_path):
    """Debian's ipxe has usr/lib/ipxe/ipxe.efi -> /boot/ipxe.efi; this machine's /boot need not have it."""
    for folder in ("usr/lib/ipxe", "boot"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/ipxe/ipxe.efi").symlink_to("/boot/ipxe.efi")
    (tmp_path / "usr/lib/ipxe/undionly.kpxe").symlink_to("undionly.kpxe")  # a circle is none
    assert loaders.find_loaders([str(tmp_path)]) == {}
    (tmp_path / "boot/ipxe.efi").touch()
    assert loaders.find_loaders([str(tmp_path)]) == {"ipxe.efi": f"{tmp_path}/boot/ipxe.efi"}


def test_a_loader_that_was_put_there_is_not_read_again_until_somebody_touched_it(tmp_path, targets):
    built, size = build(tmp_path / "build", files=5), 8 << 20
    (tmp_path / "grub.efi").write_bytes(b"\x01" * size)
    wanted = want(built, loaders={"grub.efi": str(tmp_path / "grub.efi")})
    run(targets, wanted)
    before = bytes_read()
    assert not run(targets, wanted).changed
    assert bytes_read() - before < size // 2

    served = pathlib.Path(targets.served("grub.efi"))
    status = served.stat()
    with open(served, "r+b") as file:
        file.write(b"\x02")
    os.utime(served, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(targets, wanted).loaders.keys() == {"grub.efi"}
    assert served.read_bytes() == b"\x01" * size


def test_a_loader_of_the_same_size_in_place_of_another_is_copied(tmp_path, targets):
    """Neither has changed since it was deployed."""
    built = build(tmp_path / "build", files=5)
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    both = {"one.efi": str(tmp_path / "one"), "two.efi": str(tmp_path / "two")}
    run(targets, want(built, loaders=both))
    swapped = {"one.efi": both["two.efi"], "two.efi": both["one.efi"]}
    assert run(targets, want(built, loaders=swapped)).loaders.keys() == {"one.efi", "two.efi"}
    assert pathlib.Path(targets.served("one.efi")).read_text() == "two"


def test_a_loader_is_copied_once_and_again_when_its_package_changed_it(tmp_path, targets):
    built, loader = build(tmp_path / "build", files=5), tmp_path / "pxelinux.0"
    loader.write_bytes(b"one")
    (tmp_path / "link").symlink_to(loader)  # as Debian has ipxe.efi
    wanted = want(built, loaders={"pxelinux.0": str(tmp_path / "link")})
    assert run(targets, wanted).loaders.keys() == {"pxelinux.0"}
    assert not run(targets, wanted).changed
    loader.write_bytes(b"two")
    assert "  ~ loader pxelinux.0\n" in show(targets, wanted)
    run(targets, wanted)
    assert pathlib.Path(targets.served("pxelinux.0")).read_bytes() == b"two"
    assert not run(targets, wanted).changed
