"""Archives of initial RAM disks: read whatever distributions make, written the same everywhere."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import signal
import subprocess

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.archive import compression, cpio
from tasks.core.base.errors import BadInput
from tasks.core.tree.model import (
    CHAR,
    FILE,
    Entry,
    Tree,
    directory,
    generated_file,
    read_content,
    symlink,
)

TREE: Tree = {
    b"bin": directory(),
    b"bin/a": Entry(FILE, 0o755, 0, 0, 5, data=b"hello", inode=7),
    b"bin/b": Entry(FILE, 0o755, 0, 0, 5, data=b"hello", inode=7),
    b"bin/sh": symlink(b"a"),
    b"dev": directory(),
    b"dev/console": Entry(CHAR, 0o600, 0, 0, device=(5, 1)),
    b"etc": directory(0o700),
    b"etc/\xff name": Entry(FILE, 0o644, 0, 0, 3, data=b"odd"),
    b"etc/empty": Entry(FILE, 0o644, 0, 0, data=b""),
}
MICROCODE: Tree = {
    b"kernel": directory(),
    b"kernel/x86": directory(),
    b"kernel/x86/u.bin": Entry(FILE, 0o644, 0, 0, 4, data=b"code"),
}


def shape(tree: Tree) -> dict:
    return {
        path: (e.type, e.mode, e.link, e.device, read_content(e) if e.type == FILE else b"")
        for path, e in tree.items()
    }


def newc(tree: Tree = TREE) -> bytes:
    return cpio.write_newc(tree)


def test_what_is_written_is_what_is_read():
    image = cpio.read_image(newc(), "x")
    assert shape(image.tree) == shape(TREE)
    assert image.tree[b"bin/a"].inode == image.tree[b"bin/b"].inode != 0
    assert newc(image.tree) == newc()


def test_the_same_tree_is_the_same_bytes_whatever_its_order_owners_and_inodes():
    changed = {
        path: entry._replace(uid=1, gid=2, inode=entry.inode and 99)
        for path, entry in reversed(TREE.items())
    }
    assert newc(changed) == newc()


def test_plain_files_are_packed_to_the_same_bytes_without_libarchive():
    files = {
        "a/b/site.img": b"data" * 333,
        "a/b/site.img.sig": b"sig",
        "a/c": b"",
        "d": b"1",
    }
    tree: Tree = {b"a": directory(), b"a/b": directory()}
    for name, data in files.items():
        tree[name.encode()] = generated_file(data)
    assert cpio.write_plain(files) == cpio.write_newc(tree)
    assert cpio.write_plain({}) == cpio.write_newc({})


# One that comes where an entry is freed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_ends_the_packing_and_is_never_lost_with_a_piece_of_it():
    tree = TREE | {
        b"etc/%03d" % number: generated_file(random.Random(number).randbytes(3000))
        for number in range(400)
    }
    whole, ended = cpio.write_newc(tree), 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in range(1, 120):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay / 10_000)
                packed = cpio.write_newc(tree)
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert packed == whole
            except KeyboardInterrupt:
                ended += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended


def test_gnu_cpio_lists_a_file_s_data_once_with_its_last_name():
    words = ["cpio", "-itv", "--quiet"]
    done = subprocess.run(words, input=newc(), capture_output=True, check=True)
    told = {}
    for line in done.stdout.splitlines():
        _, names, _, _, size, *_, name = line.split()
        told[name] = names, size
    assert told[b"bin/a"] == (b"2", b"0")
    assert told[b"bin/b"] == (b"2", b"5")


def test_an_archive_of_gnu_cpio_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "l").symlink_to("a")
    names = "\0".join([".", "./a", "./b", "./l"])
    made = subprocess.run(
        ["cpio", "-o0", "-H", "newc", "--quiet"],
        cwd=tmp_path,
        input=names.encode(),
        capture_output=True,
    )
    tree = cpio.read_image(made.stdout, "x").tree
    assert [read_content(tree[name]) for name in (b"a", b"b")] == [b"one", b"one"] and tree[
        b"l"
    ].link == b"a"


COMPRESSORS = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "zstd": zstandard.ZstdCompressor().compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("how", COMPRESSORS)
def test_an_image_of_any_compression_is_read(how):
    image = cpio.read_image(COMPRESSORS[how](newc()), "x")
    assert shape(image.tree) == shape(TREE) and image.compression == how


@pytest.mark.parametrize("how", COMPRESSORS)
def test_a_file_of_any_compression_is_expanded_with_all_its_streams(how):
    one, two = COMPRESSORS[how](b"one, "), COMPRESSORS[how](b"two")
    assert compression.expanded(one + two) == b"one, two"


@pytest.mark.parametrize("how", sorted(COMPRESSORS.keys() - {"none"}))
def test_half_a_file_of_any_compression_is_damaged(how):
    with pytest.raises(compression.Corrupt, match="ended before the end-of-stream marker"):
        compression.expanded(COMPRESSORS[how](bytes(range(256)))[:-12])


@pytest.mark.parametrize("how", ["gzip", "zstd", "xz"])
def test_microcode_stays_first_and_uncompressed(how):
    early = newc(MICROCODE) + bytes(1024)
    image = cpio.read_image(early + COMPRESSORS[how](newc()) + bytes(100), "x")
    assert image.early == early and shape(image.tree) == shape(TREE)


def test_segments_of_all_kinds_lie_over_each_other_as_in_the_kernel():
    second = {
        b"bin": directory(),
        b"bin/sh": Entry(FILE, 0o755, 0, 0, 3, data=b"new"),
        b"lib": directory(),
    }
    mixed = (
        newc(MICROCODE)
        + newc()
        + bytes(512)
        + gzip.compress(newc(second))
        + bytes(4)
        + COMPRESSORS["zstd"](newc({b"z": directory()}))
    )
    image = cpio.read_image(mixed, "x")
    assert read_content(image.tree[b"bin/sh"]) == b"new"
    assert {b"z", b"lib", b"bin/a"} <= image.tree.keys() and image.early == newc(MICROCODE)


def test_names_below_a_symlink_land_where_it_leads():
    first = {b"usr": directory(), b"usr/lib": directory(), b"lib": symlink(b"usr/lib")}
    tree = cpio.read_image(
        newc(first) + newc({b"lib/x": Entry(FILE, 0o644, 0, 0, 1, data=b"x")}), "x"
    ).tree
    assert b"usr/lib/x" in tree and b"lib/x" not in tree


@pytest.mark.parametrize("how", ["gzip", "zstd", "xz"])
def test_a_compressed_image_is_the_same_twice_and_the_tools_read_it(how, tmp_path):
    data = random.Random(1).randbytes(70_000) + bytes(3_000_000)
    packed = compression.compress(data, how)
    assert packed == compression.compress(data, how)
    (tmp_path / "f").write_bytes(packed)
    assert (
        subprocess.run([how, "-dc"], input=packed, capture_output=True, check=True).stdout == data
    )


def test_gzip_carries_no_time_and_empty_data_is_fine():
    assert compression.gzip(b"x")[4:8] == bytes(4) and gzip.decompress(compression.gzip(b"")) == b""


def test_xz_has_the_checksum_that_the_kernel_knows(tmp_path):
    (tmp_path / "f.xz").write_bytes(compression.xz(b"data"))
    told = subprocess.run(
        ["xz", "-l", tmp_path / "f.xz"], capture_output=True, check=True, text=True
    ).stdout
    assert "CRC32" in told


def corrupt(at: int, value: bytes) -> bytes:
    data = newc()
    return data[:at] + value + data[at + len(value) :]


def without_trailer() -> bytes:
    data = newc()
    return data[: data.index(b"TRAILER!!!") - 110]


BROKEN = {
    "empty": (b"", "it is empty"),
    "only zeros": (bytes(5000), "it is empty"),
    "truncated gzip": (gzip.compress(newc())[:-20], "gzip data truncated at byte"),
    "truncated xz": (COMPRESSORS["xz"](newc())[:-20], "xz data truncated at byte"),
    "truncated zstd": (COMPRESSORS["zstd"](newc())[:-9], "zstd data truncated at byte"),
    "bad checksum": (gzip.compress(newc())[:-8] + bytes(8), "gzip data at byte 0 is damaged"),
    "truncated newc": (newc()[:700], "truncated at byte 700"),
    "no trailer": (without_trailer(), "no TRAILER!!!"),
    "field not hexadecimal": (
        corrupt(14, b"zzzzzzzz"),
        "corrupt entry at byte 0: a field is no hexadecimal number",
    ),
    "name length 0": (corrupt(94, b"00000000"), "corrupt entry at byte 0: its name has no end"),
    "size beyond the end": (corrupt(54, b"7fffffff"), "truncated at byte"),
    "garbage after the trailer": (newc() + b"garbage", "something unknown"),
    "odc": (b"070707" + bytes(200), "old portable cpio (odc)"),
    "crc": (b"070702" + bytes(200), "cpio with checksums (crc)"),
    "cramfs": (b"\x45\x3d\xcd\x28" + bytes(2000), "cramfs"),
    "ext2": (bytes([1] * 0x438) + b"\x53\xef" + bytes(100), "ext2"),
    "ext2 in gzip": (gzip.compress(bytes([1] * 0x438) + b"\x53\xef" + bytes(100)), "ext2"),
    "lz4": (b"\x02\x21\x4c\x18" + bytes(100), "lz4 (legacy) compression is not supported"),
    "lzop": (b"\x89LZO" + bytes(100), "lzop compression is not supported"),
    "a way out": (newc({b"a/../../b": directory()}), "an entry has the name"),
    "nothing but microcode": (newc(MICROCODE), "it holds no files"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_image_is_refused_in_plain_words(what):
    data, message = BROKEN[what]
    with pytest.raises(BadInput) as error:
        cpio.read_image(data, "boot/initrd.img")
    assert str(error.value).startswith("boot/initrd.img:1:1: ") and message in str(error.value)


@pytest.mark.parametrize("how", ["gzip", "xz", "zstd", "bzip2"])
def test_a_bomb_is_not_expanded(how, monkeypatch):
    for module in (cpio, compression):
        monkeypatch.setattr(module, "LIMIT", 4 << 20)
    bomb = COMPRESSORS[how](bytes(16 << 20))
    with pytest.raises(BadInput, match="expands beyond 4 MiB"):
        cpio.read_image(bomb, "x")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(newc())), st.integers(0, 255), st.booleans())
def test_no_damage_gives_anything_but_an_image_or_a_refusal(place, value, cut):
    data = newc()
    damaged = data[:place] if cut else data[:place] + bytes([value]) + data[place + 1 :]
    try:
        cpio.read_image(damaged, "x")
    except BadInput:
        pass
