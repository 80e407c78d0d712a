"""Report: what was built, as one page for reviewers. Facts -> view -> HTML.

Nothing of the machine or the day is in it: the same facts make the same bytes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..archive import cpio
from ..base.nodeset import fold_nodes
from ..base.text import human, show_path
from ..config.boot_files import arguments_of, server_of
from ..config.templates import render_template
from ..initrd.build import BY_NAME
from ..release import Release
from ..site.model import Image, Node, Reference, Site
from ..tree.model import DIR, FILE, LINK, Entry, Tree
from ..tree.mtree import path_of, unescape
from .findings import boot_view, checks_view, plan_view

MOST_CELLS = 512  # nodes that are drawn one by one; more are folded
LONGEST_LIST = 500  # rows of one list
LONGEST_TEXT = 64_000  # characters of one generated file
MOST_FILES = 60  # generated files with their text
FOLDERS = 16  # the largest ones
DEPTH = 2

# Of a manifest: what follows the path of a file that runs as its owner or group; of each file the folders above it, and
# its size.
_SETUID = re.compile(rb" type=file mode=([2-7][0-7]{3}) uid=(\d+) gid=(\d+) size=(\d+) ")
_SIZES = re.compile(
    rb"^\./((?:[^/ \n]+/){0,%d})\S+ type=file [^\n]* size=(\d+) " % DEPTH, re.MULTILINE
)

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

    plan: Mapping[str, Any] | None = None  # see report_found.plan_view
    checks: Sequence[Sequence[str]] | None = None  # rows of file, verdict, words
    boot: Mapping[str, Any] | None = None  # timings.json; of this build or an earlier one


@dataclass(frozen=True)
class ReportFacts:
    site: Site
    built: tuple[BuiltImage, ...]
    files: Mapping[str, bytes]  # path below build/configs -> bytes
    places: tuple[str, ...] = ()  # folders of this machine, which notes may name
    found: Findings = Findings()


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
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(tuple(templates)), undefined=jinja2.StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=printable,
    )  # fmt: skip
    environment.filters.update(
        human=human, grown=size_change, number=lambda count: f"{count:,}".replace(",", "\u202f")
    )
    return render_template(environment, "report.html", view)


def size_change(size: int) -> str:
    return ("\u2212" if size < 0 else "+") + human(abs(size))


def printable(value: Any) -> Any:
    """Text as a page may hold it, whatever bytes a name had: nothing invisible, nothing that turns it around."""
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
    return {
        "site": site.name,
        "network": network_view(site),
        "servers": servers_view(site),
        "node_count": len(site.nodes),
        "racks": racks(site),
        "rows": [node_view(site, node) for node in site.nodes]
        if len(site.nodes) <= MOST_CELLS
        else [],
        "special": special(site),
        "looks": [*found_looks(found), *(look for image in images for look in image_looks(image))],
        "images": images,
        "files": files_view(facts.files),
        **found,
    }


def found_view(facts: ReportFacts) -> View:
    found = facts.found
    rows = [[portable(words, facts.places) for words in row] for row in found.checks or ()]
    return {
        "plan": plan_view(found.plan) if found.plan else None,
        "checks": checks_view(rows) if found.checks else None,
        "boot": boot_view(found.boot, (built.release.id for built in facts.built))
        if found.boot
        else None,
    }


def network_view(site: Site) -> list[tuple[str, str]]:
    network = site.network
    rows = [
        ("Subnet", network.subnet), ("Gateway", network.gateway or ""), ("DNS", ", ".join(network.dns)),
        ("Domain", network.domain or ""), ("NTP", ", ".join(network.ntp)),
        ("NFS root", site.deploy.nfs_root), ("TFTP root", site.deploy.tftp_root),
    ]  # fmt: skip
    return [(name, value) for name, value in rows if value]


def servers_view(site: Site) -> list[View]:
    nodes = Counter(server_of(site, node).name for node in site.nodes)
    return [
        {"name": server.name, "ip": server.ip, "nodes": nodes[server.name]}
        for server in site.servers
    ]


# --- nodes


def racks(site: Site) -> list[View]:
    """Nodes that are alike, by image and groups; each one a cell, or all of them folded where they are many."""
    alike: dict[tuple[str, tuple[str, ...]], list[Node]] = {}
    for node in site.nodes:
        alike.setdefault((node.image, node.groups), []).append(node)
    many = len(site.nodes) > MOST_CELLS
    return [
        {
            "image": image, "groups": ", ".join(groups), "count": len(nodes),
            "folded": fold_nodes(node.name for node in nodes) if many else "",
            "cells": [] if many else [node_view(site, node) for node in nodes],
        }
        for (image, groups), nodes in sorted(alike.items())
    ]  # fmt: skip


def node_view(site: Site, node: Node) -> View:
    own = [f"{what} {value}" for what, value in own_settings(node)]
    words = [node.ip, node.mac, server_of(site, node).name, *own]
    return {
        "name": node.name, "ip": node.ip, "mac": str(node.mac), "image": node.image, "groups": ", ".join(node.groups),
        "server": server_of(site, node).name, "own": own, "title": f"{node.name}: {', '.join(words)}",
    }  # fmt: skip


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
    return [(what, fold_nodes(names), len(names)) for what, names in sorted(found.items())][
        :LONGEST_LIST
    ]


# --- images


def image_view(facts: ReportFacts, built: BuiltImage) -> View:
    release, notes = built.release, built.notes
    return {
        "name": built.image.name,
        "release": release,
        "reference": reference_words(built.image.reference),
        "nodes": sum(node.image == built.image.name for node in facts.site.nodes),
        "arguments": [(server.name, arguments_of(facts.site, server, release)) for server in facts.site.servers],
        "kernel_size": built.kernel_size,
        "disk": [(part.mount, f"{part.size} MiB" if part.size else "the rest", part.fs, part.fill or "")
                 for part in built.image.disk.partitions],
        "folders": folders(built.manifest),
        "setuid": listing(setuid(built.manifest)),
        "scrubbed": listing(notes["scrubbed"]),
        "kept": listing(notes["kept"]),
        "keep_idle": listing(notes["keep_idle"]),
        "capabilities": listing(notes["capabilities"]),
        "remedy": notes["capabilities_remedy"],
        "hidden": listing(notes["not_world_readable"]),
        "sockets": listing(notes["sockets"]),
        "mounts": listing(notes["other_file_systems"]),
        "users": listing(notes["unknown_users"]),
        "groups": listing(notes["unknown_groups"]),
        "unprivileged": portable(notes["unprivileged"] or "", facts.places),
        "initrd": initrd_view(built, facts.places),
    }  # fmt: skip


def reference_words(reference: Reference) -> str:
    """Where a root comes from; of this machine's paths only the last part."""
    if reference.kind == "bootstrap":
        return f"bootstrap of {reference.suite}, {len(reference.packages)} packages named"
    if reference.kind == "rsync" and ":" in reference.where:
        return f"rsync from {reference.where}"
    return f"{reference.kind} {os.path.basename(reference.where.rstrip('/'))}"


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
        word = manifest[manifest.rfind(b"\n", 0, found.start()) + 1 : found.start()]
        yield Owned(path_of(word), int(found[1], 8), *map(int, found.groups()[1:]))


