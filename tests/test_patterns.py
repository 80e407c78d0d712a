"""Our exclude patterns beside rsync's own."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.core.patterns import BUILT_IN, Patterns, exclude
from tasks.core.tree import DIR, FILE, Entry, Tree, directory

NAMES = ["a", "b", "ab", "abc", "foo", "x y", "a*b", "[x]", ".h", "a\\b", "a.o", "-n", "A1"]
PIECES = ["a", "b", "c", "ab", "foo", "x y", ".o", ".", "A", "1", "*", "**", "***", "?", "/", "/", "/"]
PIECES += ["[ab]", "[!a]", "[^b]", "[a-c]", "[]x]", "[[:digit:]]", "[[:alpha:]]", "[x", "[[:no:]]", "\\*", "\\[", "\\"]


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


def tree_of(root: pathlib.Path) -> Tree:
    found = {bytes(path.relative_to(root)): path.is_dir() for path in root.rglob("*")}
    return {b"": directory()} | {
        path: directory() if is_folder else Entry(FILE, 0o644, 0, 0) for path, is_folder in found.items()
    }


def by_rsync(root: pathlib.Path, patterns: list[str]) -> set[bytes]:
    rules = [f"--exclude={pattern}" for pattern in patterns]
    argv = ["rsync", "-n", "-r", "-8", "--out-format=%n", *rules, f"{root}/from/", f"{root}/to/"]
    lines = subprocess.run(argv, capture_output=True, check=True).stdout.splitlines()
    names = (line.rstrip(b"/").replace(b"\\#134", b"\\") for line in lines)
    return {name for name in names if name not in (b"", b".")}


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), min_size=1, max_size=3))
@example(["/foo/*"])
@example(["foo/"])
@example(["/a/***"])
@example(["**/b"])
@example(["/**/b"])
@example(["a/**/b"])
@example(["+ /a/foo", "/a/*"])
@example(["- *.o"])
@example(["a\\b"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_patterns_leave_out_what_rsync_leaves_out(folder: pathlib.Path, patterns: list[str]) -> None:
    kept = exclude(tree_of(folder / "from"), patterns)
    assert set(kept) - {b""} == by_rsync(folder, patterns)


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), max_size=3))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_excluding_twice_is_excluding_once(folder: pathlib.Path, patterns: list[str]) -> None:
    once = exclude(tree_of(folder / "from"), patterns)
    assert exclude(once, patterns) == once


def test_the_folder_itself_stays_where_its_contents_are_excluded() -> None:
    paths = [b"", b"scratch", b"scratch/x", b"scratch/x/y", b"srv", b"srv/scratch", b"srv/scratch/z"]
    tree = {path: directory() for path in paths}
    assert list(exclude(tree, ["/scratch/*"])) == [b"", b"scratch", b"srv", b"srv/scratch", b"srv/scratch/z"]


def test_contents_of_mount_points_are_never_taken() -> None:
    paths = ["proc", "sys", "run", "tmp", "var/tmp", "dev/shm", "dev/pts", "cvmfs"]
    tree = {b"": directory(), b"dev": directory(), b"var": directory(), b"dev/console": Entry("char", 0o600, 0, 5)}
    for path in paths:
        tree |= {path.encode(): directory(), path.encode() + b"/inside": directory()}
    assert set(exclude(tree, BUILT_IN)) == {b"", b"dev", b"var", b"dev/console", *(path.encode() for path in paths)}


def test_names_that_are_no_text_are_names_like_others() -> None:
    rules = Patterns(["/data/*", b"*.\xff"])
    assert rules.excludes(b"data/\xfe\n", False)
    assert rules.excludes(b"srv/a\nb.\xff", True)
    assert not rules.excludes(b"srv/a\nb.\xfe", True)


def test_the_root_is_never_excluded() -> None:
    assert list(exclude({b"": Entry(DIR, 0o755, 0, 0), b"a": directory()}, ["*", "/", "**"])) == [b""]
