"""Units below a real systemd, where a folder cannot be made: which fail, and what the node says of them.

A user's manager in namespaces of its own. Its configuration is below HOME, which is read-only and lacks the folder, so
that mkdir says EROFS as it does on an NFS root.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.core.rootfs.units import keep_configuration
from tasks.core.tree.model import generated_file, read_content
from tests.support.commands import REPOSITORY
from tests.support.sample_site import put

MANAGER = "/usr/lib/systemd/systemd"
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(MANAGER), reason="needs root and systemd"
)
LIB = "etc/systemd/system/"
UNIT = """\
[Service]
Type=oneshot
ConfigurationDirectory=gone
ExecStart=/bin/sh -c 'echo %p in "$CONFIGURATION_DIRECTORY" >>$RAN'
"""
ALL = "[Unit]\nWants=cured.service plain.service last.service\n"
LAST = (
    "[Unit]\nAfter=cured.service plain.service\n[Service]\nExecStart=/bin/sh -c 'echo >$RAN.all'\n"
)
SCRIPT = f"""\
set -eu
mount -t tmpfs run /run
mkdir -p /run/systemd/system
mount --bind "$HOME" "$HOME"
mount -o remount,ro,bind "$HOME"
XDG_RUNTIME_DIR=/run {MANAGER} --user --unit=all.target >"$LOG" 2>&1 &
read -r line <"$RAN.all"
"$TELL"
"""


def boot(tmp_path: Path, *services: str) -> tuple[str, str]:
    """Start those; what ran, and the last words on the console."""
    units = {"all.target": ALL, "last.service": LAST} | dict.fromkeys(services, UNIT)
    for name, text in units.items():
        put(tmp_path / "home/.config/systemd/user" / name, text.encode())
    made = keep_configuration({f"{LIB}cured.service".encode(): generated_file(UNIT.encode())})
    dropin = "cured.service.d/zz-plugnode.conf"
    text = read_content(made[f"{LIB}{dropin}".encode()])
    put(tmp_path / "home/.config/systemd/user" / dropin, text)
    root = tmp_path / "root"
    for folder in ("dev", "proc", "run/plugnode", "run/systemd/system"):
        (root / folder).mkdir(parents=True)
    (root / "proc/mounts").touch()
    (root / "proc/uptime").write_text("12.34 20.00\n")
    os.mkfifo(tmp_path / "ran.all")
    overlay = REPOSITORY / "overlays/worker/etc"
    settings = {
        "HOME": tmp_path / "home",
        "RAN": tmp_path / "ran",
        "LOG": tmp_path / "log",
        "ROOT": root,
        "PARTS": overlay / "plugnode",
        "TELL": overlay / "tell.sh",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    env = {name: str(value) for name, value in settings.items()}
    subprocess.run([*apart, "sh", "-c", SCRIPT], env=env, check=True, timeout=300)
    return (tmp_path / "ran").read_text(), (root / "dev/console").read_text()


def test_a_unit_that_is_cured_starts_and_one_that_is_not_is_named_on_the_console(tmp_path: Path):
    ran, console = boot(tmp_path, "cured.service", "plain.service")
    assert ran == "cured in /etc/gone\n"
    assert "\nplugnode: node: failed plain.service\n" in console
    assert console.splitlines()[-1] == "plugnode: node: ready 12.34 s"


def test_a_node_of_which_no_unit_failed_says_so(tmp_path: Path):
    assert "\nplugnode: node: failed none\n" in boot(tmp_path, "cured.service")[1]


def test_a_mount_that_fails_ends_in_no_shell_that_nobody_can_log_in_to():
    """What systemd's own unit says besides; no drop-in takes a dependency back."""
    name = "etc/systemd/system/local-fs.target"
    own = lines(REPOSITORY / "overlays/systemd" / name)
    theirs = lines(Path(MANAGER).parent / "system/local-fs.target")
    assert own == [line for line in theirs if not line.startswith("OnFailure")]


def lines(unit: Path) -> list[str]:
    return [line for line in unit.read_text().splitlines() if line and line[0] != "#"]
