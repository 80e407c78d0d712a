"""VLANs and bonds where this machine's kernel may have none: user-mode Linux and its modules."""

from __future__ import annotations

from pathlib import Path

from tests.support import user_mode

MODULES = (
    "lib/crc-ccitt net/llc/llc net/802/stp net/802/garp net/802/mrp net/ipv6/ipv6 "
    "net/8021q/8021q net/bridge/bridge drivers/net/veth"
).split()
FIRST = """\
mkdir -p /run/netns
insmod /usr/lib/uml/modules/*/kernel/drivers/net/bonding/bonding.ko max_bonds=0
"""
missing = user_mode.missing


def run(folder: Path, script: str) -> list[str]:
    """The lines that a shell script said on that kernel, the last of them `status N`."""
    return user_mode.run(folder, f'{FIRST}{script}\necho "status $?"', MODULES).splitlines()
