"""What was built, as one page for reviewers: facts ──> view ──> HTML.

Nothing of the machine or the day is in it: the same facts make the same bytes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from ..archive import cpio
from ..base.nodeset import fold_nodes
from ..base.text import counted, human, show_path
from ..config.boot_files import arguments_of, server_of
from ..config.templates import compiled, render_template, template_loader
from ..initrd.build import BY_NAME
from ..reference.kinds import kind_of
from ..release import Release
from ..site.model import Image, Node, Partition, Reference, Site, partitions_of
from ..tree.model import DIR, FILE, LINK, Entry, Tree
from ..tree.mtree import path_of, unescape
from .findings import boot_view, checks_view, plan_view

MOST_CELLS = 512  # nodes that are drawn one by one; more are folded
LONGEST_LIST = 500  # rows of one list
LONGEST_TEXT = 64_000  # characters of one generated file
MOST_FILES = 60  # generated files with their text
FOLDERS = 16  # the largest ones
DEPTH = 2

# Of a manifest: what follows the path of a file that runs as its owner or group
_SETUID = re.compile(rb" type=file mode=([2-7][0-7]{3}) uid=(\d+) gid=(\d+) size=(\d+) ")
# and of each file the folders above it, and its size
_FOLDERS = rb"((?:[^/ \n]+/){0,%d})" % DEPTH
_SIZES = re.compile(rb"^\./" + _FOLDERS + rb"\S+ type=file [^\n]* size=(\d+) ", re.MULTILINE)

View = dict[str, Any]


@dataclass(frozen=True)
class BuiltImage:
    """What the stages left of one image."""

    image: Image
    release: Release
    notes: Mapping[str, Any]  # notes.json
    made: Mapping[str, Any]  # initrd.json
    manifest: bytes  # root.mtree
    initrd: bytes
    kernel_size: int


class Findings(NamedTuple):
    """What commands left of this build, as JSON; None where none did."""

    plan: Mapping[str, Any] | None = None  # see findings.plan_view
    checks: Sequence[Sequence[str]] | None = None  # rows of file, verdict, words
    boot: Mapping[str, Any] | None = None  # timings.json; of this build or an earlier one
    cluster: Mapping[str, Any] | None = None  # see operate/overview.py


@dataclass(frozen=True)
class ReportFacts:
    site: Site
    built: tuple[BuiltImage, ...]
    files: Mapping[str, bytes]  # path below build/configs -> bytes
    places: tuple[str, ...] = ()  # folders of this machine, which notes may name
    found: Findings = Findings()
    revision: Mapping[str, Any] | None = None  # the site's commit, see base/git.py


@dataclass(frozen=True)
class CellList:
    """The first rows of a list, and how long all of it is."""

    rows: Sequence[Any]
    count: int

    @property
    def more(self) -> int:
        return self.count - len(self.rows)


def listing(rows: Iterable[Any]) -> CellList:
    found = list(rows)
    return CellList(found[:LONGEST_LIST], len(found))


# --- HTML


def render_report(view: View, templates: Iterable[str]) -> bytes:
    """The page. `templates`: folders, the first that has a `report.html` wins."""
    return render_page("report.html", view, templates)


def render_page(name: str, view: View, templates: Iterable[str]) -> bytes:
    """A page of HTML by the template of that name."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    folders = tuple(templates)
    environment = ImmutableSandboxedEnvironment(
        loader=template_loader(folders),
        bytecode_cache=compiled(folders, __file__),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=printable,
    )
    environment.filters.update(human=human, grown=size_change, number=grouped)
    return render_template(environment, name, view)


def size_change(size: int) -> str:
    return ("\u2212" if size < 0 else "+") + human(abs(size))


def grouped(count: int) -> str:
    """A number, its thousands apart by narrow spaces."""
    return f"{count:,}".replace(",", "\u202f")


def printable(value: Any) -> Any:
    """Text as a page may hold it, whatever bytes a name had.

    Nothing invisible is in it, nothing that turns it around.
    """
    if type(value) is not str or value.isascii() and value.isprintable():
        return value
    whole = value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() or c in "\n\t\u202f" else ascii(c)[1:-1] for c in whole)


# --- view


