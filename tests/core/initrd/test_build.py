"""Initial RAM disks of every kind, made from staged roots."""

from __future__ import annotations

import gzip
import lzma
import os
import pathlib
import subprocess

import pytest
import zstandard

from tasks.core.archive import compression, cpio
from tasks.core.base.errors import BadInput
from tasks.core.config import site_image
from tasks.core.initrd import busybox, content, nash
from tasks.core.initrd.build import KINDS as ALL_KINDS
from tasks.core.initrd.build import BY_NAME, build_initrd, recipe_of
from tasks.core.initrd.kind import network_root
from tasks.core.site.model import NfsMount
from tasks.core.tree.model import CHAR, FILE, LINK, Tree, read_content, resolve
from tests.support.commands import REPOSITORY
from tests.support.initrd_images import (
    EL5,
    EL5_MODULES,
    dracut_files,
    image,
    kernel,
    kernel_files,
    module,
    of_files,
    of_program,
)

SCRIPTS = REPOSITORY / "tests/initrd"
MODERN = "6.1.0-56-amd64"
MODULES = {
    "drivers/net/net_failover.ko": "failover",
    "net/core/failover.ko": "",
    "drivers/net/virtio_net.ko": "net_failover failover",
    "drivers/virtio/virtio_pci.ko": "",
    "drivers/net/ethernet/broadcom/tg3.ko": "libphy",
    "drivers/net/phy/libphy.ko": "",
    "net/sunrpc/sunrpc.ko": "",
    "fs/lockd/lockd.ko": "grace sunrpc",
    "fs/nfs_common/grace.ko": "",
    "fs/nfs/nfs.ko": "lockd grace sunrpc",
    "fs/nfs/nfsv3.ko": "nfs lockd grace sunrpc",
    "fs/nfs/nfsv4.ko": "nfs lockd grace sunrpc",
}
NFS = ["sunrpc", "grace", "lockd", "nfs", "nfsv3", "nfsv4"]


def root(version: str = MODERN, **files) -> Tree:
    needs = EL5_MODULES if version == EL5 else MODULES
    return of_files(
        kernel_files(version, needs, version == EL5)
        | {name.replace("__", "/"): held for name, held in files.items()}
    )


def build(tree: Tree, version: str = MODERN, **options) -> content.BuiltInitrd:
    recipe = recipe_of(image(**options), tree, kernel(version))
    return build_initrd(recipe, lambda note: None)


def unpacked(made: content.BuiltInitrd) -> cpio.InitrdArchive:
    return cpio.read_image(made.data, "initrd.img")


def loaded(tree: Tree) -> list[str]:
    return read_content(tree[b"etc/plugnode/modules"]).decode().split()


# ---- our own


def test_our_own_image_holds_all_that_its_init_runs():
    tree = unpacked(build(root(), base="none")).tree
    init, console = tree[b"init"], tree[b"dev/console"]
    assert init.mode == 0o755
    assert read_content(init).startswith(b"#!/bin/sh\n")
    assert (console.type, console.device) == (CHAR, (5, 1))
    assert all(tree[b"bin/" + name.encode()].link == b"busybox" for name in busybox.OWN)
    assert all(f"lib/modules/{name}.ko".encode() in tree for name in loaded(tree))


def test_nfs_modules_and_every_dependency_are_added_in_order():
    tree = unpacked(build(root(), base="none", modules=("tg3",))).tree
    assert loaded(tree) == ["libphy", "tg3", *NFS]


def test_without_modules_named_it_can_run_on_virtio():
    assert loaded(unpacked(build(root(), base="none")).tree) == [
        "virtio_pci",
        "failover",
        "net_failover",
        "virtio_net",
        *NFS,
    ]


def test_without_modules_named_it_says_that_no_real_card_will_work():
    without = build(root(), base="none").notes
    assert [note.partition(";")[0] for note in without] == [
        "worker: its initrd drives no network card but virtio_net, of virtual machines"
    ]
    assert build(root(), base="none", modules=("virtio_net",)).notes == ()
    assert build(root(), base="none", modules=("tg3",)).notes == ()


def test_without_modules_named_the_reference_s_own_cards_are_added():
    nash_image = gzip.compress(cpio.write_newc(el5_base()))
    made = build(root(EL5, **{f"boot__initrd-{EL5}.img": nash_image}), EL5, base="none")
    assert loaded(unpacked(made).tree)[:2] == ["virtio", "virtio_ring"] and "mii" in loaded(
        unpacked(made).tree
    )


