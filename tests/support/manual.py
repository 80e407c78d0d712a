"""Files that the manual has, for those who try them."""

from __future__ import annotations

from tests.support.commands import REPOSITORY

PAGE = REPOSITORY / "docs/boot.md"
UNKEPT = (
    '"lease-database": { "type": "memfile", "persist": false },'
    ' "server-id": { "type": "LL", "persist": false },'
)


def kea_of_manual(hosts: str, card: str, loader: str = "shimx64.efi") -> str:
    """Kea's file for nodes that boot by IPv6, with other names; nothing of it is kept."""
    text = PAGE.read_text().partition("## IPv6\n")[2]
    text = text[text.index('{ "Dhcp6"') :].partition("```")[0]
    said = {"eth1": card, "/etc/kea/dhcp6_hosts.json": hosts, "shimx64.efi": loader}
    for old, new in said.items():
        text = text.replace(old, new)
    return text.replace('{ "Dhcp6": {', f'{{ "Dhcp6": {{ {UNKEPT}', 1)
