"""Neighbours: another site of the same server. Nothing of it is ever taken for ours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from ..base.errors import Refused
from ..base.nodeset import fold_nodes
from ..services import exports
from ..site_data import files_of
from ..store.boot_files import read_files
from ..store.kept import NodeFacts, read_nodes
from ..store.paths import Targets
from .state import Actual, Desired

Nodes = Mapping[str, NodeFacts]

# The root in nfsroot=SERVER:ROOT/RELEASE, as each kind of initrd has it
_ROOT = re.compile(rb":(/[^\s,:]*)/[A-Za-z0-9][\w.-]*-[0-9a-f]{12}(?![\w.-])")


def refuse(there: Actual, wanted: Desired) -> None:
    """Raises Refused where tftp_root or nfs_root is another site's: its nodes would boot ours."""
    paths = [service.path for service in wanted.services if exports.site_of(service.path)]
    path = paths[0] if paths else ""
    site = exports.site_of(path) or _name_in(wanted.site_img)
    if site:
        _refuse_root(there, wanted, site)
    ours = {export.path for export in exports.mine(path, there.targets.nfs, there.exports)}
    refuse_boot_files(there.targets, wanted.nodes, ours)


def _refuse_root(there: Actual, wanted: Desired, site: str) -> None:
    targets = there.targets
    lost = strangers(nodes_of(targets), wanted.nodes)
    deployed = _name_in(there.site_img)
    names = set(_exporting(there.exports, targets.nfs, site)) or {deployed} - {""}
    if not lost or not names or site in names:
        return
    who = " or ".join(f"site {name}" for name in sorted(names))
    both = f"{targets.tftp} and {targets.nfs} are" if deployed in names else f"{targets.nfs} is"
    lines = [line for line in exports.all_of(there.exports) if line.path == targets.nfs]
    clients = ", ".join(dict.fromkeys(line.client for line in lines)) or targets.nfs
    raise Refused(
        f"{both} in use by {who}: nodes {fold_nodes(lost)} would lose their boot files and their export "
        f"({clients}); give site {site} a tftp_root and an nfs_root of its own; if it is the same "
        "site by a new name, deploy that first, with its nodes as they are"
    )


def _exporting(found: exports.ExportsFound, nfs: str, site: str) -> Iterator[str]:
    """The sites whose files export this nfs_root."""
    for path, data in found.files.items():
        now = [line for line in exports.exports_of(exports.now(data)) if line.path == nfs]
        if now and exports.site_of(path):
            yield exports.site_of(path)
        elif now and path == exports.SHARED:
            ours = any(line.fsid == exports.fsid_of(site, nfs) for line in now)
            yield site if ours else _written_for(data)


def _written_for(data: bytes) -> str:
    """The site that the head of a generated exports file names."""
    found = re.search(rb"^#.* of site ([\w.-]+)[,.]", data, re.MULTILINE)
    return found[1].decode() if found else "another"


def refuse_boot_files(targets: Targets, nodes: Nodes, ours: Iterable[str] = ()) -> None:
    """Raises Refused where another site is served from this tftp_root."""
    for line in served(targets, nodes, ours):
        raise Refused(f"{line}; two sites of a server need a tftp_root each")


def served(targets: Targets, nodes: Nodes, ours: Iterable[str] = ()) -> Iterator[str]:
    """A line for each site whose nodes boot files below tftp_root lead elsewhere than to `ours`."""
    if not nodes:  # nothing is known of ours
        return
    files = read_files(targets)
    named = {root.decode() for data in files.values() for root in _ROOT.findall(data)}
    for root in sorted(named - {targets.nfs, *ours}):
        lost = strangers(nodes_of(dataclasses.replace(targets, nfs=root)), nodes)
        if lost:
            who = f"in use by a site whose nfs_root is {root}"
            yield f"{targets.tftp} is {who}: nodes {fold_nodes(lost)} would lose their boot files"


def nodes_of(targets: Targets) -> Nodes:
    """The nodes that were deployed last; none where that is damaged."""
    try:
        return read_nodes(targets)
    except Refused:
        return {}


def strangers(there: Nodes, wanted: Nodes) -> list[str]:
    """The nodes that another site has; none where most of them are in both: then it is this one."""
    known = set(map(_card, wanted.values()))
    lost = [name for name, node in there.items() if _card(node) not in known]
    return sorted(lost) if len(lost) * 2 > len(there) else []


def _card(node: NodeFacts) -> str:
    return node.get("mac") or node.get("ip", "")


def _name_in(site_img: bytes) -> str:
    """The site whose data that is; "" where that cannot be seen."""
    found = re.search(rb"^site=(.*)$", files_of(site_img).get("plugnode/site", b""), re.MULTILINE)
    return found[1].decode(errors="replace") if found else ""