@pytest.mark.parametrize("how", ["gzip", "zstd", "xz"])
def test_the_same_input_is_the_same_image_of_any_compression(how):
    first, again = (build(root(), base="none", compression=how) for _ in range(2))
    assert first == again and compression.compression(first.data) == how


def test_firmware_comes_along_and_what_is_missing_is_said():
    notes: list[str] = []
    place = f"lib/modules/{MODERN}/kernel/drivers/net/ethernet/broadcom/tg3.ko"
    files = {
        place: module(MODERN, "tg3", "tigon/tg3.bin", "tigon/gone.bin"),
        "lib/firmware/tigon/tg3.bin": b"firmware",
    }
    tree = of_files(kernel_files(MODERN, MODULES) | files)
    recipe = recipe_of(image(base="none", modules=("tg3",)), tree, kernel(MODERN))
    made = build_initrd(recipe, notes.append)
    assert read_content(unpacked(made).tree[b"lib/firmware/tigon/tg3.bin"]) == b"firmware"
    assert notes == ["worker: module tg3 names firmware that the reference lacks: tigon/gone.bin"]


HALVES = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zstandard.compress}
TG3 = f"lib/modules/{MODERN}/kernel/drivers/net/ethernet/broadcom/tg3.ko"
FIRMWARE = "lib/firmware/tigon/tg3.bin.xz"


@pytest.mark.parametrize("how", HALVES)
def test_a_module_that_was_copied_by_half_is_named(how):
    tree = of_files(kernel_files(MODERN, MODULES) | {TG3: HALVES[how](module(MODERN, "tg3"))[:-9]})
    with pytest.raises(BadInput) as error:
        build(tree, base="none", modules=("tg3",))
    assert str(error.value).startswith(f"{TG3}:1:1: is damaged (Compressed ")
    assert str(error.value).endswith("); put a whole one there")


def test_firmware_that_was_copied_by_half_is_named():
    files = {TG3: module(MODERN, "tg3", "tigon/tg3.bin"), FIRMWARE: lzma.compress(b"firmware")[:-9]}
    with pytest.raises(BadInput, match=f"^{FIRMWARE}:1:1: is damaged"):
        build(of_files(kernel_files(MODERN, MODULES) | files), base="none", modules=("tg3",))


def test_a_damaged_module_of_the_distributions_image_is_named_with_the_image():
    half = lzma.compress(module(MODERN, "nfs"))[:-9]
    name = f"usr/lib/modules/{MODERN}/kernel/fs/nfs/nfs.ko.xz"
    data = cpio.write_newc(of_files({**DRACUT, name: half}))
    with pytest.raises(BadInput, match=f"^boot/{NAMES['dracut']}: {name}:1:1: is damaged"):
        build(root(**{f"boot__{NAMES['dracut']}": data}))


def test_what_an_initrd_can_be_made_of_is_told_from_the_rest():
    tree = root(
        bin__busybox="../opt/tools/box", opt__tools__box=b"box", usr__share__doc__note=b"note"
    )
    del tree[f"boot/vmlinuz-{MODERN}".encode()]
    tree |= of_files({f"boot/vmlinuz-{MODERN}": "../opt/kernel", "opt/kernel": b"kernel"})
    parts = content.parts(tree, image())
    files = {path for path, entry in tree.items() if entry.type == FILE}
    assert files - parts.keys() == {b"usr/share/doc/note"}
    assert content.parts(parts, image()) == parts


def test_the_site_s_own_overlay_comes_before_the_built_in_one(tmp_path):
    (tmp_path / "overlays/initrd").mkdir(parents=True)
    (tmp_path / "overlays/initrd/init").write_bytes(b"#!/bin/sh\n# theirs\n")
    made = build_initrd(recipe_of(image(base="none"), root(), kernel(MODERN), (str(tmp_path),)))
    assert read_content(unpacked(made).tree[b"init"]) == b"#!/bin/sh\n# theirs\n"


# ---- busybox

STATIC = pathlib.Path("/bin/busybox").read_bytes()


def test_the_reference_s_static_busybox_comes_first():
    made = build(root(bin__busybox=STATIC + b"theirs"), base="none")
    assert (
        read_content(unpacked(made).tree[b"bin/busybox"]).endswith(b"theirs")
        and made.base == "busybox: bin/busybox of the reference"
    )


