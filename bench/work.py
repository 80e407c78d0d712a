"""What the benchmarks work with: a site in a folder of its own, built, and what is beside it."""

from __future__ import annotations

import os
import pathlib
import subprocess
from typing import Any

from bench.inputs import Inputs, doit, made
from bench.inputs import site as site_file


class Work:
    """A site built in a folder of its own."""

    def __init__(self, folder: pathlib.Path, reference: str, nodes: int = 2, **how: Any):
        self.folder, self.build = folder, folder / "build"
        self.site = site_file(folder / "site.yaml", reference, nodes, **how)

    def doit(self, *words: str) -> list[str]:
        return doit(self.site, self.build, *words)

    def built(self) -> Work:
        """Twice: what was written just now is looked at again by the next run."""
        made(self.doit())
        made(self.doit())
        return self

    def forget(self, *names: str) -> None:
        """As if those of the build folder had never been; all of it if none is named."""
        remove(*[self.build / name for name in names] or [self.build])


def remove(*paths: pathlib.Path) -> None:
    for path in paths:
        subprocess.run(["rm", "-rf", path], check=True)


def path_reference(tree: pathlib.Path) -> str:
    return f"{{path: {tree}}}"


def built(inputs: Inputs, tree: pathlib.Path) -> tuple[Work, pathlib.Path]:
    """A site with that tree in place as its reference, built once; and a copy of the tree."""
    work, peer = (
        Work(inputs.folder / f"of-{tree.name}", path_reference(tree)),
        inputs.folder / f"copy-{tree.name}",
    )
    if not peer.exists():
        work.built()
        made(["cp", "-a", str(tree), str(peer)])
    return work, peer


def entries(tree: pathlib.Path) -> int:
    """Files of a tree, rounded."""
    return round(sum(len(names) for _, _, names in os.walk(tree)), -2)


def archive(inputs: Inputs, tree: pathlib.Path) -> str:
    """The tree as an archive, whose snapshot the build owns."""
    path = inputs.folder / f"{tree.name}.tar"
    if not path.exists():
        made(["tar", "--numeric-owner", "--xattrs", "-C", str(tree), "-cf", str(path), "."])
    return f"{{archive: {path}}}"
