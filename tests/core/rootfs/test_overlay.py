"""Overlays, read from real folders and laid over trees."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.base.errors import BadInput
from tasks.core.rootfs.modes import Accounts
from tasks.core.rootfs.overlay import OverlayLayer, find_layers, fingerprint, layer, merge
from tasks.core.tree.model import (
    CHAR,
    DIR,
    FILE,
    LINK,
    Entry,
    Tree,
    directory,
    generated_file,
    read_content,
    symlink,
)
from tests.support import sample_site

LOWER: Tree = {
    b"": directory(),
    b"etc": directory(),
    b"etc/motd": generated_file(b"lower"),
    b"etc/ssh": directory(0o700, 5, 6),
    b"lib": symlink(b"usr/lib"),
    b"usr": directory(),
    b"usr/lib": directory(),
    b"usr/lib/x": generated_file(b"x"),
}


@pytest.fixture
def overlay(tmp_path: pathlib.Path) -> Callable[..., OverlayLayer]:
    """Write an overlay: path -> bytes of a file, str for a symlink, None for a folder; and read it."""

    def make(
        files: dict[str, bytes | str | None], name: str = "site", **options: object
    ) -> OverlayLayer:
        folder = tmp_path / "overlays" / name
        folder.mkdir(parents=True, exist_ok=True)
        sample_site.fill(folder, files)
        return layer(bytes(folder), name, **options)  # type: ignore[arg-type]

    return make


def problems(bad: pytest.ExceptionInfo[BadInput], folder: pathlib.Path) -> list[str]:
    return [str(each).replace(f"{folder}/overlays/", "") for each in bad.value.problems]


def test_modes_come_from_the_x_bit_whatever_the_umask(overlay, tmp_path: pathlib.Path) -> None:
    before = os.umask(0o077)
    try:
        folder = tmp_path / "overlays/site/etc"
        folder.mkdir(parents=True)
        (folder / "plain").write_bytes(b"a")
        (folder / "tool").write_bytes(b"b")
        (folder / "tool").chmod(0o700)
        (folder / "odd").write_bytes(b"c")
        (folder / "odd").chmod(0o011)
    finally:
        os.umask(before)
    tree = overlay({}).tree
    assert {path: (oct(entry.mode), entry.uid, entry.gid) for path, entry in tree.items()} == {
        b"etc": ("0o755", 0, 0),
        b"etc/plain": ("0o644", 0, 0),
        b"etc/tool": ("0o755", 0, 0),
        b"etc/odd": ("0o644", 0, 0),
    }


def test_modes_declares_exceptions_and_is_not_shipped(overlay) -> None:
    modes = b"# who may read it\n\netc/key file 0440 root munge\n/etc/empty 1777 7 0\n  usr/bin/su\t4755 0 0\n"
    files = {
        "MODES": modes,
        "README.md": b"about",
        "etc/key file": b"k",
        "etc/empty/.gitkeep": b"",
        "usr/bin/su": b"s",
    }
    read_ = overlay(files, accounts=Accounts({b"root": 0}, {b"munge": 991}))
    assert sorted(read_.tree) == [
        b"etc",
        b"etc/empty",
        b"etc/key file",
        b"usr",
        b"usr/bin",
        b"usr/bin/su",
    ]
    shown = {path: (entry.mode, entry.uid, entry.gid) for path, entry in read_.tree.items()}
    assert shown[b"etc/key file"] == (0o440, 0, 991)
    assert shown[b"etc/empty"] == (0o1777, 7, 0)
    assert shown[b"usr/bin/su"] == (0o4755, 0, 0)
    assert read_.declared == {b"etc/empty"}


def test_mistakes_in_modes_are_named_by_line_and_column(overlay, tmp_path: pathlib.Path) -> None:
    modes = b"a 0644 root root\n\na 0600 root root\nb 0888 nobody 0\nc 0644\ngone 0644 root staff\n"
    with pytest.raises(BadInput) as bad:
        overlay({"MODES": modes, "a": b"", "b": b"", "c": b""})
    assert problems(bad, tmp_path) == [
        "site/MODES:3:1: a is declared twice, first in line 1",
        "site/MODES:4:3: 0888 is no mode; write it in octal, as 0640",
        "site/MODES:4:8: user nobody is not in the reference's etc/passwd; write its number",
        "site/MODES:5:1: not `path mode owner group`",
        "site/MODES:6:1: gone: nothing of this name is in the overlay",
        "site/MODES:6:16: group staff is not in the reference's etc/group; write its number",
    ]


def test_what_git_and_editors_leave_behind_is_not_shipped(overlay) -> None:
    leftovers = [
        ".git/config",
        "etc/.gitkeep",
        "etc/.gitignore",
        "etc/.x.swp",
        "etc/x~",
        ".DS_Store",
        "etc/.#x",
    ]
    assert sorted(overlay(dict.fromkeys(leftovers, b"") | {"etc/x": b""}).tree) == [
        b"etc",
        b"etc/x",
    ]


def test_special_files_and_setuid_have_to_be_declared(overlay, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "overlays/site"
    (folder / "dev").mkdir(parents=True)
    os.mkfifo(folder / "dev/pipe")
    os.mknod(folder / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (folder / "su").write_bytes(b"")
    (folder / "su").chmod(0o4755)
    with pytest.raises(BadInput) as bad:
        overlay({})
    assert [str(each).partition(": ")[0] for each in bad.value.problems] == [
        f"{folder}/{name}:1:1" for name in ("dev/null", "dev/pipe", "su")
    ]
    assert all("must be declared" in each for each in problems(bad, tmp_path))
    modes = b"dev/pipe 0600 0 0\ndev/null 0666 0 0\nsu 4755 0 0\n"
    tree = overlay({"MODES": modes}).tree
    assert tree[b"dev/null"] == Entry(CHAR, 0o666, 0, 0, device=(1, 3))
    assert tree[b"su"].mode == 0o4755


def test_a_socket_cannot_be_in_an_overlay(
    overlay, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "overlays/site").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "overlays/site")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("log")
        with pytest.raises(BadInput, match="site/log:1:1: a socket cannot be in an overlay"):
            overlay({"MODES": b"log 0666 0 0\n"})


def test_an_unreadable_overlay_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BadInput, match="gone:1:1: cannot be read: No such file or directory"):
        layer(bytes(tmp_path / "gone"), "gone")


def test_the_upper_layer_wins_path_by_path(overlay) -> None:
    one = overlay({"etc/motd": b"one", "etc/one": b"1"}, "one")
    two = overlay({"etc/motd": b"two", "opt/site/bin/x": b"2"}, "two")
    tree = merge(LOWER, [one, two])
    assert read_content(tree[b"etc/motd"]) == b"two"
    assert read_content(tree[b"etc/one"]) == b"1"
    assert tree[b"opt/site"] == directory()
    assert list(tree) == sorted(tree)


def test_an_existing_folder_keeps_its_mode_unless_modes_says_otherwise(overlay) -> None:
    assert merge(LOWER, [overlay({"etc/ssh/x": b""}, "a")])[b"etc/ssh"] == directory(0o700, 5, 6)
    declared = overlay({"etc/ssh/x": b"", "MODES": b"etc/ssh 0711 0 0\n"}, "b")
    assert merge(LOWER, [declared])[b"etc/ssh"] == directory(0o711)


def test_a_whiteout_deletes_the_name_below_and_all_it_holds(overlay) -> None:
    tree = merge(LOWER, [overlay({"etc/.wh.ssh": b"", "lib/.wh.x": b"", ".wh.nothing": b""})])
    assert sorted(tree) == [b"", b"etc", b"etc/motd", b"lib", b"usr", b"usr/lib"]


def test_a_file_that_is_whited_out_may_become_a_folder(overlay) -> None:
    tree = merge(
        LOWER,
        [
            overlay(
                {"etc/.wh.motd": b"", "etc/motd/today": b"t", "etc/.wh.ssh": b"", "etc/ssh": b"f"}
            )
        ],
    )
    assert tree[b"etc/motd"].type == DIR and tree[b"etc/ssh"].type == FILE


def test_a_folder_never_replaces_something_else_nor_the_reverse(
    overlay, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(BadInput) as bad:
        merge(LOWER, [overlay({"etc/motd/today": b"", "etc/ssh": b"", "usr": "etc", "usr2": b""})])
    end = "if that is meant, delete it first by a file"
    assert problems(bad, tmp_path) == [
        f"site/etc/motd:1:1: a dir would replace the file etc/motd; {end} etc/.wh.motd",
        f"site/etc/ssh:1:1: a file would replace the dir etc/ssh; {end} etc/.wh.ssh",
        f"site/usr:1:1: a link would replace the dir usr; {end} .wh.usr",
    ]


def test_a_folder_that_is_a_symlink_below_is_followed_inside_the_root(overlay) -> None:
    tree = merge(LOWER, [overlay({"lib/modules/5/nfs.ko": b"n", "lib/x": b"new"})])
    assert tree[b"lib"] == symlink(b"usr/lib")
    assert read_content(tree[b"usr/lib/x"]) == b"new"
    assert tree[b"usr/lib/modules/5"] == directory()
    assert not any(path.startswith(b"lib/") for path in tree)


@pytest.mark.parametrize(
    ("link", "lands"),
    [
        (b"/etc", b"etc/x"),
        (b"../../../../etc", b"etc/x"),
        (b"/srv/../etc", b"etc/x"),
        (b"nowhere/deep", b"a/nowhere/deep/x"),
        (b"/../..", b"x"),
    ],
)
def test_no_symlink_leads_out_of_the_root(overlay, link: bytes, lands: bytes) -> None:
    lower = LOWER | {b"a": directory(), b"a/link": symlink(link)}
    assert lands in merge(lower, [overlay({"a/link/x": b"x"})])


def test_a_root_that_links_to_the_host_does_not_reach_the_host(
    overlay, tmp_path: pathlib.Path
) -> None:
    canary = tmp_path / "host/canary"
    canary.parent.mkdir()
    canary.write_bytes(b"untouched")
    lower = LOWER | {b"opt": symlink(bytes(canary.parent)), b"etc/motd": symlink(bytes(canary))}
    tree = merge(lower, [overlay({"opt/canary": b"laid", "etc/motd": b"laid"})])
    assert read_content(tree[bytes(canary)[1:]]) == b"laid"
    assert read_content(tree[b"etc/motd"]) == b"laid"
    assert canary.read_bytes() == b"untouched"


def test_a_circle_of_symlinks_is_a_problem(overlay, tmp_path: pathlib.Path) -> None:
    lower = {b"": directory(), b"etc": symlink(b"/etc"), b"a": symlink(b"b"), b"b": symlink(b"a")}
    with pytest.raises(BadInput) as bad:
        merge(lower, [overlay({"etc/x": b"", "a/.wh.x": b""})])
    circle = "a folder above it is a symlink that leads in a circle inside the root"
    assert problems(bad, tmp_path) == [
        f"site/a:1:1: {circle}",
        f"site/a/x:1:1: {circle}",
        f"site/etc:1:1: {circle}",
    ]


def test_two_names_of_one_file_are_a_problem(overlay) -> None:
    with pytest.raises(
        BadInput, match="usr/lib/y:1:1: is the same file as .*lib/y: both are usr/lib/y"
    ):
        merge(LOWER, [overlay({"lib/y": b"1", "usr/lib/y": b"2"})])


def test_a_folder_of_the_overlay_below_a_file_is_a_problem(overlay) -> None:
    lower = LOWER | {b"opt": symlink(b"etc/motd")}
    with pytest.raises(BadInput, match="a dir would replace the file etc/motd"):
        merge(lower, [overlay({"opt/x": b"1"})])


def test_strange_names_are_kept_exactly(overlay, tmp_path: pathlib.Path) -> None:
    names = [
        b"with space",
        b"-n",
        b"new\nline",
        b"\xff\xfe",
        b"back\\slash",
        b"x" * 255,
        "ü".encode(),
    ]
    folder = bytes(tmp_path / "overlays/site/etc")
    os.makedirs(folder)
    for name in names:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name)
    tree = merge(LOWER, [overlay({})])
    assert all(read_content(tree[b"etc/" + name]) == name for name in names)


def test_a_message_is_one_line_whatever_is_in_the_name(overlay, tmp_path: pathlib.Path) -> None:
    folder = bytes(tmp_path / "overlays/site")
    os.makedirs(folder)
    os.mkfifo(os.path.join(folder, b"a\nb\xff\x1b"))
    with pytest.raises(BadInput) as bad:
        overlay({})
    assert r"a\nb\xff\x1b:1:1: a fifo node must be declared" in problems(bad, tmp_path)[0]


def test_overlays_are_looked_up_in_the_sites_folder_first(tmp_path: pathlib.Path) -> None:
    for folder in ("site/overlays/a", "repository/overlays/a", "repository/overlays/b"):
        (tmp_path / folder).mkdir(parents=True)
    folders = [str(tmp_path / "site"), str(tmp_path / "repository")]
    assert find_layers(folders, ["b", "a"]) == [
        ("b", bytes(tmp_path / "repository/overlays/b")),
        ("a", bytes(tmp_path / "site/overlays/a")),
    ]
    with pytest.raises(BadInput) as bad:
        find_layers(folders, ["..", "a/../b", "gone", ""])
    assert len(bad.value.problems) == 4
    assert "overlays/gone:1:1: no such overlay" in str(bad.value)


def test_a_sites_own_overlay_of_a_built_in_name_is_laid_over_the_built_in_one(
    tmp_path: pathlib.Path,
) -> None:
    places = [tmp_path / "repository/overlays/worker", tmp_path / "site/overlays/worker"]
    for place in places:
        place.mkdir(parents=True)
    folders = [str(tmp_path / "site"), str(tmp_path / "repository")]
    assert find_layers(folders, ["worker"]) == [("worker", bytes(place)) for place in places]
    for place in places:
        before = fingerprint(folders, ["worker"])
        (place / "motd").write_bytes(b"hello\n")
        assert fingerprint(folders, ["worker"]) != before


def test_the_fingerprint_sees_every_change_and_nothing_else(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "overlays/a"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/x").write_bytes(b"1")
    (folder / "etc/link").symlink_to("x")
    seen = [fingerprint([str(tmp_path)], ["a", "gone"])]
    changes: list[Callable[[], object]] = [
        lambda: (folder / "etc/x").chmod(0o755),
        lambda: (folder / "etc/x").write_bytes(b"2"),
        lambda: ((folder / "etc/link").unlink(), (folder / "etc/link").symlink_to("y")),
        lambda: (folder / "new").mkdir(),
        lambda: (folder / "new").rmdir(),
        lambda: (folder / "etc/x").rename(folder / "etc/y"),
    ]
    for change in changes:
        assert fingerprint([str(tmp_path)], ["a", "gone"]) == seen[-1]
        change()
        assert fingerprint([str(tmp_path)], ["a", "gone"]) != seen[-1]
        seen.append(fingerprint([str(tmp_path)], ["a", "gone"]))
    (folder / "etc/.y.swp").touch()
    assert fingerprint([str(tmp_path)], ["a", "gone"]) == seen[-1]


PATHS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(b"/".join)


@st.composite
def layers(draw: st.DrawFn) -> OverlayLayer:
    """A layer of files, with the folders above them, and whiteouts."""
    tree: Tree = {}
    for path in draw(st.lists(PATHS, max_size=4)):
        if path not in tree and not any(
            tree.get(path[:n], directory()).type != DIR for n in (1, 3)
        ):
            tree[path] = generated_file(draw(st.binary(max_size=2)))
            tree |= {path[:n]: directory() for n in (1, 3) if n < len(path)}
    return OverlayLayer(
        "x", b"overlays/x", tree, frozenset(draw(st.lists(PATHS, max_size=2))), frozenset()
    )


@given(layers(), layers(), layers())
@settings(max_examples=150, deadline=None)
def test_laying_layers_one_by_one_is_laying_them_at_once(
    one: OverlayLayer, two: OverlayLayer, three: OverlayLayer
) -> None:
    lower: Tree = {b"": directory()}
    try:
        at_once = merge(lower, [one, two, three])
    except BadInput:
        return
    assert merge(merge(merge(lower, [one]), [two]), [three]) == at_once
    assert merge(at_once, [three]) == at_once or three.whiteouts
    assert all(parent_of(path) in at_once for path in at_once)
    assert all(at_once[parent_of(path)].type == DIR for path in at_once)


def parent_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def test_a_symlink_of_an_overlay_is_laid_as_it_is(overlay) -> None:
    tree = merge(
        LOWER,
        [overlay({"etc/absolute": "/etc/passwd", "etc/up": "../../../x", "etc/gone": "nowhere"})],
    )
    assert [tree[name] for name in (b"etc/absolute", b"etc/up", b"etc/gone")] == [
        symlink(b"/etc/passwd"),
        symlink(b"../../../x"),
        symlink(b"nowhere"),
    ]
    assert all(tree[name].type == LINK for name in (b"etc/absolute", b"etc/up"))