def folders(manifest: bytes) -> list[View]:
    """The folders with the most bytes, at most DEPTH deep, each with all that is below it and not in a deeper one."""
    found: dict[bytes, list[int]] = {}
    for folder, size in _SIZES.findall(manifest):
        found.setdefault(folder, []).append(int(size))
    sizes = {unescape(folder).rstrip(b"/"): sum(files) for folder, files in found.items()}
    counts = {unescape(folder).rstrip(b"/"): len(files) for folder, files in found.items()}
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:FOLDERS]
    top = largest[0][1] if largest else 0
    return [
        {
            "name": "/" + show_path(path),
            "size": size,
            "files": counts[path],
            "share": round(100 * size / (top or 1)),
        }
        for path, size in largest
    ]


class FileLook(NamedTuple):
    """What a reviewer should not miss."""

    place: str  # an id of the page
    what: str
    words: str


def found_looks(found: View) -> Iterator[FileLook]:
    if found["checks"]:
        failed = [row["file"] for row in found["checks"]["rows"] if row["verdict"] == "failed"]
        if failed:
            yield FileLook("checks", "Checks", f"{', '.join(failed)} failed")
    if found["boot"] and (
        missing := [check["what"] for check in found["boot"]["checks"] if not check["holds"]]
    ):
        yield FileLook(
            "boot",
            "Boot",
            f"{found['boot']['node']} came up, but not as it should: {', '.join(missing)}",
        )
    for server in found["plan"]["servers"] if found["plan"] else ():
        for root in server["roots"]:
            if count := len(root.get("notable", ())):
                words = (
                    f"{count} modes, owners or setuid bits"
                    if count > 1
                    else "a mode, an owner or a setuid bit"
                )
                yield FileLook(
                    "plan", "Plan", f"{words} of {root['release']} differ{'s' * (count == 1)}"
                )


