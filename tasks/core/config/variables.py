"""The tables of docs/templates.md: every variable of a template, as the views have them.

A table stands between `<!-- variables of NAME -->` and `<!-- end of variables -->`. The values are
those of a site that is given; what each means is said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..release import Release
from ..site.model import Site
from .boot_files import BootLabel, boot_views, image_view
from .render import site_view
from .templates import View

TABLE = re.compile(r"(<!-- variables of (\w+) -->\n).*?(<!-- end of variables -->\n)", re.DOTALL)
LONGEST = 60  # characters of a value that is shown

MEANINGS = {
    "site": "the site's name",
    "subnet": "the nodes' network",
    "address": "its first address",
    "netmask": "its mask",
    "gateway": "the router; empty where there is none",
    "domain": "the DNS domain; empty where there is none",
    "dns": "name servers",
    "ntp": "time servers",
    "options": "DHCP's options, each a name of Kea's and its value, those that the site gives",
    "lease_max": "how many leases dnsmasq may give",
    "servers": "the boot servers",
    "servers.name": "a server's name",
    "servers.ip": "its address",
    "servers.tag": "dnsmasq's condition for its nodes; empty with one server",
    "next_server": "the boot server's address; empty with several, where each node says its own",
    "nodes": "the nodes, by address",
    "nodes.name": "a node's name",
    "nodes.mac": "its network card",
    "nodes.ip": "its address",
    "nodes.server": "the name of its boot server",
    "nodes.next_server": "that server's address",
    "hosts": "the site's further lines of `hosts`: an address and its names",
    "nfs_root": "the folder that is exported",
    "tftp_root": "the folder that TFTP serves",
    "fsid": "the export's number, the same on each server of the site",
    "drop_in": "`yes` where dnsmasq reads the file besides its own; else empty",
    "loaders": "what DHCP names, by firmware",
    "loaders.bios": "for BIOS",
    "loaders.uefi": "for UEFI",
    "loaders.ipxe": "for iPXE",
    "ipxe_class": "what iPXE calls itself",
    "ipxe_hex": "the same in hex, for Kea",
    "syslog_at": "the addresses at which servers hear of boots",
    "syslog_port": "the UDP port there",
    "boots_log": "the file that keeps the reports of boots",
    "title": "whom the file is for, in a sentence",
    "label": "the image's name, or the release that its nodes are pinned to",
    "cmdline": "kernel arguments of the node's own",
    "serial": "the serial console that the arguments name, for the loader; empty without",
    "serial.unit": "its number",
    "serial.speed": "its speed",
    "others": "whether nodes have files of their own beside this one",
    "release": "the release that is booted",
    "site_id": "the folder of `site.img`",
    "names": "an archive that a release of before needs besides; empty else",
    "arguments": "all kernel arguments but the node's own",
}


def with_variables(page: str, site: Site) -> str:
    """The page with its tables written anew."""
    views = views_of(site)

    def table(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        rows = [f"| `{key}` | {value} | {text} |\n" for key, value, text in rows_of(views[name])]
        return f"{begin}| variable | of the example site | |\n|---|---|---|\n{''.join(rows)}{end}"

    return TABLE.sub(table, page)


def views_of(site: Site) -> dict[str, View]:
    """What each kind of template sees."""
    facts = ("root", "xattrs", "initrd", "kernel")
    image = site.images[0]
    release = Release(
        f"{image.name}-3f9a1c2b4d5e", image.name, image.cmdline, *facts, "6.12", "own", 0, 0
    )
    label = BootLabel(image.name, release, "site-0b1c2d3e4f50")
    return {
        "site": site_view(site),
        "boot": boot_views(site)["pxelinux.cfg/default"][1],
        "image": image_view(site, site.servers[0], label),
    }


def rows_of(view: View) -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of each variable, and of what lists and mappings hold."""
    for name, value in view.items():
        yield name, _shown(value), MEANINGS.get(name, "")
        for inner, held in _inside(value):
            yield f"{name}.{inner}", _shown(held), MEANINGS.get(f"{name}.{inner}", "")


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What a mapping has, or the first one of a list of mappings."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        value = value[0] if value else ""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        yield from value.items()


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple, Mapping)) and not all(map(_is_text, value)):
        return "a list"
    if hasattr(value, "_asdict") or isinstance(value, Mapping):
        return "values by name"
    if isinstance(value, (list, tuple)):
        value = ", ".join(value)
    text = f"`{value}`" if value else ""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…`"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
