"""Blobs: all secrets of a node as one file, a tar that age encrypts for that node alone.

A blob is not made again as long as all that it is made of stays as it was.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..base.errors import Refused
from ..base.programs import find_program
from ..site.model import HOST_KEYS, KEPT, Node, Secret, SecretSource, Site
from .store import Made, SecretsStore

PLACE = "secrets"  # below tftp_root
ReadSecret = Callable[[Secret], bytes]


class NodeSecrets(NamedTuple):
    """What a node shall have, and the key by which it alone can open it."""

    node: str
    recipient: str
    secrets: tuple[Secret, ...]  # by their places

    @property
    def shape(self) -> bytes:
        """For whom, and where on the node what lies: all but what the secrets are."""
        placed = [secret._replace(groups=()) for secret in self.secrets]
        return repr((self.recipient, placed)).encode()


def needs(site: Site, store: SecretsStore) -> dict[str, NodeSecrets]:
    """What each enrolled node that shall have any is given."""
    keys, found = store.recipients, {}
    for node in site.nodes:
        secrets = secrets_of(site, store, node)
        if secrets and node.name in keys:
            found[node.name] = NodeSecrets(node.name, keys[node.name], secrets)
    return found


def secrets_of(site: Site, store: SecretsStore, node: Node) -> tuple[Secret, ...]:
    """A node's secrets, its kept host key among them."""
    found = [secret for secret in site.secrets if secret.is_for(node)]
    if site.ssh_host_keys == KEPT:
        private = store.host_key(node.name)
        for place, path in zip(HOST_KEYS, (private, f"{private}.pub")):
            name = os.path.basename(place)
            found.append(Secret(name, place, SecretSource(path), mode="0600"))
    return tuple(sorted(found, key=lambda secret: secret.to))


def not_enrolled(site: Site, store: SecretsStore) -> list[str]:
    """The nodes that shall have secrets and cannot be given any yet."""
    keys = store.recipients
    return [
        node.name for node in site.nodes if node.name not in keys and secrets_of(site, store, node)
    ]


def pending(wanted: Mapping[str, NodeSecrets], store: SecretsStore) -> dict[str, str]:
    """The nodes whose blob is made anew whatever their secrets are -> those by name."""
    made = store.made
    found = {}
    for name, need in wanted.items():
        if store.blob(name) is None or not _is_shaped(made.get(name), need, store):
            found[name] = ", ".join(secret.name for secret in need.secrets)
    return found


def _is_shaped(made: Made | None, need: NodeSecrets, store: SecretsStore) -> bool:
    return made is not None and made.shape == store.keyed(need.shape)


def renew(wanted: Mapping[str, NodeSecrets], store: SecretsStore, read: ReadSecret) -> list[str]:
    """Make the blobs that are not as they shall be: the nodes of which there is a new one.

    `read` gives what a secret is. Raises Refused; then all blobs stay as they were.
    """
    packed = {name: pack_secrets(need.secrets, read) for name, need in wanted.items()}
    known, made, new = store.made, {}, {}
    for name, need in wanted.items():
        made[name] = _made_of(need, packed[name], store, store.blob(name))
        if known.get(name) != made[name]:
            new[name] = encrypt(packed[name], need.recipient)
            made[name] = _made_of(need, packed[name], store, new[name])
    for name, blob in new.items():
        store.write_blob(name, blob)
    store.write_made(made)
    store.remove_blobs(wanted)
    return list(new)


def _made_of(need: NodeSecrets, packed: bytes, store: SecretsStore, blob: bytes | None) -> Made:
    digest = hashlib.sha256(blob or b"").hexdigest()
    return Made(store.keyed(need.shape), store.keyed(need.shape, packed), digest)


def pack_secrets(secrets: Iterable[Secret], read: ReadSecret) -> bytes:
    """A tar of a node's secrets; owners by name: a node knows its own users' numbers."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for secret in secrets:
            data = read(secret)
            member = tarfile.TarInfo(secret.to)
            member.size, member.mode = len(data), int(secret.mode, 8)
            user, _, group = secret.owner.partition(":")
            member.uname, member.gname = user, group or user
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def encrypt(data: bytes, recipient: str) -> bytes:
    """What who has the private half of `recipient` can open, as text. Raises Refused."""
    program = find_program("age")
    if program is None:
        raise Refused("no age, which encrypts secrets for nodes: install age")
    done = subprocess.run(
        [program, "--encrypt", "--armor", "--recipient", recipient],
        input=data,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Refused(f"age does not encrypt for {recipient}: {said}")
    return done.stdout


def served(wanted: Iterable[str], store: SecretsStore) -> Iterator[tuple[str, bytes]]:
    """The blobs of these nodes that are made, by their names below tftp_root."""
    for name in wanted:
        blob = store.blob(name)
        if blob is not None:
            yield f"{PLACE}/{name}.age", blob
