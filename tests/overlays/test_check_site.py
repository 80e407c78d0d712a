"""Signed site data in the initrd, in the shells that run it, with the ssh-keygen that a release brings."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from tasks.core.archive import compression, cpio
from tasks.core.base.ssh import public_keys
from tasks.core.config.site_image import site_img
from tasks.core.initrd import busybox
from tasks.core.initrd.build import build_initrd, recipe_of
from tasks.core.site_data import SIGNED, signed
from tasks.core.tree.model import CHAR, DIR, LINK, Tree, read_content
from tasks.core.trust.signatures import sign
from tests.support.commands import REPOSITORY
from tests.support.initrd_images import dracut_files, image, kernel, kernel_files, of_files

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) is root's")
OVERLAY = REPOSITORY / "overlays/initrd"
SHELLS = {"busybox ash": ["busybox", "ash"], "dash": ["dash"], "bash": ["bash", "--posix"]}
VERSION = "6.1.0-56-amd64"
NAMES = ["fs/nfs/nfs.ko", "fs/nfs/nfsv3.ko", "net/sunrpc/sunrpc.ko", "drivers/net/virtio_net.ko"]
MODULES = dict.fromkeys(NAMES, "")
DATA = site_img(
    {"plugnode/site": b"site=grid\n", "plugnode/nodes": b"1.2.3.4\twn001\t-\t-\t-\ttoken\n"}
)
OLDER = site_img({"plugnode/site": b"site=grid\n", "plugnode/nodes": b"1.2.3.4\told\t-\t-\t-\t-\n"})


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Private keys of every kind that ssh-keygen makes."""
    found, folder = {}, tmp_path_factory.mktemp("keys")
    for name, kind in (
        ("own", "ed25519"),
        ("old", "rsa"),
        ("stranger", "ed25519"),
        ("ec", "ecdsa"),
    ):
        found[name] = folder / name
        words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", found[name]]
        subprocess.run(words, check=True)
    return found


def archives(keys: dict[str, pathlib.Path], base: str) -> bytes:
    """What a release of a kind brings, that knows the keys `own` and `old`."""
    files = kernel_files(VERSION, MODULES)
    if base == "dracut":
        inner = {path: entry for path, entry in of_files(dracut_files(VERSION)).items() if path}
        files[f"boot/initramfs-{VERSION}.img"] = compression.gzip(cpio.write_newc(inner))
    wanted = image(base="none" if base == "own" else "auto")
    recipe = recipe_of(wanted, of_files(files), kernel(VERSION))
    known = [pathlib.Path(f"{keys[name]}.pub").read_bytes() for name in ("own", "old")]
    lines = tuple(line for data in known for line in public_keys(data))
    made = build_initrd(recipe._replace(keys=lines), lambda note: None)
    assert len(made.keys) == 2 and all(key.startswith("SHA256:") for key in made.keys)
    return made.hooks or made.data


@pytest.fixture(scope="module", params=["own", "dracut"])
def release(request, keys, tmp_path_factory) -> pathlib.Path:
    """The files of its initrd, as the kernel lays them out."""
    folder = tmp_path_factory.mktemp(request.param)
    unpack(cpio.read_image(archives(keys, request.param), "x").tree, folder)
    if not (folder / "check-site").exists():
        shutil.copy(folder / "plugnode/check-site", folder)
        shutil.copy(OVERLAY / "common.sh", folder)
        shutil.copy(OVERLAY / "identity", folder)
    return folder


def unpack(tree: Tree, folder: pathlib.Path) -> None:
    for path, entry in tree.items():
        place = folder / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.type == DIR:
            place.mkdir(exist_ok=True)
        elif entry.type == LINK:
            place.symlink_to(os.fsdecode(entry.link))
        elif entry.type == CHAR:
            assert entry.device
            os.mknod(place, 0o20000 | entry.mode, os.makedev(*entry.device))
        else:
            place.write_bytes(read_content(entry))
            place.chmod(entry.mode)


