"""A site's secrets: encrypted by deploy, before any server is asked; looked at by all else.

secrets: ── from: ──> secrets_store/blobs/ ── deploy ──> tftp_root/secrets/NODE.age
"""

from __future__ import annotations

from functools import lru_cache, partial

from ..base.errors import Refused
from ..base.files import content, write_atomic
from ..base.nodeset import fold_nodes
from ..site.model import Site
from .blobs import needs, not_enrolled, pending, renew, served
from .host_keys import make_host_keys, public_host_key
from .source import read_secret
from .store import PRIVATE, SecretsStore


def store_of(site: Site) -> SecretsStore:
    """The site's store, which need not be there yet. Raises Refused where others may enter it."""
    store = SecretsStore(site.secrets_store or "")
    store.refuse_open()
    return store


def served_blobs(site: Site) -> dict[str, bytes]:
    """The blobs that servers shall hold, as they are made: path below tftp_root -> bytes."""
    store = store_of(site)
    return dict(served(needs(site, store), store))


def encrypt_secrets(site: Site, folder: str, build: str) -> list[str]:
    """Read each secret, its commands in `folder`, and encrypt what is new: the nodes of it.

    Raises Refused; then nothing is another than before.
    """
    store = store_of(site)
    store.begin(build)
    with store.locked():
        if site.ssh_host_keys:
            make_host_keys(store, [node.name for node in site.nodes])
        read = lru_cache(maxsize=None)(partial(read_secret, folder=folder))
        return renew(needs(site, store), store, read)


def forget_gone(site: Site) -> list[str]:
    """Take back the enrolment of who is no node any more: their names.

    The next machine of that name would be sent secrets that the one before can open.
    """
    store = store_of(site)
    if not _gone(site, store):
        return []
    with store.locked():
        return store.forget_others(node.name for node in site.nodes)


def _gone(site: Site, store: SecretsStore) -> list[str]:
    names = {node.name for node in site.nodes}
    return sorted(store.recipients.keys() - names)


def host_keys(site: Site) -> dict[str, str]:
    """The public ssh host keys that are kept, as known_hosts has them, by the nodes' names."""
    if not site.ssh_host_keys:
        return {}
    store = store_of(site)
    found = {node.name: public_host_key(store, node.name) for node in site.nodes}
    return {name: key for name, key in found.items() if key}


def readable_host_keys(site: Site) -> dict[str, str]:
    """The same for who only builds, and need not be let into the store: then none."""
    try:
        return host_keys(site)
    except (Refused, PermissionError):
        return {}


def note_host_keys(site: Site, known_hosts: str) -> None:
    """Have ssh know kept keys beforehand, by the names that nodes are asked by (sshd(8)).

    A key that a node made before stays known: it shows that one until it boots.
    """
    lines = [f"{name} {key}" for name, key in host_keys(site).items()]
    before = content(known_hosts) or b""
    known = set(before.decode(errors="replace").splitlines())
    new = [f"{line}\n" for line in lines if line not in known]
    if new:
        write_atomic(known_hosts, before + "".join(new).encode(), PRIVATE)


def foreseen_secrets(site: Site) -> list[str]:
    """What deploy encrypts whatever the secrets are, and who gets none: a line each."""
    store = store_of(site)
    by_names: dict[str, list[str]] = {}
    for node, names in pending(needs(site, store), store).items():
        by_names.setdefault(names, []).append(node)
    lines = []
    for names, nodes in by_names.items():
        lines.append(f"secrets: {names}: to be encrypted for {fold_nodes(nodes)}")
    if gone := _gone(site, store):
        what = "enrolled, and no node any more; deploy takes that back"
        lines.append(f"secrets: {fold_nodes(gone)}: {what}")
    return [*lines, *without_key(site)]


def without_key(site: Site) -> list[str]:
    """That nodes are not enrolled, in a line; none where all are that shall have secrets."""
    nodes = not_enrolled(site, store_of(site))
    what = "not enrolled, so they get none; ./doit enroll"
    return [f"secrets: {fold_nodes(nodes)}: {what}"] if nodes else []
