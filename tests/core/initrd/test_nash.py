"""nash scripts as mkinitrd of EL4 and EL5 writes them: the disk's root goes, every other line stays."""

from __future__ import annotations

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.initrd import nash
from tests.support.commands import REPOSITORY

SCRIPTS = REPOSITORY / "tests/initrd"
CALL = "/bin/busybox sh /nash-root"
BLOCK = """\
echo Plugnode network root
echo "Loading pcnet32.ko module"
insmod /lib/pcnet32.ko
/bin/busybox sh /nash-root
"""
GONE = {
    "nash-lvm": """\
echo Scanning and configuring dmraid supported devices
dm create nvidia_abcd 0 625142446 linear 8:0 0
rmparts sda
dm partadd nvidia_abcd
echo Scanning logical volumes
lvm vgscan --ignorelockingfailure
echo Activating logical volumes
lvm vgchange -ay --ignorelockingfailure  VolGroup00
resume /dev/VolGroup00/LogVol01
echo Creating root device.
mkrootdev -t ext3 -o defaults,ro /dev/VolGroup00/LogVol00
echo Mounting root filesystem.
mount /sysroot
""",
    "nash-plain": """\
echo Scanning and configuring dmraid supported devices
resume LABEL=SWAP-hda3
echo Creating root device.
mkrootdev -t ext3 -o defaults,ro hda1
echo Mounting root filesystem.
mount /sysroot
""",
}


def patched(script: str) -> str:
    return nash.patch(script.encode(), "initrd.img/init", ["/lib/pcnet32.ko"], CALL).decode()


@pytest.mark.parametrize("name", GONE)
def test_the_block_of_the_disk_s_root_and_nothing_else_is_replaced(name):
    script = (SCRIPTS / name).read_text()
    assert patched(script) == script.replace(GONE[name], BLOCK)


def test_el4_s_script_keeps_what_stands_between():
    script, new = (SCRIPTS / "nash-el4").read_text(), patched((SCRIPTS / "nash-el4").read_text())
    left = [line for line in script.splitlines() if line not in new.splitlines()]
    assert left[0] == "echo Making device-mapper control node" and left[-1].startswith(
        "mount -o defaults --ro"
    )
    assert f"umount /sys\n{BLOCK}mount -t tmpfs --bind /dev /sysroot/dev\n" in new


def test_any_line_of_the_preparation_may_be_missing():
    script = (SCRIPTS / "nash-plain").read_text()
    for line in (
        "echo Scanning and configuring dmraid supported devices\n",
        "resume LABEL=SWAP-hda3\n",
    ):
        script = script.replace(line, "")
        assert BLOCK in patched(script) and "mkrootdev" not in patched(script)


def test_the_modules_that_it_loads_are_known():
    assert nash.loaded((SCRIPTS / "nash-plain").read_text()) == [
        "/lib/jbd.ko",
        "/lib/ext3.ko",
        "/lib/mii.ko",
    ]


def test_comments_and_echoes_that_only_speak_of_a_root_are_left():
    script = (
        (SCRIPTS / "nash-plain")
        .read_text()
        .replace(
            "setquiet\n", "setquiet\n# mkrootdev and mount /sysroot follow\necho resume later\n"
        )
    )
    assert patched(script).startswith(script[: script.index("echo Scanning")])


PLAIN = (SCRIPTS / "nash-plain").read_text()
BAD = {
    "no root device": (PLAIN.replace("mkrootdev", "#"), "looked for `mkrootdev"),
    "no mount": (PLAIN.replace("mount /sysroot\n", ""), "looked for `mkrootdev"),
    "mount before the device": (
        PLAIN.replace("setquiet", "mount /sysroot").replace("filesystem.\nmount /sysroot", ""),
        "looked for",
    ),
    "the block twice": (PLAIN + PLAIN, "2 times"),
    "two mounts": (
        PLAIN.replace("mount /sysroot\n", "mount /sysroot\nmount /sysroot\n"),
        "2 times",
    ),
    "already ours": (patched(PLAIN), "already has Plugnode's network root"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_script_without_one_clear_place_is_refused(what):
    script, message = BAD[what]
    with pytest.raises(BadInput) as error:
        patched(script)
    assert str(error.value).startswith("initrd.img/init:") and message in str(error.value)


@pytest.mark.parametrize(
    ("line", "nash_script"), [("#!/bin/nash", True), ("#! /sbin/nash", True), ("#!/bin/sh", False)]
)
def test_a_nash_script_is_known_by_its_first_line(line, nash_script):
    assert nash.is_nash(line.encode() + b"\n") is nash_script
