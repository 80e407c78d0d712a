"""Options: what each operation on a server is told, and how that travels as JSON.

Nobody compares or prints them: what has no methods for that is loaded sooner, at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.journal import Record

Values = dict[str, Any]  # of JSON


@dataclass(eq=False, repr=False)
class Options:
    """What an operation is told; each has a class of its own."""


@dataclass(eq=False, repr=False)
class AgeOptions(Options):
    """What a prune goes by."""

    keep: int
    keep_days: int
    site: str
    image: str  # "": all
    running: Mapping[str, str]  # release -> the nodes that report it


@dataclass(eq=False, repr=False)
class PlanOptions(AgeOptions):
    """What would a deploy change, and a prune remove?"""

    revision: Record  # of the site
    again: bool  # also what a rollback left


@dataclass(eq=False, repr=False)
class DeployOptions(Options):
    """Make the server hold what is wanted."""

    author: Record
    image: str
    again: bool  # also what a rollback left
    revision: Record
    seen: list[str]  # digests of what servers' plans did when they were seen
    nodes: list[str] | None = None  # those of the site, where all servers have to agree first


@dataclass(eq=False, repr=False)
class RollbackOptions(Options):
    """Point boot files back to an earlier release."""

    images: list[str]  # those of the site
    image: str
    release: str
    author: Record
    keys: Sequence[str] = ()  # of `trust:`


@dataclass(eq=False, repr=False)
class PruneOptions(AgeOptions):
    """Remove what nobody needs."""

    author: Record
    only_look: bool


@dataclass(eq=False, repr=False)
class VerifyOptions(Options):
    """Compare what is there with what was deployed."""

    full: bool
    image: str
    keys: Sequence[str]  # of `trust:`


@dataclass(eq=False, repr=False)
class RepairOptions(VerifyOptions):
    """Make published roots what their manifests say."""

    author: Record
    lent: Mapping[str, str]  # digest -> the bytes of a file, in base64
    built: Mapping[str, str]  # digest -> its path, where the build is on that machine


@dataclass(eq=False, repr=False)
class LendOptions(Options):
    """Give the bytes of files that another server lacks."""

    digests: list[str]


@dataclass(eq=False, repr=False)
class StatusOptions(Options):
    """Tell what is there."""

    certificate: str = ""  # the fingerprint of that of `trust: secure_boot:`


@dataclass(eq=False, repr=False)
class BootsOptions(Options):
    """Tell the last boot of each node."""

    site: str


@dataclass(eq=False, repr=False)
class AskedOptions(Options):
    """Tell which cards asked for an address."""


@dataclass(eq=False, repr=False)
class HistoryOptions(Options):
    """What changed from one release on the server to another?"""

    before: str
    after: str


@dataclass(eq=False, repr=False)
class SiteDataOptions(Options):
    """Give the site data that nodes get when they boot."""


@dataclass(eq=False, repr=False)
class RecordOptions(Options):
    """Note in the journal what was done to nodes of the server."""

    record: Record


KINDS: dict[str, type[Options]] = {  # by the name of the operation
    "plan": PlanOptions,
    "deploy": DeployOptions,
    "rollback": RollbackOptions,
    "prune": PruneOptions,
    "verify": VerifyOptions,
    "repair": RepairOptions,
    "lend": LendOptions,
    "status": StatusOptions,
    "boots": BootsOptions,
    "asked": AskedOptions,
    "history": HistoryOptions,
    "site_data": SiteDataOptions,
    "record": RecordOptions,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def pack_options(options: Options) -> Values:
    """The part of a message that says what is to be done."""
    return {"do": NAMES[type(options)], "details": vars(options)}


def unpack_options(message: Mapping[str, Any]) -> Options:
    """What `pack_options` made."""
    kind: Callable[..., Options] = KINDS[message["do"]]
    return kind(**message["details"])
