"""What a server keeps of its releases, and which are there."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache

from ..base.errors import Refused
from ..base.files import clear, content, read
from ..checkout.clone import Earlier
from ..release import Release, id_of, parse_release
from ..scan.stat import parse_stats
from ..tree.manifest import Manifest
from ..tree.manifest import read_manifest as read_record
from ..tree.model import Tree, without_collection
from .boot_files import readable_content
from .paths import Targets
from .tftp import damaged_ours, make_folder

NodeFacts = dict[str, str]  # of a node: {"ip": …, "mac": …, "image": …}
KEPT = (
    "json",
    "mtree",
    "xattrs",
    "seen",
    "note",
)  # of a release, below .plugnode: <release>.json, …


def earlier(targets: Targets, release: str) -> Earlier:
    """A release on the server, as its manifest says and as it looked when it was whole.

    Raises Refused where manifest or attributes are not those of that release: links to its files could be anything.
    """
    files = [
        f"{targets.kept(release)}.{kind}" for kind in ("seen", "note", "mtree", "xattrs", "json")
    ]
    return _earlier(targets.root(release), *((path, _state(path)) for path in files))


def _state(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    except FileNotFoundError:
        return ()


@lru_cache(maxsize=1)  # plan, summary and publishing look at the same one
def _earlier(root: str, *kept: tuple[str, tuple[int, ...]]) -> Earlier:
    seen, note, manifest, labels, said = (path for path, _ in kept)
    with without_collection():
        looked, inodes = parse_stats(_seen(seen))
    record = Manifest(read(manifest), read(labels), inodes)
    if data := content(said):  # none of a build that stands for a server
        release = parse_release(data)
        for path, held, digest in (
            (manifest, record.mtree, release.root),
            (labels, record.xattrs, release.xattrs),
        ):
            if hashlib.sha256(held).hexdigest() != digest:
                remedy = (
                    f"remove both, and deploy {release.id} again: its tree is compared with it then"
                )
                raise Refused(f"{path} is not what {said} says; {remedy}")
    return Earlier(root, record, looked, (content(note) or b"").decode())


def _seen(path: str) -> bytes:
    """It saves work, and is as good as none where it cannot be read."""
    try:
        return content(path) or b""
    except OSError:
        return b""


def load_kept(targets: Targets, release: str) -> Tree:
    """The tree of a release on the server."""
    try:
        return read_record(earlier(targets, release).record)
    except ValueError as error:
        raise Refused(f"{targets.kept(release)}.mtree or .xattrs: {error}") from None


def is_whole(targets: Targets, id: str) -> bool:
    """Is all of a release, or of site data, where it was before anything of it was removed?"""
    parts = [] if id.startswith("site-") else [targets.root(id), targets.kept(f"{id}.json")]
    return all(map(os.path.exists, [targets.boot(id), *parts]))


def remove_release(targets: Targets, id: str, boot: bool = True) -> None:
    """Take a release, or site data, away by renames: no half of it is ever there. What is kept of it goes last.

    Without `boot` its kernel and initrd stay: they are another's, too.
    """
    folders = {targets.boot(id): targets.incoming_files} if boot else {}
    folders[targets.root(id)] = targets.incoming_roots
    for folder, incoming in folders.items():
        if os.path.isdir(folder):
            make_folder(targets, incoming)
            gone = os.path.join(incoming, f"{id}.pruned")
            os.rename(folder, gone)
            clear(gone)
    for kind in KEPT:
        if os.path.lexists(targets.kept(f"{id}.{kind}")):
            os.unlink(targets.kept(f"{id}.{kind}"))


def sweep_kept(targets: Targets) -> None:
    """Remove what is kept of releases whose tree is not there: an earlier prune was killed."""
    for name in os.listdir(targets.kept("")):
        found = re.fullmatch(r"(.+-[0-9a-f]{12})\.(\w+)", name)
        if found and found[2] in KEPT and not os.path.lexists(targets.root(found[1])):
            os.unlink(targets.kept(name))


def read_nodes(targets: Targets) -> dict[str, NodeFacts]:
    """The nodes that were deployed last, by name; none where that is damaged."""
    return nodes_said(targets) or {}


def nodes_said(targets: Targets) -> dict[str, NodeFacts] | None:
    path = targets.kept("nodes.json")
    try:
        nodes: dict[str, NodeFacts] = json.loads(
            readable_content(path) or ("" if os.path.lexists(path) else "{}")
        )
        sound = all(
            "image" in facts and all(map(_is_text, facts.values())) for facts in nodes.values()
        )
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    return nodes if sound else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def published(targets: Targets) -> dict[str, Release]:
    """Every release whose tree is on the server, by id; without those of which what is kept is damaged."""
    return {id: said for id, said in _releases(targets) if isinstance(said, Release)}


def damaged(targets: Targets) -> dict[str, str]:
    """What of that which we keep is not as it was written -> what that means. It stops only what needs it."""
    found = {f"{id}.json": said for id, said in _releases(targets) if isinstance(said, str)}
    if nodes_said(targets) is None:
        found["nodes.json"] = "is damaged; the next deploy takes every node for a new one"
    if damaged_ours(targets):
        found["files"] = (
            "is damaged; the next deploy writes it anew, and leaves what earlier ones wrote"
        )
    if os.path.isdir(targets.kept("journal.jsonl")):
        found["journal.jsonl"] = "is a folder: nothing can be deployed; move it away"
    return {targets.kept(name): what for name, what in found.items()}


def _releases(targets: Targets) -> Iterator[tuple[str, Release | str]]:
    """Of each release what is kept of it, or why that cannot be read."""
    try:
        names = sorted(os.listdir(targets.kept("")))
    except FileNotFoundError:
        return
    ids = [name.removesuffix(".json") for name in names if re.search(r"-[0-9a-f]{12}\.json$", name)]
    for id in ids:
        if os.path.isdir(targets.root(id)):
            yield id, _release(targets, id)


def site_data(targets: Targets) -> list[str]:
    """Every site data on the server."""
    try:
        names = sorted(os.listdir(targets.tftp_root))
    except FileNotFoundError:
        return []
    ids = [name for name in names if re.fullmatch(r"site-[0-9a-f]{12}", name)]
    return [id for id in ids if os.path.isfile(targets.boot(id) + "/site.img")]


def _release(targets: Targets, id: str) -> Release | str:
    path = targets.kept(f"{id}.json")
    try:
        with open(path, "rb") as file:
            found = parse_release(file.read())
        if not found.id == id_of(found) == id:
            raise ValueError("what it says has another id")
        return found
    except PermissionError:
        raise
    except OSError as error:
        why = error.strerror
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        why = str(error)
    return f"is damaged ({why}); a deploy of {id} mends it, or move it and {targets.root(id)} away"
