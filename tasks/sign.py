"""What was built, signed: build/*/release.json and build/site.img.

release.json, site.img ── private key ──> build/signatures/<id>.sig ── deploy ──> .plugnode/<id>.sig
"""

from __future__ import annotations

from .base.options import BUILT
from .base.rule import command, remove
from .base.settings import Run, build_paths, this_run
from .base.trust import must_sign


def task_sign():
    """sign what was built, on a machine that has the private key of `trust:`; `key=FILE`"""
    task = command(sign, this_run, after=BUILT, knows="key")
    return {**task, "clean": [(remove, [[build_paths().path("signatures")]])]}


def sign(run: Run) -> None:
    signed = [f"signed {id}" for id in must_sign(run)]
    print("\n".join(signed) or "nothing to sign")
