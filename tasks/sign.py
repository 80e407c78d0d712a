"""What was built, signed: build/*/release.json and build/site.img.

release.json, site.img ── private key ──> build/signatures/<id>.sig ── deploy ──> .plugnode/<id>.sig
"""

from __future__ import annotations

from .base.options import BUILT
from .base.rule import command, remove
from .base.settings import Run, build_paths, this_run
from .base.trust import must_sign, signed_files


def task_sign():
    """sign what was built, on a machine that has the private key of `trust:`; `key=FILE`"""
    task = command(sign, this_run, after=BUILT, knows="key")
    made = [build_paths().path(name) for name in ("signatures", "secure_boot")]
    return {**task, "clean": [(remove, [made])]}


def sign(run: Run) -> None:
    signed = [f"signed {id}" for id in must_sign(run)]
    files = signed_files(run)
    signed += [f"signed {id} for Secure Boot" for id in (files.must_sign() if files else ())]
    print("\n".join(signed) or "nothing to sign")
