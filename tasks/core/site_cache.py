"""A site that was read before, kept in a file: a run in which nothing changed parses no YAML.

The file: a digest of what the site was made from, a digest of the rest, the header's length, the header (pickle of what
the site needs, and the Site without its nodes) and the nodes (pickle), only unpacked when somebody asks for them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys

from . import files, yaml_source
from .site import Mac, Node, Site

SOURCES = (
    "grammar",
    "merge",
    "models",
    "nodes",
    "ranges",
    "reader",
    "rules",
    "salvage",
    "schema",
    "site",
    "site_cache",
    "yaml_source",
)
DIGEST = 32


def load_cached(path: str, cache_file: str, folders: tuple[str, ...]) -> Site:
    """`schema.load`, by way of `cache_file`: keyed by the file's content, our code, and what must exist."""
    content = yaml_source.read(path)
    key = _key(content, os.path.abspath(path), folders)
    return _remembered(cache_file, key) or _read(path, content, cache_file, key, folders)


def _key(content: bytes, path: str, folders: tuple[str, ...]) -> bytes:
    made_from = hashlib.sha256(content).hexdigest(), _code(), os.path.dirname(path), *map(os.path.abspath, folders)
    return hashlib.sha256(repr(made_from).encode(errors="surrogateescape")).digest()


def _code() -> str:
    """A digest of the code that makes a Site, and of the Python that runs it."""
    digest = hashlib.sha256(sys.version.encode())
    for name in SOURCES:
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()


def _remembered(cache_file: str, key: bytes) -> Site | None:
    """What other code wrote is not even unpacked: its Site may be another."""
    try:
        with open(cache_file, "rb") as opened:
            data = opened.read()
    except FileNotFoundError:
        return None
    made_from, digest, rest = data[:DIGEST], data[DIGEST : 2 * DIGEST], data[2 * DIGEST :]
    if made_from != key or hashlib.sha256(rest).digest() != digest:
        return None
    end = 4 + int.from_bytes(rest[:4], "big")
    needs, values = pickle.loads(rest[4:end])
    if not all(_there(*need) for need in needs):
        return None
    return Site._make(values)._replace(read_nodes=functools.partial(_nodes, rest[end:]))


def _there(kind: str, paths: tuple[str, ...]) -> bool:
    return any(map(os.path.isdir if kind == "folder" else os.path.isfile, paths))


def _nodes(data: bytes) -> tuple[Node, ...]:
    """Kept as columns: ten thousand values of a kind are one list, where as many objects are as many calls."""
    columns = dict(zip(Node._fields, pickle.loads(data)))
    columns["mac"] = map(Mac, columns["mac"])
    return tuple(map(Node._make, zip(*columns.values())))


def _read(path: str, content: bytes, cache_file: str, key: bytes, folders: tuple[str, ...]) -> Site:
    from . import reader

    site, needs = reader.read(path, folders, content)
    header = pickle.dumps((needs, tuple(site._replace(read_nodes=tuple))), 5)
    columns = [
        list(map(str, column)) if name == "mac" else column for name, column in zip(Node._fields, zip(*site.nodes))
    ]
    rest = len(header).to_bytes(4, "big") + header + pickle.dumps(columns, 5)
    files.write_atomic(cache_file, key + hashlib.sha256(rest).digest() + rest)
    return site
