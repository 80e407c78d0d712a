"""The kernel of an image and the modules that its drivers need."""

from __future__ import annotations

import gzip
import lzma

import pytest
import zstandard

from tasks.core.base.errors import BadInput
from tasks.core.initrd import modules
from tasks.core.initrd.kernel import Kernel, choose, version_key
from tasks.core.tree.model import symlink
from tests.support.initrd_images import (
    EL5,
    EL5_MODULES,
    bzimage,
    kernel,
    kernel_files,
    module,
    of_files,
)

NFS = {"fs/nfs/nfs.ko": "", "fs/nfs/nfsv3.ko": "nfs"}


def versions(*names: str):
    return of_files(
        {path: held for name in names for path, held in kernel_files(name, NFS).items()}
    )


SORTED = [
    "2.6.9-89.ELsmp", "2.6.18-8.el5", "2.6.18-194.el5", "2.6.18-194.8.1.el5", "2.6.32-754.el6.x86_64", "5.9.1-1-amd64",
    "5.10.0-8-amd64", "5.10.0-33-amd64", "6.1-rc3-amd64", "6.1-amd64", "6.1.0-56-amd64", "6.12.1", "6.12.10",
]  # fmt: skip


def test_versions_sort_by_age():
    assert sorted([*SORTED[5:], *SORTED[:5]], key=version_key) == SORTED


@pytest.mark.parametrize("at", range(1, len(SORTED)))
def test_the_newest_kernel_is_chosen(at):
    assert choose(versions(*SORTED[: at + 1]), "auto").version == SORTED[at]


def test_rescue_debug_and_xen_kernels_are_never_the_newest():
    tree = versions(
        "4.18.0-1.el8.x86_64", "0-rescue-0123", "4.18.0-9.el8.x86_64+debug", "4.18.0-9.el8xen"
    )
    assert choose(tree, "auto").version == "4.18.0-1.el8.x86_64"


def test_a_kernel_without_modules_is_passed_over():
    tree = versions("6.1.0-1-amd64") | of_files(
        {"boot/vmlinuz-6.1.0-2-amd64": bzimage("6.1.0-2-amd64")}
    )
    assert choose(tree, "auto").version == "6.1.0-1-amd64"


def test_modules_below_usr_are_found_through_the_link():
    files = {
        path.replace("lib/", "usr/lib/", 1): held
        for path, held in kernel_files("6.1.0", NFS).items()
    }
    chosen = choose(of_files({**files, "lib": "usr/lib"}), "6.1.0")
    assert chosen.modules == b"usr/lib/modules/6.1.0" and chosen.path == b"boot/vmlinuz-6.1.0"