def view(facts: ReportFacts) -> View:
    """All that the template sees."""
    site = facts.site
    images = [image_view(facts, built) for built in facts.built]
    found = found_view(facts)
    few = len(site.nodes) <= MOST_CELLS
    return {
        "site": site.name,
        "revision": facts.revision,
        "network": network_view(site),
        "servers": servers_view(site),
        "node_count": len(site.nodes),
        "racks": racks(site),
        "rows": [node_view(site, node) for node in site.nodes] if few else [],
        "special": special(site),
        "looks": [*found_notices(found), *chain.from_iterable(map(image_notices, images))],
        "images": images,
        "files": files_view(facts.files),
        **found,
    }


def found_view(facts: ReportFacts) -> View:
    found = facts.found
    checks = []
    for row in found.checks or ():
        checks.append([portable(words, facts.places) for words in row])
    releases = [built.release.id for built in facts.built]
    return {
        "plan": plan_view(found.plan) if found.plan else None,
        "checks": checks_view(checks) if found.checks else None,
        "cluster": found.cluster,
        "boot": boot_view(found.boot, releases) if found.boot else None,
    }


def network_view(site: Site) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for network in site.networks:
        name = f" of {network.name}" if site.more_networks else ""
        rows += [
            (f"Subnet{name}", network.subnet),
            (f"Gateway{name}", network.gateway or ""),
            (f"DNS{name}", ", ".join(network.dns)),
            (f"Domain{name}", network.domain or ""),
            (f"NTP{name}", ", ".join(network.ntp)),
        ]
    rows += [("NFS root", site.deploy.nfs_root), ("TFTP root", site.deploy.tftp_root)]
    return [(name, value) for name, value in rows if value]


def servers_view(site: Site) -> list[View]:
    nodes = Counter(server_of(site, node).name for node in site.nodes)
    servers = []
    for server in site.servers:
        servers.append({"name": server.name, "ip": server.ip, "nodes": nodes[server.name]})
    return servers


# --- nodes


def racks(site: Site) -> list[View]:
    """Nodes that are alike, by image and groups."""
    alike: dict[tuple[str, tuple[str, ...]], list[Node]] = {}
    for node in site.nodes:
        alike.setdefault((node.image, node.groups), []).append(node)
    return [rack(site, nodes) for _, nodes in sorted(alike.items())]


def rack(site: Site, nodes: Sequence[Node]) -> View:
    """Nodes that are alike: each one a cell, or all of them folded where the site has many."""
    view: View = {
        "image": nodes[0].image,
        "groups": ", ".join(nodes[0].groups),
        "count": len(nodes),
        "folded": "",
        "cells": [],
    }
    if len(site.nodes) > MOST_CELLS:
        view["folded"] = fold_nodes(node.name for node in nodes)
    else:
        view["cells"] = [node_view(site, node) for node in nodes]
    return view


def node_view(site: Site, node: Node) -> View:
    own = [f"{what} {value}" for what, value in own_settings(node)]
    server = server_of(site, node).name
    words = ", ".join([node.ip, node.mac, server, *own])
    return {
        "name": node.name,
        "ip": node.ip,
        "mac": str(node.mac),
        "image": node.image,
        "groups": ", ".join(node.groups),
        "server": server,
        "own": own,
        "title": f"{node.name}: {words}",
    }


def own_settings(node: Node) -> Iterator[tuple[str, str]]:
    """In what a node is not like the others of its image."""
    if node.release:
        yield "pinned to", node.release
    if node.wipe:
        yield "wipe", node.wipe
    if node.cmdline:
        yield "arguments", node.cmdline


def special(site: Site) -> list[tuple[str, str, int]]:
    """What some nodes have of their own, and which do, folded."""
    found: dict[str, list[str]] = {}
    for node in site.nodes:
        for what, value in own_settings(node):
            found.setdefault(f"{what} {value}", []).append(node.name)
    first = sorted(found.items())[:LONGEST_LIST]
    return [(what, fold_nodes(names), len(names)) for what, names in first]


# --- images


