"""Packages for other processors: their programs run, and only where they were asked for."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess

import pytest

from tasks.core.base.errors import Refused
from tasks.core.reference import emulation
from tests.support.commands import REPOSITORY

CODE = struct.pack("<III", 0xD2800540, 0xD2800BA8, 0xD4000001)  # x0 = 42; x8 = 93, exit; svc 0
EMULATED = not emulation.is_runnable("arm64")
INSTALLED = shutil.which("arch-test") and any(map(shutil.which, emulation.EMULATORS["arm64"]))
LINUX = tuple(map(int, re.findall("[0-9]+", platform.release())[:2]))


def program() -> bytes:
    """One for ARM whose exit status is 42 (elf(5))."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    at, size = 0x400000, 120 + len(CODE)
    head = struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, at + 120, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return ident + head + struct.pack("<IIQQQQQQ", 1, 5, 0, at, at, size, size, 4096) + CODE


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
@pytest.mark.skipif(not INSTALLED, reason="needs QEMU's user mode and arch-test: no EL has them")
def test_a_program_for_arm_runs_in_namespaces_and_this_machine_knows_nothing_of_it(tmp_path):
    path = tmp_path / "exit42"
    path.write_bytes(program())
    path.chmod(0o755)
    before = registered()
    script = f"chown 1234:4321 {path}; cat /proc/self/uid_map; {path}"
    command = [*emulation.confined("arm64"), "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if EMULATED and LINUX < (6, 7):
        assert (done.returncode, done.stdout) == (1, "")
        assert "not of a namespace before Linux 6.7" in done.stderr
        return
    assert done.returncode == 42, done.stderr
    assert done.stdout == open("/proc/self/uid_map").read(), "ids are those of outside"
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    assert registered() == before
    if EMULATED:
        with pytest.raises(OSError, match="Exec format error"):
            subprocess.run([path])


def registered() -> list[str]:
    """The interpreters that this machine knows."""
    return os.listdir(emulation.BINFMT) if os.path.isdir(emulation.BINFMT) else []


def test_without_an_emulator_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(emulation, "BINFMT", str(tmp_path))  # none is registered
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="install qemu-user-static and arch-test"):
        emulation.confined("arm64")