def test_a_dynamic_busybox_of_the_reference_is_passed_over():
    made = build(root(bin__busybox=pathlib.Path("/bin/cat").read_bytes()), base="none")
    assert read_content(unpacked(made).tree[b"bin/busybox"]) == STATIC


BUSYBOXES = {
    "missing": (None, "is missing or empty"),
    "no program": (b"#!/bin/sh\n", "is not a program"),
    "dynamic": (pathlib.Path("/bin/cat").read_bytes(), "is dynamically linked"),
    "of another processor": (
        STATIC[:18] + b"\xb7\0" + STATIC[20:],
        "is made for another processor",
    ),
    "without udhcpc": (STATIC.replace(b"\0udhcpc\0", b"\0xdhcpc\0"), "lacks applet udhcpc"),
}


@pytest.mark.parametrize("what", BUSYBOXES)
def test_an_unusable_busybox_is_refused_with_the_reason(what, tmp_path):
    data, message = BUSYBOXES[what]
    if data is not None:
        (tmp_path / "busybox").write_bytes(data)
    with pytest.raises(BadInput, match=message):
        build(root(), base="none", busybox=str(tmp_path / "busybox"))


# ---- nash


def el5_base(script: str = "nash-plain") -> Tree:
    files: dict[str, bytes | str] = {
        "init": (SCRIPTS / script).read_bytes(), "bin/nash": STATIC, "sbin": "bin",
        "lib/jbd.ko": module(EL5, "jbd"), "lib/ext3.ko": module(EL5, "ext3"), "lib/mii.ko": module(EL5, "mii"),
        "dev/console": b"", "sysroot/x": b"",
    }  # fmt: skip
    return {path: entry for path, entry in of_files(files).items() if path}


def nash_build(base: bytes, **options) -> content.BuiltInitrd:
    return build(root(EL5, **{f"boot__initrd-{EL5}.img": base}), EL5, **options)


def test_el5_s_image_gets_drivers_busybox_and_a_network_root():
    made = nash_build(gzip.compress(cpio.write_newc(el5_base())), modules=("mii", "pcnet32"))
    tree = unpacked(made).tree
    script = read_content(tree[b"init"]).decode()
    assert made.kind == "nash" and made.modules == (
        "mii",
        "pcnet32",
        "sunrpc",
        "lockd",
        "nfs_acl",
        "nfs",
    )
    assert nash.loaded(script)[3:] == [
        f"/lib/{name}.ko" for name in ("pcnet32", "sunrpc", "lockd", "nfs_acl", "nfs")
    ]
    assert all(path[1:].encode() in tree for path in nash.loaded(script))
    assert (
        tree[b"plugnode-tools/udhcpc"] == tree[b"plugnode-tools/mount"]
        and tree[b"plugnode-tools/sh"].type == LINK
    )
    assert {
        b"nash-root",
        b"netroot",
        b"common.sh",
        b"identity",
        b"udhcpc.script",
        b"bin/busybox",
    } <= tree.keys()


def test_nothing_else_of_el5_s_image_changes():
    before, tree = el5_base(), unpacked(nash_build(gzip.compress(cpio.write_newc(el5_base())))).tree
    same = {
        path
        for path, entry in before.items()
        if path != b"init" and tree[path].content[:3] == entry.content[:3]
    }
    assert same == before.keys() - {b"init"} and read_content(tree[b"lib/jbd.ko"]) == read_content(
        before[b"lib/jbd.ko"]
    )


def test_microcode_of_the_base_stays_in_front():
    early = cpio.write_newc(
        {path: entry for path, entry in of_files({"kernel/x86/u.bin": b"code"}).items() if path}
    )
    made = nash_build(early + gzip.compress(cpio.write_newc(el5_base())))
    assert made.data.startswith(early) and unpacked(made).early == early


def test_a_base_may_be_a_path(tmp_path):
    (tmp_path / "initrd.img").write_bytes(gzip.compress(cpio.write_newc(el5_base("nash-lvm"))))
    assert build(root(EL5), EL5, base=str(tmp_path / "initrd.img")).kind == "nash"


def test_a_patched_image_is_not_patched_again(tmp_path):
    made = nash_build(gzip.compress(cpio.write_newc(el5_base())))
    (tmp_path / "initrd.img").write_bytes(made.data)
    with pytest.raises(BadInput, match="already has Plugnode's network root"):
        build(root(EL5), EL5, base=str(tmp_path / "initrd.img"))