BAD = {
    "none at all": ({"boot/README": b"x"}, "auto", "no boot/vmlinuz-* in the reference"),
    "not there": (
        kernel_files(EL5, NFS),
        "2.6.18-194.el5",
        f"no such file: boot/vmlinuz-2.6.18-194.el5 - nearest: {EL5}",
    ),
    "a folder": ({f"boot/vmlinuz-{EL5}/x": b"x"}, EL5, "no such file"),
    "empty": (kernel_files(EL5, NFS) | {f"boot/vmlinuz-{EL5}": b""}, EL5, "is empty"),
    "no kernel": (
        kernel_files(EL5, NFS) | {f"boot/vmlinuz-{EL5}": b"x" * 4096},
        EL5,
        "is not an x86 kernel (no HdrS at 0x202)",
    ),
    "another inside": (
        kernel_files(EL5, NFS) | {f"boot/vmlinuz-{EL5}": bzimage("2.6.18-1")},
        EL5,
        "is kernel 2.6.18-1 inside",
    ),
    "others' modules": (
        kernel_files("2.6.18-1", NFS) | {f"boot/vmlinuz-{EL5}": bzimage(EL5)},
        EL5,
        f"kernel is {EL5}, but the reference has modules for 2.6.18-1",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_an_unusable_kernel_is_refused_with_the_reason(what):
    files, wanted, message = BAD[what]
    with pytest.raises(BadInput) as error:
        choose(of_files(files), wanted)
    assert str(error.value).startswith("site.yaml:1:1: kernel: ") and message in str(error.value)


# ---- modules


def closure(files, *names):
    tree = of_files(files)
    known = modules.read_modules(tree, kernel())
    return modules.closure(tree, known, names)


@pytest.mark.parametrize("absolute", [True, False], ids=["as EL5 writes it", "as today"])
def test_modules_come_after_all_they_need(absolute):
    order, problems = closure(
        kernel_files(EL5, EL5_MODULES, absolute), "pcnet32", "virtio-net", "nfs"
    )
    assert (order, problems) == (
        [
            "mii",
            "pcnet32",
            "virtio",
            "virtio_ring",
            "virtio_net",
            "sunrpc",
            "lockd",
            "nfs_acl",
            "nfs",
        ],
        [],
    )


def weakly_updated(target: str):
    """What weak-modules(8) of EL makes of a driver that was built for an earlier kernel."""
    own = "lib/modules/6.1"
    tree = of_files(
        {
            f"{own}/modules.dep": b"weak-updates/ixgbe/ixgbe.ko:\n",
            "lib/modules/6.0/extra/ixgbe/ixgbe.ko": b"driver",
        }
    )
    tree[f"{own}/weak-updates/ixgbe/ixgbe.ko".encode()] = symlink(target.encode())
    known = modules.read_modules(tree, Kernel("6.1", b"boot/vmlinuz-6.1", own.encode()))
    return tree, known, modules.closure(tree, known, ["ixgbe"])


@pytest.mark.parametrize("top", ["/lib/modules", "../../.."])
def test_a_module_that_is_a_link_into_another_kernels_folder_is_that_file(top):
    tree, known, (order, problems) = weakly_updated(f"{top}/6.0/extra/ixgbe/ixgbe.ko")
    assert (order, problems) == (["ixgbe"], [])
    assert modules.load_module(tree, known, "ixgbe") == b"driver"


@pytest.mark.parametrize("folder", ["updates/dkms", "extra/r8168"])
def test_a_cards_driver_that_dkms_made_is_known_by_what_it_calls(folder):
    own = "lib/modules/6.1"
    files = {
        f"{own}/modules.dep": f"{folder}/r8168.ko.xz:\n{folder}/zfs.ko:\n".encode(),
        f"{own}/{folder}/r8168.ko.xz": lzma.compress(b"\0eth_type_trans\0"),
        f"{own}/{folder}/zfs.ko": b"\0register_filesystem\0",
    }
    tree = of_files(files)
    known = modules.read_modules(tree, Kernel("6.1", b"boot/vmlinuz-6.1", own.encode()))
    found = modules.network_drivers(tree, known, ["zfs", "r8168", "gone"])
    assert found == ["r8168"]


def test_such_a_link_whose_kernel_was_removed_is_named():
    *_, (_, problems) = weakly_updated("/lib/modules/5.9/extra/ixgbe/ixgbe.ko")
    assert "module ixgbe is in modules.dep but not in the tree" in str(problems[0])


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".zst"])
def test_modules_of_any_compression_are_loaded_plain(ending):
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}[
        ending
    ]
    files = kernel_files(EL5, {f"drivers/net/virtio-net.ko{ending}": ""})
    files[f"lib/modules/{EL5}/kernel/drivers/net/virtio-net.ko{ending}"] = pack(
        module(EL5, "virtio_net")
    )
    tree = of_files(files)
    known = modules.read_modules(tree, kernel())
    assert modules.load_module(tree, known, "virtio_net") == module(EL5, "virtio_net")
    assert modules.file_name(known, "virtio_net") == "virtio-net.ko"


def test_what_is_built_in_needs_no_file():
    files = kernel_files(EL5, {"drivers/net/tg3.ko": ""}) | {
        f"lib/modules/{EL5}/modules.builtin": b"kernel/drivers/net/mii.ko\n"
    }
    assert closure(files, "mii", "tg3") == (["tg3"], [])


