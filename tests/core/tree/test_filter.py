"""Our exclude patterns beside rsync's own."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.core.scan.reader import ScanOptions, scan
from tasks.core.tree.filter import NEVER_COPIED, Patterns, literal
from tests.support.sample_site import fill

NAMES = ["a", "b", "ab", "abc", "foo", "x y", "a*b", "[x]", ".h", "a\\b", "a.o", "-n", "A1"]
PIECES = [
    "a",
    "b",
    "c",
    "ab",
    "foo",
    "x y",
    ".o",
    ".",
    "A",
    "1",
    "*",
    "**",
    "***",
    "?",
    "/",
    "/",
    "/",
]
PIECES += [
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[]x]",
    "[[:digit:]]",
    "[[:alpha:]]",
    "[x",
    "[[:no:]]",
    "[./b]",
    "[!/]",
    "\\*",
    "\\[",
    "\\",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Three levels of folders and files of all those names."""
    root = tmp_path_factory.mktemp("patterns")
    (root / "to").mkdir()
    for name in NAMES:
        for below in ("foo", "a", "ab"):
            (root / "from" / name / below / "b").mkdir(parents=True)
            (root / "from" / name / below / "a.o").touch()
        (root / "from" / name / "abc").touch()
        (root / "from" / f"{name}.f").touch()
    return root


def kept(root: pathlib.Path, patterns: Iterable[str]) -> set[str]:
    """What of a folder is read, itself aside."""
    return {
        os.fsdecode(path)
        for path in scan(root, options=ScanOptions(Patterns(patterns).excludes)).tree
    } - {""}


def by_rsync(root: pathlib.Path, patterns: list[str]) -> set[str]:
    rules = [f"--exclude={pattern}" for pattern in patterns]
    argv = ["rsync", "-n", "-r", "-8", "--out-format=%n", *rules, f"{root}/from/", f"{root}/to/"]
    lines = subprocess.run(argv, capture_output=True, check=True).stdout.splitlines()
    names = (line.rstrip(b"/").replace(b"\\#134", b"\\") for line in lines)
    return {os.fsdecode(name) for name in names} - {"", "."}


@given(
    st.lists(
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
        min_size=1,
        max_size=3,
    )
)
@example(["/foo/*"])
@example(["foo/"])
@example(["/a/***"])
@example(["**/b"])
@example(["/**/b"])
@example(["a/**/b"])
@example(["+ /a/foo", "/a/*"])
@example(["- *.o"])
@example(["a\\b"])
@example(["[x/[ab]"])
@example(["/[x/[ab]"])
@example(["**[x/[ab]"])
@example(["foo/[!/]"])
@example(["a/**[./-b]"])
@example(["a/****"])
@example(["**/***"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_patterns_leave_out_what_rsync_leaves_out(
    folder: pathlib.Path, patterns: list[str]
) -> None:
    assert kept(folder / "from", patterns) == by_rsync(folder, patterns)


@given(
    st.text(st.sampled_from("ab*?[]!\\/"), min_size=1).filter(lambda path: path == path.strip("/"))
)
def test_the_pattern_of_one_path_is_that_of_no_other(path: str) -> None:
    rules = Patterns([literal(path)])
    assert rules.excludes(path.encode(), True) and rules.excludes(path.encode(), False)
    for other in (f"a/{path}", f"{path}/a", f"{path}a", path.replace("*", "ba").replace("?", "b")):
        assert rules.excludes(other.encode(), True) is (other == path)


def test_the_folder_itself_stays_where_its_contents_are_excluded(tmp_path: pathlib.Path) -> None:
    fill(tmp_path, {"scratch/x/y": b"", "srv/scratch/z": b""})
    assert kept(tmp_path, ["/scratch/*"]) == {"scratch", "srv", "srv/scratch", "srv/scratch/z"}


def test_contents_of_mount_points_are_never_taken(tmp_path: pathlib.Path) -> None:
    paths = ["proc", "sys", "run", "tmp", "var/tmp", "dev/shm", "dev/pts", "cvmfs"]
    fill(tmp_path, {"dev/console": b""} | {f"{path}/inside": b"" for path in paths})
    assert kept(tmp_path, NEVER_COPIED) == {"dev", "var", "dev/console", *paths}


def test_names_that_are_no_text_are_names_like_others() -> None:
    rules = Patterns(["/data/*", b"*.\xff"])
    assert rules.excludes(b"data/\xfe\n", False)
    assert rules.excludes(b"srv/a\nb.\xff", True)
    assert not rules.excludes(b"srv/a\nb.\xfe", True)


def test_the_root_is_never_excluded(tmp_path: pathlib.Path) -> None:
    fill(tmp_path, {"a": None})
    assert list(scan(tmp_path, options=ScanOptions(Patterns(["*", "/", "**"]).excludes)).tree) == [
        b""
    ]