def test_a_busybox_that_cannot_mount_nfs_on_so_old_a_kernel_is_told_of():
    assert any(
        "takes NFS options in binary only" in note
        for note in nash_build(cpio.write_newc(el5_base())).notes
    )


# ---- images of today's distributions

DRACUT = dracut_files(MODERN)
INITRAMFS_TOOLS = {
    "init": b"#!/bin/sh\n", "bin": "usr/bin", "lib": "usr/lib", "conf/arch.conf": b"", "conf/initramfs.conf": b"",
    "scripts/functions": b"", "scripts/nfs": b"", "usr/bin/nfsmount": b"", "usr/bin/ipconfig": b"",
    f"usr/lib/modules/{MODERN}/kernel/fs/nfs/nfs.ko": module(MODERN, "nfs"),
    f"usr/lib/modules/{MODERN}/kernel/fs/nfs/nfsv3.ko": module(MODERN, "nfsv3"),
}  # fmt: skip
KINDS = {"dracut": DRACUT, "initramfs-tools": INITRAMFS_TOOLS}
NAMES = {"dracut": f"initramfs-{MODERN}.img", "initramfs-tools": f"initrd.img-{MODERN}"}


def modern(kind: str, without: str = "", **options) -> tuple[content.BuiltInitrd, bytes]:
    files = {path: held for path, held in KINDS[kind].items() if not without or without not in path}
    tree = of_files(files)
    del tree[b""]
    data = gzip.compress(cpio.write_newc(tree), mtime=0)
    return build(root(**{f"boot__{NAMES[kind]}": data}), **options), data


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_can_mount_nfs_is_used_as_it_is(kind):
    made, data = modern(kind)
    assert (made.kind, made.data) == (kind, data)


@pytest.mark.parametrize("kind", KINDS)
def test_firmware_that_a_distributions_image_lacks_is_said(kind):
    folder = f"usr/lib/modules/{MODERN}/kernel/drivers/net/"
    more = {
        f"{folder}tg3.ko": module(MODERN, "tg3", "tigon/tg3.bin", "tigon/there.bin"),
        f"{folder}bnx2.ko": module(MODERN, "bnx2", "bnx2/rv2p.fw"),
        "usr/lib/firmware/tigon/there.bin": b"",
    }
    files = of_files({**KINDS[kind], **more})
    data = gzip.compress(cpio.write_newc({path: each for path, each in files.items() if path}))
    tree = root(**{f"boot__{NAMES[kind]}": data})
    name = f"boot/{NAMES[kind]}"
    assert build(tree, modules=("tg3",)).notes == (
        f"worker: module tg3 names firmware that {name} lacks: tigon/tg3.bin",
    )
    (note,) = build(tree).notes
    assert note.startswith(f"worker: {name} lacks firmware that drivers in it name: bnx2, tg3;")


def test_an_image_of_dracut_that_waits_for_the_references_own_disks_is_told_of():
    files = {
        "etc/cmdline.d/90lvm.conf": b" rd.lvm.lv=rl/root rd.lvm.lv=rl/swap\n",
        "etc/cmdline.d/90mdraid.conf": b"rd.md.uuid=1:2:3:4 rd.neednet=1\n",
        "etc/systemd/system/initrd.target.wants/dev-mapper-rl.device": "../dev-mapper-rl.device",
    }
    tree = of_files({**DRACUT, **files})
    data = gzip.compress(cpio.write_newc({path: each for path, each in tree.items() if path}))
    (note,) = build(root(**{f"boot__{NAMES['dracut']}": data})).notes
    waits = "dev-mapper-rl.device rd.lvm.lv=rl/root rd.lvm.lv=rl/swap rd.md.uuid=1:2:3:4;"
    assert f"waits for the reference's own disks: {waits}" in note and "--no-hostonly" in note


def test_an_image_is_recognised_by_one_kind_alone():
    images = {name: of_files(files) for name, files in KINDS.items()} | {"nash": el5_base()}
    for name, tree in images.items():
        init = read_content(tree[resolve(tree, b"init")])
        assert [kind.name for kind in ALL_KINDS if kind.recognises(tree, init)] == [name]


LACKING = {
    (
        "dracut",
        "nfs-lib",
    ): "lacks dracut's module nfs; on the reference: dnf install dracut-network nfs-utils",
    ("dracut", "mount.nfs"): "lacks mount.nfs",
    ("dracut", "nfsv3.ko"): "lacks the kernel module nfsv3",
    (
        "dracut",
        "ifup",
    ): "lacks a network module that mounts network roots (add_dracutmodules: network-legacy",
    (
        "initramfs-tools",
        "nfsmount",
    ): "lacks nfsmount of klibc; on the reference: apt install klibc-utils",
    ("initramfs-tools", "nfs.ko"): "lacks the kernel module nfs; on the reference: apt install",
}


