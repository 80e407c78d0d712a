"""File capabilities, as libcap writes them and takes them back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.core.scan.reader import scan
from tasks.core.tree.capabilities import ATTRIBUTE, capabilities
from tasks.core.tree.model import generated_file

TEXTS = (
    "cap_net_raw=ep",
    "cap_chown=ei cap_net_admin,cap_net_raw=eip",
    "cap_sys_admin=p",
    "cap_checkpoint_restore=ep",
)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setcap"), reason="needs root and libcap2-bin"
)
@pytest.mark.parametrize("text", TEXTS)
def test_a_files_capabilities_are_the_text_that_gives_them_again(text: str, tmp_path: Path):
    (tmp_path / "ping").write_bytes(b"\x7fELF")
    subprocess.run(["setcap", text, tmp_path / "ping"], check=True)
    found = capabilities(scan(str(tmp_path)).tree[b"ping"])
    (tmp_path / "again").write_bytes(b"\x7fELF")
    subprocess.run(["setcap", found, tmp_path / "again"], check=True)
    given, again = (os.getxattr(tmp_path / name, ATTRIBUTE) for name in ("ping", "again"))
    assert given == again and set(found.split()) == set(text.split())


@pytest.mark.parametrize("data", [b"", b"\1", b"\0\0\0\x02", b"\0\0\0\x09" + bytes(16)])
def test_what_is_no_such_attribute_is_none(data: bytes):
    assert capabilities(generated_file(b"")._replace(xattrs=((ATTRIBUTE, data),))) == ""
