"""The benchmarks: one function for each thing that an admin waits for, as rows; GROWTH's as curves.

Measured is the whole command that an admin types, with doit's own start and every check, beside what would do the same
work without Plugnode.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from functools import partial

from bench import servers
from bench.inputs import (
    BOOTSTRAP,
    MODULES,
    PER_NETWORK,
    REPOSITORY,
    Inputs,
    add,
    edit,
    made,
    node,
)
from bench.inputs import site as site_file
from bench.measure import Measured, Side, interleaved, run
from bench.rows import Curve, Row, at_most, counted, of_size, of_time
from bench.work import Work, archive, built, entries, path_reference, remove

TIMED = (
    "import time; then = time.perf_counter(), time.process_time(); {work}; "
    "print(time.perf_counter() - then[0], time.process_time() - then[1])"
)
PARSE = "import sys, yaml; yaml.load(open(sys.argv[1]), Loader=yaml.CSafeLoader)"
LOAD = (
    "import sys; from tasks.core.site.cache import load_cached; "
    "load_cached(*sys.argv[1:3], (sys.argv[3],)).nodes"
)
PARSE_ALONE = "import sys, yaml;" + TIMED.format(
    work="yaml.load(open(sys.argv[1]), Loader=yaml.CSafeLoader)"
)
READ_ALONE = "import sys, yaml; from tasks.core.site import load;" + TIMED.format(
    work="load.read_site(sys.argv[1], (sys.argv[2],))"
)
MATERIALISE = (
    "import sys; from tasks.core.checkout import staged; from tasks.core.scan import reader;"
    "options = reader.ScanOptions(owned=bool(sys.argv[4]));"
    "tree = reader.scan(sys.argv[1], sys.argv[2], options).tree;"
    "place = staged.staged_paths(sys.argv[3]);"
) + TIMED.format(work="staged.checkout(place, tree, tree if sys.argv[4] else None)")
PACK = (
    "import sys; from tasks.core.archive import compression, cpio; "
    "from tasks.core.base import files; from tasks.core.scan import reader;"
    "image = cpio.write_newc(reader.scan(sys.argv[1]).tree);"
    "files.write_atomic(sys.argv[2], compression.compress(image, sys.argv[3]))"
)
CPIO = (
    'cd "$0" && find . -print0 | LC_ALL=C sort -z | cpio --quiet -0 -o -H newc | gzip -n -6 >"$1"'
)


# --- nothing to do


def noop(inputs: Inputs) -> Iterator[Row]:
    """Nothing has changed."""
    sizes = inputs.sizes
    for tree, goal in ((inputs.root, 0.6), (inputs.tree(sizes.tree), 0.5)):
        found = unchanged(inputs, tree, sizes.rounds)
        yield of_time(
            f"nothing to do, a reference of {entries(tree):,} files in place", goal, *found
        )
    yield noop_site(inputs)


def unchanged(inputs: Inputs, tree: pathlib.Path, rounds: int) -> list[Measured]:
    work, peer = built(inputs, tree)
    peer_side = Side("rsync -an", ["rsync", "-an", f"{tree}/", f"{peer}/"])
    return interleaved([Side("doit", work.doit()), peer_side], rounds)


def noop_site(inputs: Inputs) -> Row:
    """Many nodes, a reference that the build owns, and nothing has changed."""
    nodes = inputs.sizes.nodes
    work = Work(inputs.folder / "noop-site", archive(inputs, inputs.tree(300)), nodes).built()
    (work.folder / "dodo.py").write_text("def task_nothing():\n    return {'actions': []}\n")
    empty = [sys.executable, "-m", "doit", "-d", str(work.folder)]
    sides = [Side("doit", work.doit()), Side("doit with an empty dodo.py", empty)]
    row = of_time(
        f"nothing to do, {nodes:,} nodes, a snapshot", 2.0, *interleaved(sides, inputs.sizes.rounds)
    )
    remove(work.folder)
    return row


# --- a root is staged


def stage(inputs: Inputs) -> Iterator[Row]:
    """A root is made for the first time: read, checked for secrets, changed, written."""
    work = Work(inputs.folder / "stage", path_reference(inputs.root))
    yield from staged("a reference in place", inputs, work, inputs.root, "-a", work.forget)
    remove(work.folder)
    work = Work(inputs.folder / "stage", archive(inputs, inputs.root))
    made(work.doit("snapshot"))
    tree = next((work.build / "references").glob("*/tree"))
    yield from staged(
        "a snapshot", inputs, work, tree, "-al", partial(work.forget, "worker", ".noted")
    )
    remove(work.folder)


def staged(
    what: str, inputs: Inputs, work: Work, tree: pathlib.Path, how: str, forget: Callable[[], None]
) -> Iterator[Row]:
    """`doit root` of a reference beside `cp` of it."""
    peer, alone = inputs.folder / "stage-copy", inputs.folder / "stage-alone"
    owned = str(tree) if how == "-al" else ""
    script = [sys.executable, "-c", MATERIALISE, str(tree), f"{alone}.index", str(alone), owned]
    sides = [
        Side("doit root", work.doit("root"), forget),
        Side(f"cp {how}", ["cp", how, str(tree), str(peer)], partial(remove, peer)),
        Side("the folder alone", script, partial(remove, alone), tells=True),
    ]
    ours, theirs, making = interleaved(sides, inputs.sizes.rounds)
    remove(peer, alone)
    title = f"first staging, {entries(inputs.root):,} files of {what}"
    yield of_time(title, 1.0, ours, theirs)
    yield of_time("of that, making the folder when it is known what is in it", None, making, theirs)


def restage(inputs: Inputs) -> Iterator[Row]:
    """Ten files of the reference have other bytes; or there is a name more, and every step has to be taken again."""
    rounds, root = inputs.sizes.rounds, inputs.root
    for tree, goal in ((root, 0.6), (inputs.tree(inputs.sizes.tree), 0.5)):
        found = restaged(inputs, tree, partial(edit, tree, 10), rounds)
        yield of_time(f"re-staging, 10 of {entries(tree):,} files changed", goal, *found)
    found = restaged(inputs, root, partial(edit, root, 10), rounds, ())
    yield of_time(
        f"a whole build: root, release, report; 10 of {entries(root):,} files changed", None, *found
    )
    found = restaged(inputs, root, partial(add, root), rounds)
    yield of_time(f"re-staging, one file more beside {entries(root):,}", None, *found)


def restaged(
    inputs: Inputs,
    tree: pathlib.Path,
    change: Callable[[], None],
    rounds: int,
    words: tuple[str, ...] = ("root",),
) -> list[Measured]:
    work, peer = built(inputs, tree)
    return interleaved(
        [
            Side("doit", work.doit(*words), change),
            Side("rsync -a --delete", ["rsync", "-a", "--delete", f"{tree}/", f"{peer}/"]),
        ],
        rounds,
    )


# --- initrds


def pack(inputs: Inputs) -> Iterator[Row]:
    """A folder of kernel modules becomes an archive, compressed."""
    out = inputs.folder / "packed"
    (tree,) = (inputs.root / "lib/modules").glob("*/kernel/drivers/net")
    for how, goal in (("gzip", 1.0), ("zstd", 0.3)):
        ours = Side(f"own, {how}", [sys.executable, "-c", PACK, str(tree), f"{out}.{how}", how])
        peer = Side("find, cpio, gzip -6", ["sh", "-c", CPIO, str(tree), str(out)])
        work = f"an archive of {size_of(tree) / 1e6:.0f} MB of kernel modules, {how}"
        yield of_time(work, goal, *interleaved([ours, peer], inputs.sizes.rounds))


def size_of(folder: pathlib.Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def initrd(inputs: Inputs) -> Iterator[Row]:
    """The initrd of one kernel that mounts its root over NFS, by each of its makers, all of them with gzip -6."""
    if not inputs.sizes.debian:
        raise LookupError("takes the Debian root of a whole run")
    root = inputs.debian
    (kernel,) = (path.name for path in (root / "lib/modules").iterdir())
    work, scratch = (
        Work(inputs.folder / "initrd", BOOTSTRAP, modules=MODULES),
        inputs.folder / "scratch",
    )
    work.build.mkdir()
    (work.build / "references").symlink_to(root.parent.parent)
    work.built()
    scratch.mkdir()
    forget = partial(work.forget, "worker/initrd.img", "worker/initrd.json", "worker/vmlinuz")
    inside = ["unshare", "--mount", "sh", "-ec", CHROOT, "sh", str(root), str(scratch)]
    peers = [
        Side(name, [*inside, *(word.format(kernel=kernel) for word in argv)])
        for name, argv in PEERS.items()
    ]
    ours, *theirs = interleaved(
        [Side("doit initrd", work.doit("initrd"), forget), *peers], inputs.sizes.rounds
    )
    for peer, goal in zip(theirs, (0.05, 0.1)):
        yield of_time("the initrd of a Debian kernel for a root over NFS", goal, ours, peer)
    own = (work.build / "worker/initrd.img").stat().st_size
    for name in PEERS:
        inputs.images[name] = (scratch / PEERS[name][0]).stat().st_size
        yield of_size("bytes of that initrd", 0.3, own, name, inputs.images[name])
    remove(work.folder, scratch)


PEERS = {
    "dracut --no-hostonly": (
        *(
            "dracut",
            "--quiet",
            "--no-hostonly",
            "--add",
            "nfs",
            "--compress",
            "gzip -n -6",
            "--force",
        ),
        *("/tmp/dracut", "{kernel}"),
    ),
    "mkinitramfs, netboot": (
        "mkinitramfs",
        "-d",
        "/tmp/initramfs-tools",
        "-o",
        "/tmp/mkinitramfs",
        "{kernel}",
    ),
}
# The distribution's own programs, in the reference itself, of which only /tmp can be written to.
CHROOT = """
root=$1 scratch=$2
shift 2
mkdir -p "$scratch/initramfs-tools"
cp -a "$root/etc/initramfs-tools/." "$scratch/initramfs-tools"
printf 'MODULES=netboot\\nBOOT=nfs\\nCOMPRESS=gzip\\nCOMPRESSLEVEL=6\\n' >"$scratch/initramfs-tools/conf.d/plugnode"
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for place in tmp var/tmp; do mount --bind "$scratch" "$root/$place"; done
for place in dev proc sys; do mount --bind "/$place" "$root/$place"; done
exec chroot "$root" "$@"
"""


# --- sites


def site(inputs: Inputs) -> Iterator[Row]:
    """A site file is read and checked, for the first time and again."""
    nodes, file = inputs.sizes.nodes, inputs.folder / "site.yaml"
    site_file(file, path_reference(inputs.tree(300)), nodes)
    cache = inputs.folder / "site-cache"
    alone = [Side(name, [sys.executable, "-c", script, str(file), str(inputs.folder)], tells=True)
             for name, script in (("cold", READ_ALONE), ("PyYAML, C loader", PARSE_ALONE))]  # fmt: skip
    yield of_time(
        f"a site of {nodes:,} nodes, the load alone", 0.6, *interleaved(alone, inputs.sizes.rounds)
    )
    load = [sys.executable, "-c", LOAD, str(file), str(cache), str(inputs.folder)]
    peer = Side("PyYAML, C loader", [sys.executable, "-c", PARSE, str(file)])
    for what, goal, before in (
        ("cold", None, partial(remove, cache)),
        ("cached", 0.1, lambda: None),
    ):
        found = interleaved([Side(what, load, before), peer], inputs.sizes.rounds)
        yield of_time(f"the same with the start of Python and its imports, {what}", goal, *found)


def configs(inputs: Inputs) -> Iterator[Row]:
    """Every generated file, from a site that was never read; and what a node more costs."""
    sizes = inputs.sizes
    nodes = 2 * sizes.nodes
    what = f"all configuration files of {nodes:,} nodes in {nodes // PER_NETWORK} networks"
    yield of_time(what, 1.0, *configured(inputs, nodes, sizes.rounds, of_networks=True))
    what = f"one node more of {sizes.sites[-1]:,}, build and deploy"
    yield of_time(what, 0.6, *node_more(inputs, sizes.sites[-1]))


def configured(
    inputs: Inputs, nodes: int, rounds: int, of_networks: bool = False
) -> list[Measured]:
    reference = path_reference(inputs.tree(300))
    work = Work(inputs.folder / "configs", reference, nodes, of_networks=of_networks)
    ours = Side("doit configs", work.doit("configs"), work.forget)
    found = interleaved([ours, parser(work)], rounds)
    remove(work.folder)
    return found


def node_more(inputs: Inputs, nodes: int) -> list[Measured]:
    """The site grows by one before each round."""
    work = Work(inputs.folder / "node-more", path_reference(inputs.tree(300)), nodes)
    words = work.doit("deploy", f"destdir={work.folder / 'served'}")
    made(words)
    more = itertools.count(nodes + 1)

    def add_node() -> None:
        with open(work.site, "a") as file:
            file.write(node(next(more), "worker"))

    found = interleaved([Side("doit deploy", words, add_node), parser(work)], inputs.sizes.rounds)
    remove(work.folder)
    return found


def parser(work: Work) -> Side:
    return Side("PyYAML, C loader", [sys.executable, "-c", PARSE, str(work.site)])


# --- memory, and what a node loads


def memory(inputs: Inputs) -> Iterator[Row]:
    """The largest process of a whole first build."""
    tree, nodes = inputs.tree(inputs.sizes.tree), inputs.sizes.nodes
    work = Work(inputs.folder / "memory", path_reference(tree), nodes)
    found = run(work.doit()).memory
    yield at_most(
        f"peak memory of a first build, {entries(tree):,} files, {nodes:,} nodes", 400, found
    )
    remove(work.folder)


def parallel(inputs: Inputs) -> Iterator[Row]:
    """Two images, side by side and one after the other."""
    root = inputs.debian if inputs.sizes.debian else inputs.root
    work = Work(inputs.folder / "parallel", path_reference(root), images=2)
    sides = [Side(f"doit -n {count}", work.doit("-n", str(count)), work.forget) for count in (2, 1)]
    ours, theirs = interleaved(sides, inputs.sizes.few)
    yield of_time(
        f"a first build of two images of {entries(root):,} files, doit -n 2", None, ours, theirs
    )
    remove(work.folder)


def boot(inputs: Inputs) -> Iterator[Row]:
    """What a node loaded until it was ready, as `doit boot` saw it on the wire; and what it would with other images."""
    build = REPOSITORY / "build"
    if not (build / "boot/timings.json").exists():
        raise LookupError("no boot was measured: run ./doit boot before")
    seen = json.loads((build / "boot/timings.json").read_text())
    moved = seen["tftp_bytes"] + seen["nfs_bytes"]
    yield at_most("a node's boot by TFTP", None, seen["tftp_bytes"])
    yield at_most("a node's boot by NFS, until it is ready", None, seen["nfs_bytes"])
    yield counted("the same", None, seen["nfs_calls"], "calls")
    own = (build / seen["release"].rpartition("-")[0] / "initrd.img").stat().st_size
    for name, size in inputs.images.items():
        yield of_size(
            "bytes of a node's boot", None, moved, f"the same, {name}'s image", moved - own + size
        )


# --- growth


def changed(inputs: Inputs) -> Curve:
    """Does it cost what changed?"""
    root, rounds = inputs.root, inputs.sizes.few
    points = [
        (count, *cpu(restaged(inputs, root, partial(edit, root, count), rounds)))
        for count in inputs.sizes.changes
    ]
    return Curve(
        "re-staging", "rsync -a --delete", f"files changed of {entries(root):,}", tuple(points)
    )


def existing(inputs: Inputs) -> Curve:
    """Does it cost what there is?"""
    points = [
        (files, *cpu(unchanged(inputs, inputs.tree(files), inputs.sizes.few)))
        for files in inputs.sizes.trees
    ]
    return Curve("nothing to do", "rsync -an", "files of a reference in place", tuple(points))


def nodes(inputs: Inputs) -> Curve:
    """What does a node more cost?"""
    points = [
        (count, *cpu(configured(inputs, count, inputs.sizes.few))) for count in inputs.sizes.sites
    ]
    return Curve("all configuration files", "PyYAML, C loader", "nodes", tuple(points))


def idle_nodes(inputs: Inputs) -> Curve:
    """The same, where nothing has changed."""
    points = []
    for count in inputs.sizes.sites:
        work = Work(inputs.folder / "idle", archive(inputs, inputs.tree(300)), count).built()
        sides = [Side("doit", work.doit()), parser(work)]
        points.append((count, *cpu(interleaved(sides, inputs.sizes.few))))
        remove(work.folder)
    return Curve("nothing to do", "PyYAML, C loader", "nodes", tuple(points))


def cpu(sides: list[Measured]) -> list[float]:
    return [side.median("cpu") for side in sides]


CASES: dict[str, Callable[[Inputs], Iterator[Row]]] = {
    "noop": noop, "stage": stage, "restage": restage, "first": servers.first, "deploy": servers.deploy,
    "ltsp": servers.ltsp, "remote": servers.remote, "pack": pack, "initrd": initrd,
    "site": site, "configs": configs, "memory": memory, "parallel": parallel, "boot": boot,
}  # fmt: skip
GROWTH: dict[str, Callable[[Inputs], Curve]] = {
    "changed": changed, "existing": existing, "nodes": nodes, "idle-nodes": idle_nodes,
}  # fmt: skip