@pytest.mark.parametrize(("kind", "without"), LACKING)
def test_an_image_that_cannot_mount_nfs_is_refused_with_what_to_add(kind, without):
    with pytest.raises(BadInput) as error:
        modern(kind, without)
    assert str(error.value).startswith(f"boot/{NAMES[kind]}:1:1: cannot mount an NFS root, it ")
    assert LACKING[kind, without] in str(error.value) and MODERN in str(error.value)


def test_a_driver_that_the_image_lacks_is_named():
    with pytest.raises(BadInput, match="it lacks the kernel module tg3"):
        modern("dracut", modules=("tg3",))


# ---- VLANs

TAGGED = {"net/8021q/8021q.ko": "garp mrp", "net/802/garp.ko": "", "net/802/mrp.ko": ""}


def tagged(tree: Tree, **initrd) -> content.BuiltInitrd:
    made_for = image(**initrd)._replace(tags=True)
    return build_initrd(recipe_of(made_for, tree, kernel(MODERN)), lambda note: None)


def test_where_a_network_is_tagged_our_own_image_has_vlans():
    tree = unpacked(tagged(of_files(kernel_files(MODERN, MODULES | TAGGED)), base="none")).tree
    assert "8021q" in loaded(tree) and b"bin/vconfig" in tree
    assert b"bin/vconfig" not in unpacked(build(root(), base="none")).tree


def test_where_a_network_is_tagged_a_kernel_without_vlans_is_refused():
    with pytest.raises(BadInput, match="8021q"):
        tagged(root(), base="none")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("dracut", "it lacks the kernel module 8021q"),
        ("initramfs-tools", "an initrd of initramfs-tools knows no VLANs, and a network is tagged"),
    ],
)
def test_where_a_network_is_tagged_a_distributions_image_must_know_vlans(kind, why):
    files = kernel_files(MODERN, MODULES | TAGGED)
    data = gzip.compress(cpio.write_newc(of_files(KINDS[kind])), mtime=0)
    with pytest.raises(BadInput, match=why):
        tagged(of_files(files | {f"boot/{NAMES[kind]}": data}))


# ---- bad inputs


def base_of(**files) -> bytes:
    return cpio.write_newc(
        {
            path: entry
            for path, entry in of_files({n.replace("__", "/"): h for n, h in files.items()}).items()
            if path
        }
    )


BASES = {
    "no init": (base_of(x=b""), "has no /init"),
    "an unknown maker": (base_of(init=b"#!/bin/ash\n"), "its /init (#!/bin/ash) is of no known maker"),
    "another kernel's": (base_of(**{"lib__x.ko": module("2.6.18-8.el5", "x")}), "has modules for kernel 2.6.18-8.el5"),
    "not an initrd": (b"hello", "something unknown"),
}  # fmt: skip


@pytest.mark.parametrize("what", BASES)
def test_an_unusable_base_is_refused_with_the_reason(what, tmp_path):
    data, message = BASES[what]
    (tmp_path / "base.img").write_bytes(data)
    with pytest.raises(BadInput) as error:
        build(root(), base=str(tmp_path / "base.img"))
    assert message in str(error.value)


def test_a_reference_without_an_initrd_is_told_where_it_was_looked_for():
    with pytest.raises(
        BadInput,
        match=rf"looked for initrd\.img-{MODERN}, initrd-{MODERN}\.img, initramfs-{MODERN}\.img",
    ):
        build(root())


def test_every_unknown_module_is_named_at_once():
    with pytest.raises(BadInput) as error:
        build(root(), base="none", modules=("tg4", "virtio_nett"))
    assert len(error.value.problems) == 2 and 'module "tg4" not found in kernel' in str(error.value)


def test_a_kernel_without_nfs_cannot_mount_an_nfs_root():
    tree = of_files(kernel_files(MODERN, {"drivers/net/virtio_net.ko": ""}))
    with pytest.raises(BadInput, match="cannot mount an NFS root"):
        build(tree, base="none")


def overlaid(tree: Tree, version: str = MODERN, **options) -> content.BuiltInitrd:
    wanted = image(**options)._replace(root="nfs-overlay")
    return build_initrd(recipe_of(wanted, tree, kernel(version)), lambda note: None)


