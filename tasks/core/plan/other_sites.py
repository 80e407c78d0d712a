"""Another site of the same server: nothing of it is ever taken for ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ..base.errors import Refused
from ..base.nodeset import fold_nodes
from ..services import exports
from ..services.merged_exports import exported_by_site
from ..site_data import site_of_image
from ..store.boot_files import read_files
from ..store.nodes import NodeFacts, read_nodes
from ..store.paths import RELEASE_ID, Targets
from .state import Actual, Desired

Nodes = Mapping[str, NodeFacts]

# The root in nfsroot=SERVER:ROOT/RELEASE, as each kind of initrd has it
_ROOT = re.compile(rf":(/[^\s,:]*)/{RELEASE_ID}(?![\w.-])".encode())


def refuse(actual: Actual, desired: Desired) -> None:
    """Raises Refused where tftp_root or nfs_root is another site's: its nodes would boot ours."""
    paths = [service.path for service in desired.services if exports.site_of(service.path)]
    path = paths[0] if paths else ""
    site = exports.site_of(path) or site_of_image(desired.site_img)
    if site:
        _refuse_root(actual, desired, site)
    exported = exported_by_site(path, actual.targets.nfs, actual.exports)
    ours = {export.path for export in exported}
    refuse_boot_files(actual.targets, desired.nodes, ours)


def _refuse_root(actual: Actual, desired: Desired, site: str) -> None:
    targets = actual.targets
    lost = strangers(nodes_of(targets), desired.nodes)
    deployed = site_of_image(actual.site_img)
    names = set(_exporting(actual.exports, targets.nfs, site))
    if deployed and not names:
        names = {deployed}
    if not lost or not names or site in names:
        return
    both = f"{targets.tftp} and {targets.nfs} are" if deployed in names else f"{targets.nfs} is"
    who = " or ".join(f"site {name}" for name in sorted(names))
    clients = _clients_of(targets.nfs, actual.exports)
    raise Refused(
        f"{both} in use by {who}: nodes {fold_nodes(lost)} would lose their boot files and their "
        f"export ({clients}); give site {site} a tftp_root and an nfs_root of its own; if it is "
        "the same site by a new name, deploy that first, with its nodes as they are"
    )


def _clients_of(nfs: str, found: exports.ExportsFound) -> str:
    """Whom this nfs_root is exported to; itself where to nobody."""
    clients = [line.client for line in exports.all_of(found) if line.path == nfs]
    return ", ".join(dict.fromkeys(clients)) or nfs


def _exporting(found: exports.ExportsFound, nfs: str, site: str) -> Iterator[str]:
    """The sites whose files export this nfs_root."""
    for path, data in found.files.items():
        lines = exports.exports_of(exports.present(data))
        fsids = {line.fsid for line in lines if line.path == nfs}
        if fsids and exports.site_of(path):
            yield exports.site_of(path)
        elif fsids and path == exports.SHARED:
            yield site if exports.fsid_of(site, nfs) in fsids else _written_for(data)


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
    roots = _roots_named(read_files(targets).values())
    for root in sorted(roots - {targets.nfs, *ours}):
        other = targets._replace(nfs=root)
        lost = strangers(nodes_of(other), nodes)
        if lost:
            who = f"in use by a site whose nfs_root is {root}"
            yield f"{targets.tftp} is {who}: nodes {fold_nodes(lost)} would lose their boot files"


def _roots_named(files: Iterable[bytes]) -> set[str]:
    """The nfs_roots that boot files name."""
    roots = set[bytes]()
    for data in files:
        roots.update(_ROOT.findall(data))
    return {root.decode() for root in roots}


def nodes_of(targets: Targets) -> Nodes:
    """The nodes that were deployed last; none where that is damaged."""
    try:
        return read_nodes(targets)
    except Refused:
        return {}


def strangers(deployed: Nodes, desired: Nodes) -> list[str]:
    """The deployed nodes that another site has.

    None where most of them are in both: then it is this one.
    """
    known = set(map(_card, desired.values()))
    lost = [name for name, node in deployed.items() if _card(node) not in known]
    if len(lost) * 2 <= len(deployed):
        return []
    return sorted(lost)


def _card(node: NodeFacts) -> str:
    return node.get("mac") or node.get("ip", "")
