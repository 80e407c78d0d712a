"""Files with other bytes are read alone where nothing else changed; by any doubt none is told."""

from __future__ import annotations

import marshal
import os
import pathlib
import time

import pytest

from tasks.core.scan import reader
from tasks.core.scan.changed_bytes import ChangedBytes, changed_bytes
from tasks.core.scan.index import NOTHING_KNOWN, Index
from tasks.core.scan.reader import Judge, ScanOptions, Walked, look, scan_on

STRICT = ScanOptions(judge=Judge("strict", lambda data, digest: "evil" if b"evil" in data else ""))


@pytest.fixture
def top(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "root"
    for name in ("one", "two", "inner/three"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"bytes of {name}\n")
    (folder / "link").symlink_to("one")
    time.sleep(0.03)
    return folder


def known(top: pathlib.Path, options: ScanOptions = STRICT) -> Index:
    return scan_on(top, Walked(None), options)[1]


def read(index: Index) -> dict[bytes, object]:
    return {folder: marshal.loads(record) for folder, record in index.records.items()}


def changed(
    top: pathlib.Path, before: Index, options: ScanOptions = STRICT, special: bytes = b""
) -> ChangedBytes | None:
    time.sleep(0.03)
    looked = look(top, before, options)
    found = changed_bytes(
        str(top), looked, options, lambda path: path != special, lambda names: None
    )
    again, index = scan_on(top, looked, options)
    if found:  # what was found is what a scan of everything finds
        assert found.after == {path: again.tree[path] for path in found.after}
        assert (found.known.signature, read(found.known)) == (index.signature, read(index))
    return found


def test_files_with_other_bytes_are_named_as_they_were_and_as_they_are(top):
    before = known(top)
    (top / "one").write_text("other bytes, and more of them\n")
    (top / "new").write_text("as editors do\n")
    os.replace(top / "new", top / "inner/three")
    os.utime(top / "two")
    found = changed(top, before)
    assert found and set(found.before) == set(found.after) == {b"one", b"inner/three"}
    assert (found.before[b"one"].size, found.after[b"one"].size) == (13, 30)


def test_no_other_file_is_read(top, monkeypatch):
    before = known(top)
    (top / "one").write_text("other bytes\n")
    time.sleep(0.03)
    looked, sizes = look(top, before, STRICT), list[int]()
    read_through = reader.read_through

    def noted(fd, status, tell):
        sizes.append(status.st_size)
        return read_through(fd, status, tell)

    monkeypatch.setattr(reader, "read_through", noted)
    assert changed_bytes(str(top), looked, STRICT, lambda path: True, lambda names: None)
    assert sizes == [12]


MORE = {
    "a mode": lambda top: (top / "one").chmod(0o600),
    "a folder's mode": lambda top: (top / "inner").chmod(0o700),
    "an owner": lambda top: os.chown(top / "one", 7, 0),
    "a name more": lambda top: (top / "four").touch(),
    "a name less": lambda top: (top / "two").unlink(),
    "a folder more": lambda top: (top / "folder").mkdir(),
    "another type": lambda top: ((top / "two").unlink(), (top / "two").symlink_to("one")),
    "another target": lambda top: ((top / "link").unlink(), (top / "link").symlink_to("two")),
    "another name": lambda top: ((top / "two").unlink(), os.link(top / "one", top / "two")),
    "a label": lambda top: os.setxattr(top / "one", "user.label", b"x"),
    "a folder's label": lambda top: os.setxattr(top / "inner", "user.label", b"x"),
    "what the judge refuses": lambda top: (top / "one").write_text("evil\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", MORE)
def test_where_more_changed_nothing_is_told(top, what):
    before = known(top)
    MORE[what](top)
    assert changed(top, before) is None


@pytest.mark.parametrize("place", ["one", "inner"])
def test_what_is_not_known_of_a_label_is_no_change_of_bytes(top, place):
    os.setxattr(top / place, "user.label", b"x")
    time.sleep(0.03)
    before = known(top)
    os.removexattr(top / place, "user.label")
    assert changed(top, before) is None


def test_what_the_judge_refused_before_is_not_told(top):
    (top / "one").write_text("evil\n")
    time.sleep(0.03)
    before = known(top)
    (top / "one").write_text("good\n")
    assert changed(top, before) is None


def test_what_is_special_is_not_told(top):
    before = known(top)
    (top / "one").write_text("other bytes\n")
    assert changed(top, before, special=b"one") is None
    assert changed(top, before, special=b"two")


def test_an_index_of_another_judge_or_of_nothing_tells_nothing(top):
    before = known(top, ScanOptions())
    (top / "one").write_text("other bytes\n")
    assert changed(top, before) is None
    assert changed(top, NOTHING_KNOWN) is None
