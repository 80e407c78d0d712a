"""The files of daemons that deploys installed, kept as sha256sum(1) reads them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from ..base.files import write_atomic
from ..store.paths import Targets
from ..store.served import readable_content
from .daemon_files import Service

_LINE = re.compile(r"(?m)^([0-9a-f]{64})  (/.+)$")


def digests_of(services: Iterable[Service]) -> dict[str, str]:
    """Path as the server knows it -> sha256 of what is installed there."""
    return {each.path: hashlib.sha256(each.data).hexdigest() for each in services}


def read_installed(targets: Targets) -> dict[str, str]:
    """What was installed, by path; nothing where an earlier version did not write it down."""
    data = readable_content(targets.kept("daemons")) or b""
    found = _LINE.findall(data.decode(errors="replace"))
    return {path: digest for digest, path in found}


def note_installed(targets: Targets, digests: dict[str, str]) -> None:
    """Write down what is installed from now on."""
    lines = (f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    write_atomic(targets.kept("daemons"), "".join(lines).encode())