def image_looks(image: View) -> Iterator[FileLook]:
    return (FileLook(f"image-{image['name']}", image["name"], words) for words in looks(image))


def looks(image: View) -> Iterator[str]:
    if image["capabilities"].count:
        yield f"{_files(image['capabilities'].count)} with capabilities, which NFS does not carry"
    if image["users"].count or image["groups"].count:
        yield "files of users or groups that its /etc/passwd and /etc/group do not have"
    if image["mounts"].count:
        yield f"{image['mounts'].count} other file systems of the reference are not in the root"
    if image["keep_idle"].count:
        yield "keep names what is not there, or would not be taken"
    if image["unprivileged"]:
        yield image["unprivileged"]
    yield from image["initrd"]["notes"]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def portable(text: str, places: Iterable[str]) -> str:
    """Words of a stage without the folders of this machine."""
    known = {place.rstrip("/"): os.path.basename(place.rstrip("/")) for place in places}
    for place in sorted(filter(known.get, known), key=len, reverse=True):
        text = re.sub(
            rf"(?<![\w./-]){re.escape(place)}(?!\w)", known[place].replace("\\", r"\\"), text
        )
    return text


# --- initrd


def initrd_view(built: BuiltImage, places: Iterable[str]) -> View:
    found = cpio.read_image(built.initrd, f"{built.image.name}/initrd.img")
    tree: Tree = {**(cpio.read_archives(found.early) if found.early else {}), **found.tree}
    files = [
        initrd_row(path, entry)
        for path, entry in sorted(tree.items())
        if path and entry.type != DIR
    ]
    return {
        "kind": built.made["kind"],
        "kind_words": BY_NAME[built.made["kind"]].description,
        "base": portable(built.made["base"], places),
        "modules": list(built.made["modules"]),
        "notes": [
            portable(note, places).removeprefix(f"{built.image.name}: ")
            for note in built.made["notes"]
        ],
        "size": len(built.initrd),
        "compression": found.compression,
        "unpacked": sum(entry.size for entry in tree.values()),
        "files": files,
    }


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
    shown = [
        {
            "name": path,
            "size": len(files[path]),
            **text_view(files[path].decode(errors="backslashreplace")),
        }
        for path in paths[:MOST_FILES]
    ]
    return {"shown": shown, "count": len(paths), "more": len(paths) - len(shown)}


def text_view(text: str) -> View:
    """Whole lines of a text."""
    if len(text) <= LONGEST_TEXT:
        return {"text": text, "more": 0}
    cut = text.rfind("\n", 0, LONGEST_TEXT) + 1 or LONGEST_TEXT
    return {"text": text[:cut], "more": text.count("\n", cut) + (not text.endswith("\n"))}