def test_a_root_that_is_written_above_has_the_module_of_it():
    tree = of_files(kernel_files(MODERN, MODULES | {"fs/overlayfs/overlay.ko": ""}))
    made = overlaid(tree, base="none", modules=("tg3",))
    assert made.modules == (*build(tree, base="none", modules=("tg3",)).modules, "overlay")
    builtin = root(
        **{f"lib__modules__{MODERN}__modules.builtin": b"kernel/fs/overlayfs/overlay.ko\n"}
    )
    assert "overlay" not in overlaid(builtin, base="none", modules=("tg3",)).modules


@pytest.mark.parametrize(
    ("version", "has", "why"),
    [
        (EL5, "", "has no overlay file system"),
        (MODERN, "", "has no overlay file system"),
        ("3.19.0-25-generic", "fs/overlayfs/overlay.ko", "lays no overlay over NFS, as Linux does"),
    ],
)
def test_a_kernel_that_cannot_write_above_an_nfs_root_is_refused(version, has, why):
    needs = EL5_MODULES if version == EL5 else MODULES
    files = kernel_files(version, needs | ({has: ""} if has else {}), version == EL5)
    with pytest.raises(BadInput, match=f"root: nfs-overlay: kernel {version} {why}.*`root: nfs`"):
        overlaid(of_files(files), version, base="none")


@pytest.mark.parametrize("kind", ["dracut", "initramfs-tools"])
def test_so_is_that_of_a_distributions_image_whose_module_the_root_has(kind):
    files = of_files(KINDS[kind])
    data = gzip.compress(cpio.write_newc({path: each for path, each in files.items() if path}))
    tree = root(**{f"boot__{NAMES[kind]}": data})
    with pytest.raises(BadInput, match="has no overlay file system"):
        overlaid(tree)
    more = of_files(kernel_files(MODERN, MODULES | {"fs/overlayfs/overlay.ko": ""}))
    assert overlaid(tree | more).data == data


CARDS = {path: more for path, more in MODULES.items() if "nfs" not in more + path}
del CARDS["fs/lockd/lockd.ko"]
OF_FILE = {"drivers/block/loop.ko": "", "fs/overlayfs/overlay.ko": "", "lib/libcrc32c.ko": ""}
EROFS = OF_FILE | {"fs/erofs/erofs.ko": "libcrc32c", "crypto/crc32c_generic.ko": ""}
SQUASHFS = OF_FILE | {"fs/squashfs/squashfs.ko": ""}


def of_file(tree: Tree, version: str = MODERN, **options) -> content.BuiltInitrd:
    wanted = image(**options)._replace(root="ram")
    return build_initrd(recipe_of(wanted, tree, kernel(version)), lambda note: None)


@pytest.mark.parametrize(("needs", "system"), [(EROFS, "erofs"), (SQUASHFS, "squashfs")])
def test_a_root_that_is_fetched_needs_no_nfs_and_auto_is_our_own_image(needs, system):
    made = of_file(of_files(kernel_files(MODERN, CARDS | needs)), modules=("tg3",))
    assert made.kind == "own" and {system, "loop", "overlay"} <= set(made.modules)
    assert not any("nfs" in name for name in made.modules)
    tree = unpacked(made).tree
    assert b"fileroot" in tree
    assert all(b"bin/" + name.encode() in tree for name in busybox.ROOT_FILE)


VERITY = EROFS | {"drivers/md/dm_mod.ko": "", "drivers/md/dm_verity.ko": "dm_mod"}


def checked(needs: dict[str, str], *others: Tree) -> content.BuiltInitrd:
    wanted = image(base="none")._replace(root="nfs-file")
    tree = of_files(kernel_files(MODERN, MODULES | needs))
    for other in others:
        tree |= other
    return build_initrd(recipe_of(wanted, tree, kernel(MODERN)), lambda note: None)


def test_a_root_file_that_is_mounted_takes_nfs_verity_and_programs_of_the_root(tmp_path):
    """They run from the image alone, without whatever else the reference has."""
    made = checked(VERITY, of_program("dmsetup"), of_program("losetup"))
    assert {"nfs", "erofs", "loop", "overlay", "dm_verity"} <= set(made.modules)
    assert "nfsv4" not in made.modules, "the largest of all of NFS, and the site says version 3"
    tree = unpacked(made).tree
    assert {b"netroot", b"fileroot", b"mount-root"} <= set(tree) and b"fetch" not in tree
    for path in tree:
        if tree[path].type == FILE:
            place = tmp_path / os.fsdecode(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read_content(tree[path]))
            place.chmod(tree[path].mode)
    for words, says in (("dmsetup version", "Library version"), ("losetup --help", "--direct-io")):
        run = ["chroot", tmp_path, *f"/usr/sbin/{words}".split()]
        assert says in subprocess.run(run, capture_output=True, text=True).stdout


