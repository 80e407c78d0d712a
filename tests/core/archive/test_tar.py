"""A Tree as tar, as the programs that nodes have read it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.core.archive.tar import write_tar
from tasks.core.tree.model import DIR, FIFO, Entry, directory, generated_file, symlink

LONG = b"/".join([b"folder"] * 40)
TREE = {
    b"": directory(0o711),
    b"plain": generated_file(b"text\n", 0o4750, 1, 2),
    b"other name": generated_file(b"linked", 0o600)._replace(inode=7),
    b"same file": generated_file(b"linked", 0o600)._replace(inode=7),
    b"new\nline \xff": generated_file(b""),
    b"link": symlink(b"nowhere/\xfe"),
    b"pipe": Entry(FIFO, 0o640, 3, 4),
    b"tmp": directory(0o1777),
    b"far": generated_file(b"x", 0o644, 4_000_000_000, 70_000),
    **{LONG[:end]: Entry(DIR, 0o755, 0, 0) for end, at in enumerate(LONG) if at == 47},
    LONG: generated_file(b"deep"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for owners")
@pytest.mark.parametrize("program", [["tar"], ["busybox", "tar"]], ids=" ".join)
def test_programs_make_of_it_what_the_tree_says(program: list[str], tmp_path: Path):
    words = [*program, "-xpmf", "-", "-C", str(tmp_path)]
    subprocess.run(words, input=write_tar(TREE), check=True)
    for path, entry in TREE.items():
        found = tmp_path / os.fsdecode(path)
        status = found.lstat()
        assert (status.st_uid, status.st_gid) == (entry.uid, entry.gid)
        if entry.link:
            assert os.fsencode(os.readlink(found)) == entry.link
        else:
            assert status.st_mode & 0o7777 == entry.mode
        if entry.data is not None:
            assert found.read_bytes() == entry.data
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "other name").samefile(tmp_path / "same file")


def test_it_is_the_same_of_the_same_tree_in_any_order():
    assert write_tar(dict(reversed(TREE.items()))) == write_tar(TREE)
