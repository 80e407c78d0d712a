"""What a build keeps for itself: damaged, it is made anew, with a line and never a traceback."""

from __future__ import annotations

import json

import pytest

from tests.support.commands import Doit

DAMAGE = {
    "empty": lambda data: b"",
    "bytes": lambda data: b"\x00garbage\xff",
    "half": lambda data: data[: len(data) // 2],
    "another": lambda data: b'{"of": 1}',
    "a list": lambda data: b'["of"]',
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_a_build_keeps_for_itself_may_be_damaged(built: Doit, how):
    built("check")
    built("plan", f"destdir={built.folder}/dest")
    for name in ("plan.json", "checks.json", ".noted/worker.state"):
        path = built.build / name
        path.write_bytes(DAMAGE[how](path.read_bytes()))
    out = built()
    assert f"{built.build}/plan.json: damaged; it is made anew" in out, out
    assert "no changes" not in built("plan", f"destdir={built.folder}/dest")
    built("check")
    out = built("plan", f"destdir={built.folder}/dest")
    assert "damaged" not in out
    json.loads((built.build / ".noted/worker.state").read_bytes().splitlines()[0])


def test_what_earlier_versions_kept_is_neither_read_nor_missed(built: Doit):
    """They had a file for each thing that was decided."""
    kept = built.build / ".noted"
    (kept / "worker.state").unlink()
    for kind in ("verdict", "offers", "carried", "startable", "json", "index", "parts"):
        (kept / f"worker.{kind}").write_text("?")
    (kept / "drawn").write_text("0")
    out = built()
    assert "examine:worker" in out and "anew" not in out, out
    assert built() == ""


def test_damaged_measurements_of_a_boot_are_an_estimate(built: Doit):
    (built.build / "boot").mkdir()
    (built.build / "boot/timings.json").write_text('{"seconds": "many"}')
    out = built("capacity")
    assert "timings.json: damaged; it is made anew" in out and "an estimate" in out, out
