"""site.img: a second initrd that says who the nodes are, and the hooks that bring it to /run/plugnode."""

from __future__ import annotations

from collections.abc import Iterable

from ..archive import compression, cpio
from ..initrd.build import REPOSITORY
from ..initrd.content import file_entry, put_entry, script_of
from ..site.model import Disk, Site
from ..site_data import HOSTS
from ..tree.model import Tree

HOOKS = {  # path in the image: file of overlays/initrd/
    "plugnode/common.sh": "common.sh",
    "plugnode/identity": "identity",
    "plugnode/handover": "handover",
    "plugnode/dracut.hook": "dracut.hook",
    "etc/conf.d/plugnode.conf": "dracut.conf",
    "pre-pivot/20-plugnode.sh": "dracut.hook",  # dracut of EL6
    "conf/conf.d/plugnode": "initramfs-tools.conf",
}


def site_image(site: Site, hosts: bytes) -> dict[str, bytes]:
    """What the node's scripts read, as site.img brings it: path -> bytes. `hosts`: as generated."""
    layouts = {node.layout: node.disk for node in site.nodes if node.layout}
    files = {
        HOSTS: hosts,
        "plugnode/nodes": _nodes_table(site),
        "plugnode/site": _site_values(site),
    }
    for name in sorted(layouts):
        files[f"plugnode/layouts/{name}"] = layout_lines(layouts[name])
    return files


def _nodes_table(site: Site) -> bytes:
    """A line a node, sorted by address: address, name, MAC, groups, layout, wipe token; tabs between, `-` for none."""
    rows = [
        (
            node.ip,
            node.name,
            node.mac,
            ",".join(node.groups) or "-",
            node.layout or "-",
            node.wipe or "-",
        )
        for node in site.nodes
    ]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _site_values(site: Site) -> bytes:
    network = site.network
    values = {
        "site": site.name, "subnet": network.subnet, "domain": network.domain or "", "gateway": network.gateway or "",
        "dns": ",".join(network.dns), "ntp": ",".join(network.ntp),
        "servers": ",".join(server.ip for server in site.servers),
    }  # fmt: skip
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode()


def layout_lines(disk: Disk) -> bytes:
    """A disk's layout for `setup.sh`: lines of a keyword and its values; sizes in MiB."""
    match = disk.match._asdict()
    allowed = match.pop("removable")
    lines = [f"table {disk.table}", f"required {'yes' if disk.required else 'no'}"]
    lines += [f"device {pattern}" for pattern in disk.devices]
    lines += [f"match {key} {value}" for key, value in match.items() if value is not None]
    lines += ["allow removable"] if allowed else []
    lines += [
        f"partition {part.mount} {part.size or 'rest'} {part.fs} {part.label} {part.fill or '-'}"
        for part in disk.partitions
    ]
    for part in disk.partitions:
        lines += [f"options {part.mount} {part.options}"] if part.options else []
        lines += [f"mode {part.mount} {part.mode}"] if part.mode else []
    return "".join(line + "\n" for line in lines).encode()


# ---- site.img ------------------------------------------------------------------------------------------------------


def site_img(files: dict[str, bytes], folders: Iterable[str] = ()) -> bytes:
    """The second initrd: `files` (path -> bytes) and the hooks that bring them to /run/plugnode, gzip newc."""
    tree: Tree = {}
    for path, data in {**hooks(folders), **files}.items():
        put_entry(tree, path, file_entry(data, 0o755 if data[:2] == b"#!" else 0o644))
    return compression.gzip(cpio.write_newc(tree))


def hooks(folders: Iterable[str] = ()) -> dict[str, bytes]:
    """Files that dracut's and initramfs-tools' images run, in folders that are no symlinks there: a folder of a second
    archive replaces a symlink of the first, and with `lib -> usr/lib` every library would be lost."""
    return {place: script_of((*folders, REPOSITORY), name) for place, name in HOOKS.items()}
