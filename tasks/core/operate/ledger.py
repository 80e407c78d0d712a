"""Ledger: which nodes an upgrade has drained, on disk before they are, for the next one to end."""

from __future__ import annotations

import json

from ..base.files import content, write_atomic

DRAINED, REBOOTED, FAILED = "drained", "rebooted", "failed"


class Ledger:
    """How far each node came that is drained by us."""

    def __init__(self, path: str):
        self.path = path
        self.nodes = _read(path)

    def note(self, node: str, how: str) -> None:
        self.nodes[node] = how
        self._write()

    def forget(self, node: str) -> None:
        if self.nodes.pop(node, None):
            self._write()

    def _write(self) -> None:
        write_atomic(self.path, json.dumps(self.nodes, indent=0).encode())


def _read(path: str) -> dict[str, str]:
    """What was noted; of a damaged one nothing: the scheduler still knows what is drained."""
    try:
        found = json.loads(content(path) or b"{}")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {node: how for node, how in found.items() if how in (DRAINED, REBOOTED, FAILED)}
