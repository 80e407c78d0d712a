"""A kernel that is a process, with drivers that this machine's kernel may lack: user-mode Linux.

Its root is this machine's, read-only, with /run and /tmp of its own; this checkout is there under its
own name, and one folder that can be written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.commands import REPOSITORY

# Starting a program that loads no libraries costs a fifth there, and scripts start hundreds
BUSYBOX = (
    "awk basename cat chmod cut date dd grep head ls mkdir readlink rm sed sleep sort stat sync "
    "tail touch tr wc"
).split()
LONGEST = 300  # seconds, while other work has this machine
# Folders of the host by mount(2), as busybox has it: fsconfig(2), which util-linux takes since 2.39,
# has no option without a name
INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p {folder} {checkout}
busybox mount -r -t hostfs none {checkout} -o {checkout}
busybox mount -t hostfs none {folder} -o {folder}
for name in {busybox}; do mount -o bind /bin/busybox $(readlink -f $(which $name)); done
for name in {modules}; do insmod /usr/lib/uml/modules/*/kernel/$name.ko; done
{{
{script}
}} >{folder}/said 2>&1
umount {folder} 2>/dev/null || sync
/bin/busybox poweroff -f
"""
# Its memory is a file, which need not be one of a disk. Not the first process of its namespace: a
# panic ends by abort(3), which does nothing there
START = 'mount -t tmpfs tmpfs "$TMPDIR" && "$@"; exit'


def missing() -> str:
    """Why there can be no such kernel here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for mounts"
    if not shutil.which("linux.uml"):
        return "needs linux.uml (Debian's user-mode-linux)"
    return "" if os.access("/bin/busybox", os.X_OK) else "needs /bin/busybox (busybox-static)"


def run(folder: Path, script: str, modules: Sequence[str], devices: Sequence[str] = ()) -> str:
    """What a shell script said on that kernel, in a process whose end is also the kernel's.

    `modules`: paths below kernel/, in the order of their loading; `devices`: words of its command
    line.
    """
    init, said, memory = (folder / name for name in ("init", "said", "memory"))
    init.write_text(
        INIT.format(
            folder=folder,
            checkout=REPOSITORY,
            busybox=" ".join(BUSYBOX),
            modules=" ".join(modules),
            script=script,
        )
    )
    init.chmod(0o755)
    said.unlink(missing_ok=True)
    memory.mkdir(exist_ok=True)
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", START, "sh"]
    kernel = "linux.uml mem=192M root=none rootfstype=hostfs rootflags=/ ro quiet con=null".split()
    log = folder / "kernel.log"
    try:
        with open(log, "wb") as to:
            subprocess.run(
                [*apart, *kernel, "con0=null,fd:1", *devices, f"init={init}"],
                stdin=subprocess.DEVNULL, stdout=to, stderr=to, timeout=LONGEST, check=False,
                env={**os.environ, "TMPDIR": str(memory)},
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        heard = [path.read_text() for path in (said, log) if path.exists()]
        raise AssertionError("\n".join([f"no end after {LONGEST} s, but:", *heard])) from None
    return (said if said.exists() else log).read_text()
