"""A site that was read before, kept in a file: a run in which nothing changed parses no YAML.

The file: a digest of the rest, the header's length, the header (pickle of what the site was made from, what it needs,
and the Site without its nodes) and the nodes (pickle), which are only unpacked when somebody asks for them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
from dataclasses import fields
from typing import Any

from . import files, yaml_source
from .site import Node, Site

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


def _key(content: bytes, path: str, folders: tuple[str, ...]) -> tuple[str, ...]:
    return (hashlib.sha256(content).hexdigest(), _code(), os.path.dirname(path), *map(os.path.abspath, folders))


def _code() -> str:
    """A digest of the code that makes a Site, and of the Python that runs it."""
    digest = hashlib.sha256(sys.version.encode())
    for name in SOURCES:
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()


def _remembered(cache_file: str, key: tuple[str, ...]) -> Site | None:
    try:
        with open(cache_file, "rb") as opened:
            data = opened.read()
    except FileNotFoundError:
        return None
    if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
        return None
    end = DIGEST + 4 + int.from_bytes(data[DIGEST : DIGEST + 4], "big")
    known, needs, values = pickle.loads(data[DIGEST + 4 : end])
    if known != key or not all(_there(*need) for need in needs):
        return None
    return Site(**values, _nodes=functools.partial(_nodes, data[end:]))


def _there(kind: str, paths: tuple[str, ...]) -> bool:
    return any(map(os.path.isdir if kind == "folder" else os.path.isfile, paths))


def _nodes(data: bytes) -> tuple[Node, ...]:
    nodes: tuple[Node, ...] = pickle.loads(data)
    return nodes


def _read(path: str, content: bytes, cache_file: str, key: tuple[str, ...], folders: tuple[str, ...]) -> Site:
    from . import reader

    site, needs = reader.read(path, folders, content)
    values: dict[str, Any] = {field.name: getattr(site, field.name) for field in fields(site) if field.name != "_nodes"}
    header = pickle.dumps((key, needs, values), 5)
    rest = len(header).to_bytes(4, "big") + header + pickle.dumps(site.nodes, 5)
    files.write_atomic(cache_file, hashlib.sha256(rest).digest() + rest)
    return site
