"""File capabilities (capabilities(7)), as an attribute holds them and as setcap takes them."""

from __future__ import annotations

import struct

from .model import Entry

ATTRIBUTE = "security.capability"
# linux/capability.h, by number
NAMES = """
chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read
perfmon bpf checkpoint_restore
""".split()
EFFECTIVE = 1  # a flag beside the version
# By version: how often permitted and inheritable follow, 32 bits each
PAIRS = {0x01000000: 1, 0x02000000: 2, 0x03000000: 2}


def capabilities(entry: Entry) -> str:
    """`cap_net_raw=ep` of a file; "" where it has none, or none that is understood."""
    flag, permitted, inheritable = _sets(dict(entry.xattrs).get(ATTRIBUTE, b""))
    groups: dict[str, list[str]] = {}
    for number in range(64):
        has = "i" * (inheritable >> number & 1) + "p" * (permitted >> number & 1)
        if has:
            groups.setdefault(flag + has, []).append(_name(number))
    return " ".join(f"{','.join(names)}={has}" for has, names in groups.items())


def _sets(data: bytes) -> tuple[str, int, int]:
    """Whether they are effective, as "e"; those permitted and inheritable, as bits."""
    magic = int.from_bytes(data[:4], "little")
    pairs = PAIRS.get(magic & 0xFF000000, 0)
    if len(data) < 4 + 8 * pairs:
        return "", 0, 0
    words = struct.unpack_from(f"<{2 * pairs}I", data, 4)
    return "e" * (magic & EFFECTIVE), _joined(words[::2]), _joined(words[1::2])


def _joined(words: tuple[int, ...]) -> int:
    """The low word first."""
    return sum(word << 32 * at for at, word in enumerate(words))


def _name(number: int) -> str:
    return f"cap_{NAMES[number]}" if number < len(NAMES) else str(number)