def image_view(facts: ReportFacts, built: BuiltImage) -> View:
    release, notes = built.release, built.notes
    image = built.image
    return {
        "name": image.name,
        "release": release,
        "reference": reference_words(image.reference),
        "nodes": sum(node.image == image.name for node in facts.site.nodes),
        "arguments": arguments_view(facts.site, release),
        "kernel_size": built.kernel_size,
        "disk": list(map(partition_row, partitions_of(image))),
        "folders": folders(built.manifest),
        "setuid": listing(setuid(built.manifest)),
        **notes_view(notes, facts.places),
        "initrd": initrd_view(built, facts.places),
    }


def arguments_view(site: Site, release: Release) -> list[tuple[str, str]]:
    """The kernel arguments by which each server's nodes boot a release."""
    return [(server.name, arguments_of(site, server, release)) for server in site.servers]


def partition_row(part: Partition) -> tuple[str, str, str, str]:
    size = f"{part.size} MiB" if part.size else "the rest"
    return part.mount, size, part.fs, part.fill or ""


def notes_view(notes: Mapping[str, Any], places: Iterable[str]) -> View:
    """What the stages noted of an image while they made its root."""
    return {
        "scrubbed": listing(notes["scrubbed"]),
        "kept": listing(notes["kept"]),
        "keep_idle": listing(notes["keep_idle"]),
        "capabilities": listing(notes["capabilities"]),
        "remedy": notes["capabilities_remedy"],
        "hidden": listing(notes["not_world_readable"]),
        "devices": listing(notes["open_devices"]),
        "sockets": listing(notes["sockets"]),
        "mounts": listing(notes["other_file_systems"]),
        "users": listing(notes["unknown_users"]),
        "groups": listing(notes["unknown_groups"]),
        "unprivileged": portable(notes["unprivileged"] or "", places),
    }


def reference_words(reference: Reference) -> str:
    """Where a root comes from; of this machine's paths only the last part."""
    return kind_of(reference).label(reference)


class Owned(NamedTuple):
    """A file of the root."""

    path: bytes
    mode: int
    uid: int
    gid: int
    size: int

    @property
    def name(self) -> str:
        return show_path(self.path)


def setuid(manifest: bytes) -> Iterator[Owned]:
    """Files that run as their owner or group."""
    for found in _SETUID.finditer(manifest):
        begin = manifest.rfind(b"\n", 0, found.start()) + 1
        word = manifest[begin : found.start()]
        mode, *numbers = found.groups()
        yield Owned(path_of(word), int(mode, 8), *map(int, numbers))


def folders(manifest: bytes) -> list[View]:
    """The folders with the most bytes, at most DEPTH deep.

    Each has all that is below it, and not in a deeper one of them.
    """
    found: dict[bytes, list[int]] = {}
    for folder, size in _SIZES.findall(manifest):
        found.setdefault(folder, []).append(int(size))
    every = [FolderSize(unescape(word).rstrip(b"/"), sizes) for word, sizes in found.items()]
    largest = sorted(every, key=lambda folder: (-folder.size, folder.path))[:FOLDERS]
    top = largest[0].size if largest else 0
    return [folder.view(top) for folder in largest]


class FolderSize(NamedTuple):
    """A folder of the root, and the sizes of its files."""

    path: bytes
    sizes: Sequence[int]

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def view(self, top: int) -> View:
        """As a row, its size beside that of the `top` one."""
        return {
            "name": "/" + show_path(self.path),
            "size": self.size,
            "files": len(self.sizes),
            "share": round(100 * self.size / (top or 1)),
        }


class Notice(NamedTuple):
    """What a reviewer should not miss."""

    place: str  # an id of the page
    what: str
    words: str


def found_notices(found: View) -> Iterator[Notice]:
    if found["checks"]:
        yield from check_notices(found["checks"])
    if found["boot"]:
        yield from boot_notices(found["boot"])
    if found["plan"]:
        yield from plan_notices(found["plan"])


def check_notices(checks: View) -> Iterator[Notice]:
    failed = [row["file"] for row in checks["rows"] if row["verdict"] == "failed"]
    if failed:
        yield Notice("checks", "Checks", f"{', '.join(failed)} failed")