def test_a_root_file_is_mounted_without_a_losetup_of_the_root():
    tree = unpacked(checked(VERITY, of_program("dmsetup"))).tree
    assert not {b"sbin/losetup", b"usr/sbin/losetup"} & tree.keys()


@pytest.mark.parametrize(
    ("needs", "others", "why"),
    [
        (EROFS, ["dmsetup"], f"kernel {MODERN} has no dm_verity; take a newer kernel"),
        (VERITY, [], "takes dmsetup in the initrd, which the reference lacks; install dmsetup"),
    ],
)
def test_a_reference_that_cannot_check_blocks_is_refused(needs, others, why):
    with pytest.raises(BadInput, match=f"root: nfs-file .*{why}"):
        checked(needs, *map(of_program, others))


@pytest.mark.parametrize(
    ("version", "needs", "why"),
    [
        (EL5, {}, "has no loop, no overlay, no erofs or squashfs"),
        (MODERN, {"fs/erofs/erofs.ko": "", "drivers/block/loop.ko": ""}, "has no overlay;"),
    ],
)
def test_a_kernel_that_cannot_have_its_root_as_a_file_is_refused(version, needs, why):
    tree = of_files(kernel_files(version, (EL5_MODULES if version == EL5 else MODULES) | needs))
    with pytest.raises(BadInput, match=f"root: ram cannot be: kernel {version} {why}"):
        of_file(tree, version, base="none")


@pytest.mark.parametrize("kind", ["dracut", "initramfs-tools"])
def test_a_distributions_image_that_was_named_fetches_no_root(kind, tmp_path):
    files = of_files(KINDS[kind])
    data = gzip.compress(cpio.write_newc({path: each for path, each in files.items() if path}))
    (tmp_path / "initrd").write_bytes(data)
    tree = of_files(kernel_files(MODERN, MODULES | EROFS))
    with pytest.raises(BadInput, match=f"an initrd of {kind} .*say `initrd: {{base: none}}`"):
        of_file(tree, base=str(tmp_path / "initrd"))


def signed_alone(tree: Tree, **options) -> content.BuiltInitrd:
    wanted = image(**options)._replace(loader="uki")
    return build_initrd(recipe_of(wanted, tree, kernel(MODERN)), lambda note: None)


def test_one_signed_file_takes_an_initrd_of_our_own_which_gets_its_site_data_itself():
    found = unpacked(signed_alone(root(), base="none")).tree
    assert {b"meet-site", b"bin/tftp"} <= found.keys()
    assert b"meet-site" not in unpacked(build(root(), base="none")).tree


@pytest.mark.parametrize("kind", KINDS)
def test_one_signed_file_refuses_what_could_not_boot_with_the_reason(kind):
    files = of_files(KINDS[kind])
    data = gzip.compress(cpio.write_newc({path: each for path, each in files.items() if path}))
    tree = root(**{f"boot__{NAMES[kind]}": data})
    with pytest.raises(BadInput, match=f"an initrd of {kind} takes its server .*base: none"):
        signed_alone(tree)
    old = root(**{f"boot__vmlinuz-{MODERN}": b"\x1f\x8b no program of UEFI"})
    with pytest.raises(BadInput, match=f"kernel {MODERN} is no program of UEFI on a PC"):
        signed_alone(old, base="none")


def by_version(vers: str, tree: Tree, version: str = MODERN) -> content.BuiltInitrd:
    wanted = image(base="none")._replace(nfs=NfsMount(vers))
    return build_initrd(recipe_of(wanted, tree, kernel(version)), lambda note: None)


def test_a_root_by_nfs_4_is_the_same_initrd():
    assert by_version("4.2", root()).data == by_version("3", root()).data