def check(release: pathlib.Path, shell: str, loaded: bytes) -> str:
    """What is said of site data that came: the name of the node at 1.2.3.4, or what is wrong."""
    for name in ("signed", "data"):
        shutil.rmtree(release / "plugnode" / name, ignore_errors=True)
    (release / "plugnode/nodes").write_text("1.2.3.4\tforged\t-\t-\t-\tforce:1\n")
    unpack(cpio.read_image(loaded, "x").tree, release)
    script = '. "$ROOT/common.sh"; . "$ROOT/identity"; . "$ROOT/check-site"; '
    script += (
        'if check_site; then name_of 1.2.3.4; echo "${is_site_signed:-}"; else echo "$told"; fi'
    )
    settings = {"ROOT": str(release), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    argv = [*SHELLS[shell], "-euc", script]
    done = subprocess.run(argv, env=settings, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def by(key: pathlib.Path, data: bytes = DATA) -> bytes:
    return sign({"x": data}, str(key))["x"]


@pytest.mark.parametrize("shell", SHELLS)
def test_site_data_counts_as_a_key_of_the_release_has_signed_it(release, keys, shell):
    for name in ("own", "old"):
        loaded = signed(DATA, by(keys[name]))[SIGNED]
        assert check(release, shell, loaded) == "wn001\nyes"  # and not what lies beside


@pytest.mark.parametrize("shell", SHELLS)
def test_one_good_signature_of_several_is_enough(release, keys, shell):
    both = by(keys["ec"]) + by(keys["own"])
    assert check(release, shell, signed(DATA, both)[SIGNED]) == "wn001\nyes"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_other_is_refused_with_a_line_that_says_why(release, keys, shell):
    good, stranger = by(keys["own"]), by(keys["stranger"])
    changed = DATA[:-30] + bytes([DATA[-30] ^ 1]) + DATA[-29:]
    wrong = "no key of this release has signed it"
    assert wrong in check(release, shell, signed(changed, good)[SIGNED])
    assert wrong in check(release, shell, signed(DATA, stranger)[SIGNED])
    assert wrong in check(release, shell, signed(OLDER, good)[SIGNED])
    assert wrong in check(release, shell, signed(DATA, good.replace(b"A", b"B"))[SIGNED])
    assert wrong in check(release, shell, signed(DATA, b"junk\n")[SIGNED])
    assert "nobody has signed it" in check(release, shell, signed(DATA, b"")[SIGNED])
    assert "there is none that is signed" in check(release, shell, DATA)


def test_an_older_one_that_was_signed_counts_too(release, keys):
    """As docs/security.md says: nothing in it tells which is the newest."""
    loaded = signed(OLDER, by(keys["own"], OLDER))[SIGNED]
    assert check(release, "dash", loaded) == "old\nyes"


def test_what_a_key_has_signed_for_another_purpose_is_no_signature(release, keys, tmp_path):
    (tmp_path / "x").write_bytes(DATA)
    words = ["ssh-keygen", "-Y", "sign", "-f", keys["own"], "-n", "file", tmp_path / "x"]
    subprocess.run(words, check=True, capture_output=True)
    loaded = signed(DATA, (tmp_path / "x.sig").read_bytes())[SIGNED]
    assert "no key of this release" in check(release, "dash", loaded)


def test_a_release_without_keys_asks_for_none(tmp_path):
    for name in ("common.sh", "identity", "check-site"):
        shutil.copy(OVERLAY / name, tmp_path / name)
    (tmp_path / "plugnode").mkdir()
    assert check(tmp_path, "dash", DATA) == "wn001"


def test_a_kernel_older_than_any_ssh_keygen_of_today_asks_for_none_and_the_build_says_so(keys):
    lines = public_keys(pathlib.Path(f"{keys['own']}.pub").read_bytes())
    files = of_files(kernel_files("2.6.32-754.el6", MODULES))
    recipe = recipe_of(image(base="none"), files, kernel("2.6.32-754.el6"))._replace(keys=lines)
    made = build_initrd(recipe, lambda note: None)
    assert made.keys == () and b"plugnode/trust/keys" not in cpio.read_image(made.data, "x").tree
    assert any("takes site data unsigned" in note for note in made.notes)


def test_the_references_own_ssh_keygen_is_taken_where_it_knows_signatures():
    here = busybox.checker(of_files({}), busybox.X86_64, "site.yaml")
    assert {"bin/ssh-keygen"} < here.keys() and any("libc.so" in path for path in here)
    old = {"usr/bin/ssh-keygen": here["bin/ssh-keygen"].replace(b"check-novalidate", b"-" * 16)}
    assert busybox.checker(of_files(old), busybox.X86_64, "site.yaml") == here
    own = {f"usr/{path}" if "/" in path[:4] else path: data for path, data in here.items()}
    own["usr/bin/ssh-keygen"] += b"its own"
    taken = busybox.checker(of_files(own), busybox.X86_64, "site.yaml")
    assert taken["bin/ssh-keygen"].endswith(b"its own")