def boot_notices(boot: View) -> Iterator[Notice]:
    missing = [check["what"] for check in boot["checks"] if not check["holds"]]
    if missing:
        words = f"{boot['node']} came up, but not as it should: {', '.join(missing)}"
        yield Notice("boot", "Boot", words)


def plan_notices(plan: View) -> Iterator[Notice]:
    for server in plan["servers"]:
        for root in server["roots"]:
            notable = root.get("notable", ())
            if len(notable) == 1:
                words = f"a mode, an owner or a setuid bit of {root['release']} differs"
                yield Notice("plan", "Plan", words)
            elif notable:
                words = f"{len(notable)} modes, owners or setuid bits of {root['release']} differ"
                yield Notice("plan", "Plan", words)


def image_notices(image: View) -> Iterator[Notice]:
    for words in image_remarks(image):
        yield Notice(f"image-{image['name']}", image["name"], words)


def image_remarks(image: View) -> Iterator[str]:
    if image["capabilities"].count:
        files = counted(image["capabilities"].count, "file")
        yield f"{files} with capabilities, which NFS does not carry"
    if image["users"].count or image["groups"].count:
        yield "files of users or groups that its /etc/passwd and /etc/group do not have"
    if image["mounts"].count:
        yield f"{image['mounts'].count} other file systems of the reference are not in the root"
    if image["devices"].count:
        yield f"{image['devices'].count} devices that every user of a node may open"
    if image["keep_idle"].count:
        yield "keep names what is not there, or would not be taken"
    if image["unprivileged"]:
        yield image["unprivileged"]
    yield from image["initrd"]["notes"]


def portable(text: str, places: Iterable[str]) -> str:
    """Words of a stage without the folders of this machine."""
    known = {place.rstrip("/") for place in places} - {""}
    for place in sorted(known, key=lambda place: (-len(place), place)):
        name = os.path.basename(place).replace("\\", r"\\")
        text = re.sub(rf"(?<![\w./-]){re.escape(place)}(?!\w)", name, text)
    return text


# --- initrd


def initrd_view(built: BuiltImage, places: Iterable[str]) -> View:
    found = cpio.read_image(built.initrd, f"{built.image.name}/initrd.img")
    tree: Tree = {**(cpio.read_archives(found.early) if found.early else {}), **found.tree}
    kind = built.made["kind"]
    return {
        "kind": kind,
        "kind_words": BY_NAME[kind].description,
        "base": portable(built.made["base"], places),
        "modules": list(built.made["modules"]),
        "notes": initrd_notes(built, places),
        "size": len(built.initrd),
        "compression": found.compression,
        "unpacked": sum(entry.size for entry in tree.values()),
        "files": initrd_files(tree),
    }


def initrd_notes(built: BuiltImage, places: Iterable[str]) -> list[str]:
    """What was noted while it was made, without the image's name before each."""
    name = f"{built.image.name}: "
    return [portable(note, places).removeprefix(name) for note in built.made["notes"]]


def initrd_files(tree: Tree) -> list[View]:
    entries = sorted(tree.items())
    return [initrd_row(path, entry) for path, entry in entries if path and entry.type != DIR]


def initrd_row(path: bytes, entry: Entry) -> View:
    link = f" → {show_path(entry.link)}" if entry.type == LINK else ""
    return {
        "name": show_path(path) + link,
        "size": entry.size if entry.type == FILE else None,
        "type": entry.type,
    }


# --- generated files


def files_view(files: Mapping[str, bytes]) -> View:
    """Generated files with their text, as much of it as a page bears."""
    paths = sorted(files, key=lambda path: (path.count("/") and 1, path))
    shown = [file_view(path, files[path]) for path in paths[:MOST_FILES]]
    return {"shown": shown, "count": len(paths), "more": len(paths) - len(shown)}


def file_view(path: str, data: bytes) -> View:
    text = data.decode(errors="backslashreplace")
    return {"name": path, "size": len(data), **text_view(text)}


def text_view(text: str) -> View:
    """Whole lines of a text."""
    if len(text) <= LONGEST_TEXT:
        return {"text": text, "more": 0}
    cut = text.rfind("\n", 0, LONGEST_TEXT) + 1 or LONGEST_TEXT
    return {"text": text[:cut], "more": text.count("\n", cut) + (not text.endswith("\n"))}
