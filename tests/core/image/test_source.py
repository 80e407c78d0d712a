"""What decides whether a root or an initrd is made again is what they are made of, and no more."""

from __future__ import annotations

import pytest

from tasks.core.image.source import ImageSource, settings_for
from tasks.core.site.keys import INITRD, ROOT
from tasks.core.site.model import Image, Initrd, Reference

IMAGE = Image(
    "worker",
    Reference("path", "/srv/reference"),
    exclude=("/scratch/*",),
    overlays=("site",),
    kernel="6.1.0-9-amd64",
    initrd=Initrd(modules=("tg3",)),
    cmdline="console=ttyS0",
    interface="eth1",
    keep=("etc/key",),
)


def source(made: str, image: Image = IMAGE, folder: str = "/srv") -> ImageSource:
    wanted = settings_for(made, image)
    tree, state = f"{folder}/tree", f"{folder}/state"
    return ImageSource(made, wanted, tree, True, state, (folder,), "site.yaml")


def test_a_root_is_told_no_setting_of_the_initrd():
    told = settings_for(ROOT, IMAGE)
    assert (told.kernel, told.initrd, told.interface, told.cmdline) == (
        "auto", Initrd(), "eth0", "",
    )  # fmt: skip
    assert (told.exclude, told.overlays, told.keep) == (("/scratch/*",), ("site",), ("etc/key",))


def test_an_initrd_is_told_no_setting_of_the_root():
    told = settings_for(INITRD, IMAGE)
    assert (told.exclude, told.overlays, told.keep, told.cmdline) == ((), (), (), "")
    assert (told.kernel, told.initrd.modules, told.interface) == (
        "6.1.0-9-amd64", ("tg3",), "eth1",
    )  # fmt: skip


@pytest.mark.parametrize(
    "change, root, initrd",
    [
        ({"keep": ()}, True, False),
        ({"overlays": ("site", "more")}, True, False),
        ({"interface": "eth0"}, False, True),
        ({"initrd": Initrd(compression="xz")}, False, True),
        ({"cmdline": "quiet"}, False, False),
        ({"loaders": (("pxelinux.0", "/srv/pxelinux.0"),)}, False, False),
    ],
)
def test_a_setting_decides_about_what_is_made_by_it(change, root, initrd):
    other = IMAGE._replace(**change)
    assert (source(ROOT).fingerprint != source(ROOT, other).fingerprint) == root
    assert (source(INITRD).fingerprint != source(INITRD, other).fingerprint) == initrd


def test_where_files_lie_decides_nothing():
    assert source(ROOT).fingerprint == source(ROOT, folder="/elsewhere").fingerprint
    assert source(ROOT) != source(ROOT, folder="/elsewhere")