def test_soft_dependencies_come_first_and_may_be_aliases():
    files = kernel_files(
        EL5,
        {
            "fs/ext4.ko": "libcrc32c",
            "lib/libcrc32c.ko": "",
            "crypto/crc32c_generic.ko": "",
            "net/a.ko": "",
        },
    )
    files[f"lib/modules/{EL5}/modules.softdep"] = (
        b"# soft\nsoftdep libcrc32c pre: crc32c gone post: a\n"
    )
    files[f"lib/modules/{EL5}/modules.alias"] = b"alias crc32c crc32c_generic\nalias pci:v*d* a\n"
    assert closure(files, "ext4") == (["crc32c_generic", "libcrc32c", "ext4"], [])


def test_soft_dependencies_in_a_circle_come_to_an_end():
    files = kernel_files(EL5, {"a.ko": "", "b.ko": ""})
    files[f"lib/modules/{EL5}/modules.softdep"] = b"softdep a pre: b\nsoftdep b pre: a\n"
    order, _ = closure(files, "a")
    assert set(order) == {"a", "b"}


def test_unknown_modules_are_all_named_with_the_nearest():
    _, problems = closure(kernel_files(EL5, EL5_MODULES), "pcnet3", "ext")
    assert [problem.message for problem in problems] == [
        f'module "pcnet3" not found in kernel {EL5} - nearest: pcnet32',
        f'module "ext" not found in kernel {EL5} - nearest: ext3',
    ]


def test_a_dependency_whose_file_is_gone_is_named():
    files = kernel_files(EL5, EL5_MODULES)
    del files[f"lib/modules/{EL5}/kernel/drivers/net/mii.ko"]
    _, problems = closure(files, "pcnet32")
    assert (
        "module pcnet32 needs mii, which is in modules.dep but not in the tree: run `depmod"
        in problems[0].message
    )


def test_a_tree_where_depmod_never_ran_says_so():
    with pytest.raises(ValueError, match=r"modules\.dep of kernel .* is missing: run `depmod"):
        modules.read_modules(of_files({"boot/x": b""}), kernel())


def test_firmware_that_a_module_names_is_found_in_any_compression():
    tree = of_files({"lib/firmware/a.bin": b"a", "lib/firmware/b.bin.xz": lzma.compress(b"b")})
    assert modules.firmware(tree, module(EL5, "x", "a.bin", "b.bin", "c.bin"), EL5) == (
        {"a.bin": b"a", "b.bin": b"b"},
        ["c.bin"],
    )


def test_firmware_is_looked_for_where_the_kernel_looks_and_in_its_order():
    places = [f"updates/{EL5}/", "updates/", f"{EL5}/", ""]
    files = {f"lib/firmware/{place}nic/fw.bin": place.encode() for place in places}
    others = {"lib/firmware/5.0/nic/fw.bin": b"of another kernel"}
    driver = module(EL5, "x", "nic/fw.bin")
    while files:
        first = next(iter(files.values()))
        found = modules.firmware(of_files(others | files), driver, EL5)
        assert found == ({"nic/fw.bin": first}, [])
        files.pop(next(iter(files)))
    assert modules.firmware(of_files(others), driver, EL5) == ({}, ["nic/fw.bin"])


def test_firmware_that_is_plain_comes_before_compressed_firmware_of_a_folder_before_it():
    packed = {"lib/firmware/updates/a.bin.xz": lzma.compress(b"packed")}
    plain = {"lib/firmware/a.bin": b"plain"}
    driver = module(EL5, "x", "a.bin")
    assert modules.firmware(of_files(packed), driver, EL5) == ({"a.bin": b"packed"}, [])
    assert modules.firmware(of_files(packed | plain), driver, EL5) == ({"a.bin": b"plain"}, [])


def test_a_module_says_which_kernel_it_is_for():
    assert modules.version_of(module(EL5, "x")) == EL5 and modules.version_of(b"x") == ""
