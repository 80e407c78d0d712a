"""A site that was read before, kept in a file: a run in which nothing changed parses no YAML.

The file: a digest of what the site was made from, a digest of the rest, the header's length, the
header (pickle of what the site needs, and the Site without its nodes) and the nodes (pickle), only
unpacked when somebody asks for them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from ..base import files
from . import strict_yaml
from .model import EXISTS, Mac, Node, Site

if TYPE_CHECKING:
    from .resolve import Needs


HERE = os.path.dirname(__file__)
CORE = os.path.dirname(HERE)
# Of the code that makes a Site, what is neither in this package nor in dhcp/
BESIDES = (
    *(
        os.path.join(CORE, "base", f"{name}.py")
        for name in ("boot_programs", "files", "nodeset", "overlays", "programs", "ssh", "text")
    ),
    os.path.join(CORE, "outputs.py"),
    os.path.join(CORE, "release.py"),
)
DIGEST = 32
LENGTH = 4
PICKLE = 5  # the protocol: Python 3.8's


def load_cached(path: str, cache_file: str, folders: tuple[str, ...]) -> Site:
    """The site that a file describes, from `cache_file` where that was made of the same.

    The same is the file's content, our code, and what must exist.
    """
    if os.path.islink(path):
        from ..base.overlays import refuse_link_out_of_checkout

        refuse_link_out_of_checkout(path)
    content = strict_yaml.read_yaml(path)
    key = _key(content, os.path.abspath(path), folders)
    known = _remembered(cache_file, key)
    if known:
        return known

    from . import load

    site, needs = load.read_site(path, folders, content)
    rest = _packed(site, needs)
    files.write_atomic(cache_file, key + hashlib.sha256(rest).digest() + rest)
    return site


def _key(content: bytes, path: str, folders: tuple[str, ...]) -> bytes:
    """A digest of what a site is made from."""
    text = hashlib.sha256(content).hexdigest()
    places = map(os.path.abspath, folders)
    made_from = (text, _code(), os.path.dirname(path), *places)
    return hashlib.sha256(repr(made_from).encode(errors="surrogateescape")).digest()


def _code() -> str:
    """A digest of the code that makes a Site, and of the Python that runs it."""
    digest = hashlib.sha256(sys.version.encode())
    own = chain(files.code_files(HERE), files.code_files(os.path.join(CORE, "dhcp")))
    for path in (*sorted(own), *BESIDES):
        digest.update(files.read(path))
    return digest.hexdigest()


def _remembered(cache_file: str, key: bytes) -> Site | None:
    """What other code wrote is not even unpacked: its Site may be another."""
    try:
        data = files.read(cache_file)
    except FileNotFoundError:
        return None
    made_from, digest = data[:DIGEST], data[DIGEST : 2 * DIGEST]
    rest = data[2 * DIGEST :]
    if made_from != key or hashlib.sha256(rest).digest() != digest:
        return None

    end = LENGTH + int.from_bytes(rest[:LENGTH], "big")
    needs, values = pickle.loads(rest[LENGTH:end])
    for kind, paths in needs:
        if not any(map(EXISTS[kind], paths)):
            return None
    read_nodes = functools.partial(_nodes, rest[end:])
    return Site._make(values)._replace(read_nodes=read_nodes)


def _packed(site: Site, needs: Needs) -> bytes:
    """All that stands in the file behind its digests."""
    values = tuple(site._replace(read_nodes=tuple))
    header = pickle.dumps((needs, values), PICKLE)
    length = len(header).to_bytes(LENGTH, "big")
    return length + header + _packed_nodes(site.nodes)


def _packed_nodes(nodes: Iterable[Node]) -> bytes:
    """As columns: ten thousand values of a kind are one list, as many objects many calls."""
    columns = dict(zip(Node._fields, zip(*nodes)))
    columns["mac"] = tuple(map(str, columns["mac"]))
    return pickle.dumps(list(columns.values()), PICKLE)


def _nodes(data: bytes) -> tuple[Node, ...]:
    """The nodes of such columns."""
    columns = dict(zip(Node._fields, pickle.loads(data)))
    columns["mac"] = map(Mac, columns["mac"])
    return tuple(map(Node._make, zip(*columns.values())))
