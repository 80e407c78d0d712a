"""The search for secrets: no private key and no usable password hash leaves in an export.

The table of `scrub_rules` takes what is known by its place; here the bytes decide, wherever they
lie: of files and of what is packed in them (`containers`), by the table of `forms`. What a
distribution ships is public (`shipped`).
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, MutableMapping
from functools import cache, partial
from typing import NamedTuple

from ..archive import compression, cpio
from ..base.errors import BadInput
from ..base.files import digest_file, read
from ..base.text import show_path
from ..rootfs import scrub, scrub_rules
from ..rootfs.transforms import in_reference
from ..scan.content import READ_SIZE
from ..scan.reader import PUT_OFF, Judge
from ..tree import filter
from ..tree.model import FILE, Entry, Tree
from . import containers, encodings, forms
from .form import SHORTEST
from .shipped import NOTHING_LISTED, Listed, Shipped

HUGE = 64 << 20  # of a longer file, this much is looked at
DEPTH = 4  # archives in archives
ENOUGH = 6  # secrets that are named of one file
REMEDY = "remove it from the reference, list it in `exclude`, or allow it by `keep`"
IMAGE_REMEDY = (
    "take it out of what update-initramfs or dracut packs (remove dropbear-initramfs, say, or its "
    "keys), make the image anew and take the reference again; or list the image in `exclude` and "
    "say `initrd: {base: none}`; or allow it by `keep`"
)
OVERLAY_REMEDY = (
    "what an overlay holds is in the export: take it out of the overlay and push it to the nodes' "
    "disks, or allow it by `keep`"
)

# in an overlay: who may come in, and whom its users know
_PUBLIC = re.compile(
    rb".*\.pub|(?:.*/)?(?:authorized_keys|known_hosts|ssh_known_hosts|config)", re.DOTALL
)
_PACKED = ", packed or encoded"


class Find(NamedTuple):
    """A file that must not leave, and the rule that says so: never its content."""

    path: str
    rule: str
    overlay: str = ""  # the file in an overlay that it is from

    def __str__(self) -> str:
        if self.overlay:
            return f"overlay {self.overlay}: {self.rule}; {OVERLAY_REMEDY}"
        remedy = IMAGE_REMEDY if is_image(self.path) else REMEDY
        return f"/{self.path}: {self.rule}; {remedy}"


class SecretFound(NamedTuple):
    """What of a staged tree is secret, by path, each as it is in the reference, with /var."""

    refused: list[Find]
    kept: list[Find]  # the same, but allowed by `keep`


def find_secrets(
    tree: Tree, keep: Iterable[str], known: MutableMapping[str, str], overlays: Iterable[bytes] = ()
) -> SecretFound:
    """What must not be exported, and what `keep` lets out.

    `known` has the broken rules by digest of the content ("" is fine); files of which it has none
    are read, and added to it. `keep`: paths, or folders, that pass. `overlays`: the folders of
    those that were laid over the reference: their files were not scrubbed, so the table is asked
    here.
    """
    starts = tuple(folder + b"/" for folder in overlays)
    broken = dict(_labels(tree))
    broken |= _by_table(tree, starts)
    broken |= _by_bytes(tree, known)

    allowed = scrub_rules.paths_of(keep)
    refused, kept = list[Find](), list[Find]()
    for path, rule in sorted(broken.items()):
        place, source = in_reference(path), tree[path].source
        is_laid = starts and source.startswith(starts)
        find = Find(show_path(place), rule, show_path(source) if is_laid else "")
        if scrub_rules.is_kept(place, allowed):
            kept.append(find)
        else:
            refused.append(find)
    return SecretFound(refused, kept)


def _by_table(tree: Tree, overlays: tuple[bytes, ...]) -> dict[bytes, str]:
    """Files of overlays that the table would have taken from a reference as secrets."""
    found = {}
    for path, entry in tree.items() if overlays else ():
        if entry.type != FILE or not entry.source.startswith(overlays) or _PUBLIC.fullmatch(path):
            continue
        row = scrub.secret_in(in_reference(path), entry)
        if row:
            found[path] = f"{row.reason} ({row.pattern} of scrub.table)"
    return found


def _by_bytes(tree: Tree, known: MutableMapping[str, str]) -> dict[bytes, str]:
    """Files whose bytes break a rule, but for those that a distribution ships."""
    shipped = Shipped(tree)
    suspects = _suspects(tree, known, shipped)
    return {path: rule for path, rule in suspects if not shipped.has(path)}


def in_base(base: str) -> list[Find]:
    """The same of an initrd that the site names by its path: every node loads it."""
    if not os.path.isfile(base):
        return []
    rule = broken_rule(read(base))
    return [Find(base.lstrip("/"), rule)] if rule else []


def scanner(listed: Listed = NOTHING_LISTED) -> Judge:
    """Who looks for secrets in what is read.

    What a distribution lists is searched later, if at all.
    """
    return Judge(scanned_by(), partial(_first_verdict, listed))


@cache
def scanned_by() -> str:
    """Names all that decides: what a file was said to hold by other rules does not count."""
    own = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(__file__)), "*.py")))
    others = (
        cpio.__file__,
        compression.__file__,
        scrub_rules.__file__,
        scrub_rules.TABLE,
        filter.__file__,
    )
    digests = "".join(map(digest_file, (*own, *others)))
    return hashlib.sha256(digests.encode()).hexdigest()


def _first_verdict(listed: Listed, data: bytes, digest: str) -> str:
    """Of a file's bytes, or a block of them."""
    if len(data) < SHORTEST or forms.is_opaque(data):
        return ""
    is_whole = len(data) < READ_SIZE
    return (is_whole and listed.put_off(data, digest)) or broken_rule(data)


