"""site.img: a second initrd that says who the nodes are, with the hooks that bring it along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..archive import compression, cpio
from ..base.files import REPOSITORY
from ..initrd.content import file_entry, put_entry, script_of
from ..site.model import Disk, DiskMatch, Node, Partition, Site
from ..site_data import HOSTS
from ..tree.model import Tree

HOOKS = {  # path in the image: file of overlays/initrd/
    "plugnode/common.sh": "common.sh",
    "plugnode/identity": "identity",
    "plugnode/above": "above",
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
    if facts := _facts_table(site):
        files["plugnode/facts"] = facts
    for name in sorted(layouts):
        files[f"plugnode/layouts/{name}"] = layout_lines(layouts[name])
    return files


def _nodes_table(site: Site) -> bytes:
    """A line a node, sorted by address; tabs between what it says of one, `-` for none."""
    rows = [row for node in site.nodes for row in _node_rows(node)]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _node_rows(node: Node) -> Iterator[tuple[str, ...]]:
    """Address, name, MAC, groups, layout, wipe token: a line for each card that it may boot from.

    A token for foreign disks is in a column of its own: an earlier setup.sh would wipe with it a
    disk of ours.
    """
    groups = ",".join(node.groups) or "-"
    wipe = node.wipe or "-"
    tokens = ("-", wipe) if wipe.startswith("foreign:") else (wipe,)
    for mac in node.macs or ("-",):
        yield node.ip, node.name, mac, groups, node.layout or "-", *tokens


def _facts_table(site: Site) -> bytes:
    """A line a node that has any: its address, then `name=words` each behind a tab."""
    lines = []
    for node in site.nodes:
        if node.facts:
            facts = [f"{name}={words}" for name, words in node.facts]
            lines.append("\t".join((node.ip, *facts)) + "\n")
    return "".join(lines).encode()


def _site_values(site: Site) -> bytes:
    network = site.network
    values = {
        "site": site.name,
        "subnet": network.subnet,
        "domain": network.domain or "",
        "gateway": network.gateway or "",
        "dns": ",".join(network.dns),
        "ntp": ",".join(network.ntp),
        "servers": ",".join(server.ip for server in site.servers),
    }
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode()


def layout_lines(disk: Disk) -> bytes:
    """A disk's layout for `setup.sh`: lines of a keyword and its values; sizes in MiB."""
    lines = [f"table {disk.table}", f"required {'yes' if disk.required else 'no'}"]
    lines += [f"device {pattern}" for pattern in disk.devices]
    lines += _match_lines(disk.match)
    lines += map(_partition_line, disk.partitions)
    for part in disk.partitions:
        if part.options:
            lines.append(f"options {part.mount} {part.options}")
        if part.mode:
            lines.append(f"mode {part.mount} {part.mode}")
    return "".join(line + "\n" for line in lines).encode()


def _match_lines(match: DiskMatch) -> list[str]:
    """What a disk must be like."""
    words = match._asdict()
    is_removable_allowed = words.pop("removable")
    lines = [f"match {key} {value}" for key, value in words.items() if value is not None]
    return [*lines, "allow removable"] if is_removable_allowed else lines


def _partition_line(part: Partition) -> str:
    return f"partition {part.mount} {part.size or 'rest'} {part.fs} {part.label} {part.fill or '-'}"


# site.img


def site_img(files: dict[str, bytes], folders: Iterable[str] = ()) -> bytes:
    """The second initrd, gzip newc: `files`, and the hooks that bring them to /run/plugnode."""
    tree: Tree = {}
    for path, data in {**hooks(folders), **files}.items():
        put_entry(tree, path, file_entry(data, 0o755 if data[:2] == b"#!" else 0o644))
    return compression.gzip(cpio.write_newc(tree))


def hooks(folders: Iterable[str] = ()) -> dict[str, bytes]:
    """Files that dracut's and initramfs-tools' images run, in folders that are no symlinks there.

    A folder of a second archive replaces a symlink of the first: with `lib -> usr/lib` every
    library would be lost.
    """
    every = (*folders, REPOSITORY)
    return {path: script_of(every, name) for path, name in HOOKS.items()}