@pytest.mark.parametrize(
    ("vers", "version", "lacks", "why"),
    [
        ("4.1", EL5, "", f"kernel {EL5} is too old for it"),
        ("4.2", "3.10.0-1160.el7", "", "kernel 3.10.0-1160.el7 is too old for it"),
        ("4.1", MODERN, "nfsv4", f"kernel {MODERN} has no module nfsv4"),
    ],
)
def test_a_kernel_that_does_not_know_the_version_of_nfs_is_refused(vers, version, lacks, why):
    needs = {path: held for path, held in MODULES.items() if not lacks or lacks not in path}
    tree = root(EL5) if version == EL5 else of_files(kernel_files(version, needs))
    with pytest.raises(BadInput, match=f"nfs: vers: {vers}: {why}; say `vers: 3`"):
        by_version(vers, tree, version)


def test_klibc_mounts_by_version_3_alone():
    files = of_files(INITRAMFS_TOOLS)
    data = gzip.compress(cpio.write_newc({path: each for path, each in files.items() if path}))
    tree = root(**{f"boot__{NAMES['initramfs-tools']}": data})
    wanted = image()._replace(nfs=NfsMount("4.1"))
    with pytest.raises(BadInput, match="nfsmount, which knows version 3 alone.*base: none"):
        build_initrd(recipe_of(wanted, tree, kernel(MODERN)), lambda note: None)


@pytest.mark.parametrize("kind", BY_NAME)
def test_the_options_of_a_release_come_last_in_every_kinds_line(kind):
    plain = network_root(kind, "1.2.3.4:/r/x", "", "quiet").split()
    line = network_root(kind, "1.2.3.4:/r/x", "vers=4.2,nconnect=4", "quiet")
    mine = [word for word in line.split() if "1.2.3.4:/r/x" in word]
    assert len(mine) == 1 and mine[0].endswith(",nconnect=4")
    there = [word for word in plain if "1.2.3.4:/r/x" in word]
    assert mine[0] == there[0].replace("vers=3", "vers=4.2") + ",nconnect=4"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("dracut", "rd.shell=0 rd.emergency=reboot"), ("initramfs-tools", "panic=60")],
)
def test_a_distributions_image_that_fails_starts_again_unless_the_site_wants_its_shell(kind, words):
    """A hall is switched on, and the server is the last to be ready."""
    line = network_root(kind, "1.2.3.4:/r/x", "", "rd.shell=1 panic=")
    assert line.endswith(f" {words} rd.shell=1 panic=")


def test_a_compression_that_the_kernel_cannot_read_is_refused():
    with pytest.raises(BadInput, match="cannot read an initrd compressed with zstd"):
        build(root(EL5), EL5, base="none", compression="zstd")


# ---- site.img, hooks.img


def test_site_data_is_one_small_archive_of_data():
    files = {"plugnode/hosts": b"127.0.0.1 localhost\n", "plugnode/layouts/a": b"#!/bin/sh\n"}
    data = site_image.site_img(files)
    assert data == site_image.site_img(dict(reversed(files.items())))
    tree = cpio.read_image(data, "site.img").tree
    held = {path.decode(): entry for path, entry in tree.items() if entry.type == FILE}
    assert {path: read_content(entry) for path, entry in held.items()} == files
    assert {entry.mode for entry in held.values()} == {0o644}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_distributions_image_runs_of_ours_comes_in_an_archive_of_the_release(kind):
    made, base = modern(kind)
    assert made.data == base  # to the byte
    hooks = cpio.read_image(made.hooks, "hooks.img").tree
    assert hooks[b"plugnode/handover"].mode == 0o755
    assert {b"conf/conf.d/plugnode", b"etc/conf.d/plugnode.conf"} <= hooks.keys()


def test_other_images_have_theirs_inside():
    assert build(root(), base="none").hooks == b""
    assert nash_build(gzip.compress(cpio.write_newc(el5_base()))).hooks == b""


@pytest.mark.parametrize("kind", KINDS)
def test_the_archives_behind_an_image_leave_every_symlink_of_it_alone(kind):
    made, base = modern(kind)
    before = cpio.read_image(base, "x").tree
    more = made.hooks + site_image.site_img({"plugnode/hosts": b""})
    after = cpio.read_image(base + more, "x").tree
    links = {path: entry for path, entry in before.items() if entry.type == LINK}
    assert {path: after[path] for path in links} == links
    assert resolve(after, b"lib/dracut" if kind == "dracut" else b"lib").startswith(b"usr/lib")


def test_the_tools_read_what_is_built():
    made = build(root(), base="none")
    names = subprocess.run(
        "zcat | cpio -it --quiet", shell=True, input=made.data, capture_output=True, check=True
    ).stdout
    assert names.splitlines() == sorted(names.splitlines()) and b"init" in names.splitlines()