def broken_rule(data: bytes) -> str:
    """The rule that the bytes of one file break; "" if none."""
    rules = list(dict.fromkeys(_rules(data, DEPTH)))
    more = "; and more" if len(rules) > ENOUGH else ""
    return "; ".join(rules[:ENOUGH]) + more


def is_image(path: str) -> bool:
    """Whether a name is that of an initial RAM disk."""
    return os.path.basename(path).startswith(("initrd", "initramfs"))


def _rules(data: bytes, depth: int) -> Iterator[str]:
    """What a file is or holds, what is packed in it, and what it says in another encoding."""
    if len(data) < SHORTEST or forms.is_opaque(data) or not depth:
        return
    packed = False
    for path, held in containers.members(data):
        packed = True
        row = scrub_rules.secret_at(path)
        if row:
            name = show_path(path)
            yield f"holds /{name}, which is never exported ({row.pattern} of scrub.table)"
        else:
            yield from (_inside(path, rule) for rule in _rules(held, depth - 1))
    if packed:
        return
    rule = forms.rule_of(data)
    if rule:
        yield rule
        return
    for text in encodings.texts(data):
        yield from (_inside(b"", rule) for rule in _rules(text, depth - 1))


def _inside(path: bytes, rule: str) -> str:
    if path:
        return f"its /{show_path(path)} {rule}"
    return rule.removesuffix(_PACKED) + _PACKED


def _suspects(
    tree: Tree, known: MutableMapping[str, str], shipped: Shipped
) -> Iterator[tuple[bytes, str]]:
    for path, entry in tree.items():
        if entry.type != FILE or entry.size < SHORTEST:
            continue
        rule = known.get(entry.digest)
        if rule and rule.startswith(PUT_OFF):
            if shipped.has_unsearched(path, rule):
                continue
            rule = None
        if rule is None:
            rule = known[entry.digest] = _rule_of(entry, HUGE)
        if not rule and entry.size > HUGE and is_image(os.fsdecode(path)):
            rule = known[entry.digest] = _rule_of(entry, entry.size)
        if rule:
            yield path, rule


def _labels(tree: Tree) -> Iterator[tuple[bytes, str]]:
    """The same of extended attributes, which are exported as well; no package ships any."""
    for path, entry in tree.items():
        for name, value in entry.xattrs:
            if len(value) >= SHORTEST and (rule := broken_rule(value)):
                yield path, f"its extended attribute {name} {rule}"


def _rule_of(entry: Entry, most: int) -> str:
    if entry.data is not None:
        return broken_rule(entry.data)
    try:
        with open(entry.source, "rb") as file:
            return broken_rule(file.read(most))
    except OSError as error:
        raise BadInput.at(show_path(entry.source), f"cannot be read: {error.strerror}") from None
