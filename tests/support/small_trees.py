"""Small trees of every kind of entry, in which names often meet: for properties of what is made of trees."""

from __future__ import annotations

from hypothesis import strategies as some

from tasks.core.tree.model import (
    BLOCK,
    CHAR,
    DIR,
    FIFO,
    FILE,
    Entry,
    Tree,
    directory,
    generated_file,
    parents,
    symlink,
)

NAMES = [b"a", b"a-", b"b", b"\xff\n"]
PATHS = [
    b"/".join(parts)
    for parts in [[x] for x in NAMES]
    + [[x, y] for x in NAMES for y in NAMES]
    + [[b"a", b"b", x] for x in NAMES]
]
leaves = some.one_of(
    some.builds(
        generated_file,
        some.binary(max_size=3),
        some.sampled_from([0o644, 0o4711, 0o000]),
        some.integers(0, 2),
    ),
    some.builds(symlink, some.sampled_from([b"/etc", b"../..", b"a", b"b"])),
    some.builds(
        lambda mode, gid: Entry(FIFO, mode, 0, gid),
        some.sampled_from([0o600, 0o666]),
        some.integers(0, 1),
    ),
    some.builds(lambda minor: Entry(CHAR, 0o600, 0, 0, device=(1, minor)), some.integers(3, 5)),
    some.builds(lambda minor: Entry(BLOCK, 0o600, 0, 0, device=(7, minor)), some.integers(0, 2)),
)
folders = some.builds(
    directory, some.sampled_from([0o755, 0o555, 0o2770, 0o000]), some.integers(0, 1)
)


@some.composite
def trees(draw) -> Tree:
    """A small tree in which names often meet, with hard-linked files."""
    tree: Tree = {b"": draw(folders)}
    paths = some.lists(some.sampled_from(PATHS), unique=True, max_size=12)
    for path in draw(paths):
        above = list(parents(path))[::-1]
        if all(tree.get(folder, directory()).type == DIR for folder in above):
            tree |= {folder: draw(folders) for folder in above if folder not in tree}
            tree.setdefault(path, draw(some.one_of(leaves, folders)))
    files = [path for path, entry in tree.items() if entry.type == FILE]
    if files:
        draw_links(draw, tree, files)
    return tree


def draw_links(draw, tree: Tree, files: list[bytes]) -> None:
    """Some of the files become names of others."""
    one_of = some.sampled_from(files)
    for path in draw(some.lists(one_of, unique=True)):
        shared = draw(one_of)
        number = tree[shared].inode or files.index(shared) + 1
        tree[shared] = tree[shared]._replace(inode=number)
        tree[path] = tree[shared]
