"""A kernel that is a process, and has VLANs and bonds where this machine's may have none: user-mode Linux.

Its root is this machine's, read-only; the test's folder is there under its own name, and can be written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MODULES = Path("/usr/lib/uml/modules")
NEEDED = (
    "lib/crc-ccitt net/llc/llc net/802/stp net/802/garp net/802/mrp net/ipv6/ipv6 "
    "net/8021q/8021q net/bridge/bridge drivers/net/veth"
).split()
LONGEST = 100  # seconds, while other work has this machine
INIT = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p {folder} /run/netns
mount -t hostfs none {folder} -o {folder}
{{
  cd {modules}/*/kernel
  for name in {needed}; do insmod $name.ko; done
  insmod drivers/net/bonding/bonding.ko max_bonds=0
  {script}
  echo "status $?"
}} >{folder}/said 2>&1
umount {folder} 2>/dev/null || sync
/bin/busybox poweroff -f
"""


def missing() -> str:
    """Why there can be no such kernel here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for mounts"
    if not shutil.which("linux.uml"):
        return "needs linux.uml (Debian's user-mode-linux)"
    return "" if os.access("/bin/busybox", os.X_OK) else "needs /bin/busybox (busybox-static)"


def run(folder: Path, script: str) -> list[str]:
    """The lines that a shell script said on that kernel, the last of them `status N`."""
    init = folder / "init"
    words = {"folder": folder, "modules": MODULES, "needed": " ".join(NEEDED), "script": script}
    init.write_text(INIT.format(**words))
    init.chmod(0o755)
    memory = 'mount -t tmpfs tmpfs "$TMPDIR" && exec "$@"'  # its memory is a file
    (folder / "memory").mkdir(exist_ok=True)
    kernel = "linux.uml mem=160M root=none rootfstype=hostfs rootflags=/ ro quiet con=null".split()
    with open(folder / "kernel.log", "wb") as log:
        subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", memory, "sh",
             *kernel, "con0=null,fd:1", f"init={init}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=LONGEST, check=False,
            env={**os.environ, "TMPDIR": str(folder / "memory")},
        )  # fmt: skip
    return (folder / "said").read_text().splitlines()
