"""The benchmarks of what is on servers: deployed for the first time, changed, verified, and over ssh."""

from __future__ import annotations

import pathlib
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial

from bench.inputs import XFS, Inputs, disk, edit, made, node
from bench.measure import Measured, Side, interleaved
from bench.rows import Goals, Row, of_time
from bench.work import Work, built, entries, path_reference, remove


def first(inputs: Inputs) -> Iterator[Row]:
    """From nothing to a server that nodes boot from: the build, the initrd, the copy."""
    yield from _first(inputs, inputs.folder, inputs.root, "", Goals(1.8, 1.6))
    with disk(inputs.kept / "reflinks", XFS) as folder:
        made(["cp", "-a", str(inputs.root), str(folder / "root")])
        yield from _first(inputs, folder, folder / "root", ", with reflinks", Goals(1.2, 1.0))


def _first(
    inputs: Inputs, folder: pathlib.Path, root: pathlib.Path, how: str, goal: Goals
) -> Iterator[Row]:
    """The limit is what of it C does alone: a copy of the build, one that is published, digests."""
    work, copy = Work(folder / "first", path_reference(root)), folder / "first-copy"
    served = work.folder / "served"
    forget, clear = partial(remove, work.build, served), partial(remove, copy)
    sides = [
        Side("doit deploy", work.doit("deploy", f"destdir={served}"), forget),
        Side("rsync -a", ["rsync", "-a", f"{root}/", f"{copy}/"], clear),
        Side("cp -a twice, openssl sha256", ["sh", "-ec", COPIES, str(root), str(copy)], clear),
    ]
    ours, theirs, limit = interleaved(sides, inputs.sizes.rounds)
    what = f"the first time, whole: deploy of {entries(root):,} files from nothing{how}"
    yield of_time(what, goal, ours, theirs)
    yield of_time(f"the limit of that{how}: {limit.name}", None, limit, theirs)
    remove(work.folder, copy)


COPIES = """
mkdir "$1"
cp -a "$0" "$1/built"
find "$1/built" -type f -print0 | xargs -0 openssl dgst -sha256 >"$1/digests"
cp -a "$1/built" "$1/published"
"""


def deploy(inputs: Inputs) -> Iterator[Row]:
    """New releases come, each with ten files that the last one had not; then all of it is compared."""
    rounds, many = inputs.sizes.rounds, inputs.sizes.releases
    files, alone = entries(inputs.root), Deployed(inputs, "alone")
    staged, release = alone.work.build / "worker/root", alone.release
    peer = Side("rsync -an --delete", ["rsync", "-an", "--delete", f"{staged}/", f"{release}/"])
    ours, theirs = interleaved([alone.side("verify"), peer], rounds)
    yield of_time(f"verify of a release of {files:,} files", 1.0, ours, theirs)

    kept = Deployed(inputs, "kept")
    yield of_time(
        f"deploy, build and all, 10 of {files:,} files changed", 0.8, *changed(inputs, kept, rounds)
    )
    for _ in range(many - len(kept.releases)):
        kept.change()
        made(kept.work.doit("deploy", kept.destdir))
    sides = [kept.side("verify"), alone.side("verify", "doit verify of one release")]
    what = f"verify of {len(kept.releases)} releases of {files:,} files"
    yield of_time(what, 2.0, *interleaved(sides, rounds))
    remove(alone.folder, kept.folder)


class Deployed:
    """A server of the benchmarks' tree, deployed to once."""

    def __init__(self, inputs: Inputs, name: str):
        self.root, self.folder = inputs.root, inputs.folder / f"served-{name}"
        self.work, _ = built(inputs, inputs.root)
        self.destdir = f"destdir={self.folder}"
        made(self.work.doit("deploy", self.destdir))

    @property
    def releases(self) -> list[pathlib.Path]:
        return sorted((self.folder / "opt/nfs_export").glob("worker-*"))

    @property
    def release(self) -> pathlib.Path:
        return self.releases[0]

    def change(self) -> None:
        edit(self.root, 10)

    def side(self, command: str, name: str = "", before: Callable[[], None] = lambda: None) -> Side:
        return Side(name or f"doit {command}", self.work.doit(command, self.destdir), before)


def changed(inputs: Inputs, kept: Deployed, rounds: int) -> list[Measured]:
    """Beside the same by hand, without ever changing what a node may have mounted."""
    copies = inputs.folder / "copies"
    copies.mkdir()
    made(["cp", "-a", str(inputs.root), str(copies / "0")])
    by_hand = Side(
        "by hand: cp -al, rsync, sync, mv", ["sh", "-ec", BY_HAND, str(inputs.root), str(copies)]
    )
    found = interleaved([kept.side("deploy", before=kept.change), by_hand], rounds)
    remove(copies)
    return found


BY_HAND = """
last=$(ls "$1" | sort -n | tail -n 1)
cp -al "$1/$last" "$1/.new"
rsync -a --delete "$0/" "$1/.new/"
sync -f "$1"
mv "$1/.new" "$1/$((last + 1))"
"""


def ltsp(inputs: Inputs) -> Iterator[Row]:
    """The same change, as LTSP makes an image of a root for its clients."""
    if not inputs.sizes.debian:
        raise LookupError("takes the Debian root of a whole run")
    if not shutil.which("ltsp"):
        raise LookupError("ltsp is not installed (Debian's package of that name)")
    kept, base = Deployed(inputs, "beside-ltsp"), inputs.folder / "ltsp"
    words = ["ltsp", "-b", str(base), "-t", str(base / "tftp"), "image", str(inputs.root)]
    sides = [kept.side("deploy", before=kept.change), Side("ltsp image", words)]
    what = f"deploy, build and all, 10 of {entries(inputs.root):,} files changed"
    yield of_time(what, 0.02, *interleaved(sides, 1))  # it takes minutes
    remove(kept.folder, base)


# --- servers over ssh


def remote(inputs: Inputs) -> Iterator[Row]:
    """Servers that are reached by ssh: namespaces of this machine, whose processors they all share.

    CPU is that of the machine that deploys. Goals are of wall time: what users wait for.
    """
    from tests.support.netns import lan

    with lan(inputs.folder / "lan") as net:
        yield from Fleet(inputs, net).rows()
    remove(inputs.folder / "lan", inputs.folder / "fleet")


class Fleet:
    """So many servers, and a site that names them."""

    def __init__(self, inputs: Inputs, net):
        self.net, self.rounds, self.nodes = net, inputs.sizes.rounds, 1
        count = inputs.sizes.servers
        self.machines = [net.machine(f"boot{n}", n) for n in range(1, count + 1)]
        self.reference = inputs.tree(inputs.sizes.far)
        self.site = inputs.folder / "fleet/site.yaml"
        self.site.parent.mkdir()
        self.write()

    def write(self) -> None:
        """The site, with one node more."""
        self.nodes += 1
        servers = ""
        for machine in self.machines:
            servers += f"  {machine.name}: {{ip: {machine.address}, ssh: root@{machine.address}}}\n"
        nodes = "".join(node(number, "worker") for number in range(1, self.nodes))
        self.site.write_text(SITE.format(servers=servers, reference=self.reference, nodes=nodes))

    def clear(self) -> None:
        for machine in self.machines:
            made(machine.inside("rm", "-rf", DEST, COPY_OF_ROOT))

    def rows(self) -> Iterator[Row]:
        yield from self.first()
        yield from self.node_more()
        yield from self.nothing()

    def first(self) -> Iterator[Row]:
        """What as many rsyncs take is the limit: each server has bytes of its own."""
        root = self.site.parent / "build/worker/root"
        words = ("rsync", "-a", f"--rsh={self.rsh}", f"{root}/", f"root@{{}}:{COPY_OF_ROOT}/")
        ours, ours_one, copies, copy = interleaved(
            [*self.deploys(self.clear), *self.programs("rsync -a", self.clear, *words)], self.rounds
        )
        what = f"first deploy of {entries(self.reference):,} files to {len(self.machines)} servers"
        yield of_time(what, Goals(None, 4.0), ours, ours_one)
        yield of_time(what, None, ours, copies)
        yield of_time(f"the limit of that: {copies.name}", None, copies, copy)

    def node_more(self) -> Iterator[Row]:
        ours, ours_one = interleaved(self.deploys(self.write), self.rounds)
        what = f"one node more, {len(self.machines)} servers"
        yield of_time(what, Goals(None, 2.0), ours, ours_one)

    def nothing(self) -> Iterator[Row]:
        """The limits: a login on each server; the start of doit and one login."""
        made(self.deploys(self.write)[0].argv)
        login = (*self.rsh.split(), "root@{}", "true")
        build = shlex.join(map(str, self.doit()))
        start = f"{build}; exec {self.rsh} root@{self.machines[0].address} true"
        sides = [
            *self.deploys(lambda: None),
            *self.programs("ssh true", lambda: None, *login),
            Side("doit, then ssh true", self.inside("sh", "-ec", start)),
        ]
        ours, ours_one, logins, login_one, start_one = interleaved(sides, self.rounds)
        count, goal = len(self.machines), Goals(None, 3.0)
        yield of_time(f"nothing to deploy, {count} servers over ssh", goal, ours, logins)
        yield of_time("nothing to deploy, a server over ssh", goal, ours_one, login_one)
        yield of_time(f"the limit of that: {start_one.name}", None, start_one, login_one)
        yield of_time(f"the limit of {count}: {logins.name}", None, logins, login_one)

    def deploys(self, before: Callable[[], None]) -> list[Side]:
        """To all servers, and to one."""
        words = ("deploy", f"destdir={DEST}")
        return [
            Side(f"doit deploy to {len(self.machines)}", self.inside(*self.doit(*words)), before),
            Side("doit deploy to one", self.inside(*self.doit(*words, "server=boot1")), before),
        ]

    def programs(self, name: str, before: Callable[[], None], *words: str) -> list[Side]:
        """A program for all servers at once, and for one; `{}` stands for the address."""
        sides = []
        for machines in (self.machines, self.machines[:1]):
            hosts = self.site.parent / f"hosts-{len(machines)}"
            hosts.write_text("".join(f"{machine.address}\n" for machine in machines))
            argv = self.inside("xargs", "-a", hosts, "-P", len(machines), "-I{}", *words)
            called = name if len(machines) == 1 else f"{len(machines)} times {name}"
            sides.append(Side(called, argv, before))
        return sides

    def doit(self, *words: str) -> list[object]:
        from tests.support.netns import doit_words

        return doit_words(self.site, *words)

    def inside(self, *words: object) -> list[str]:
        """A command of the machine that deploys, which may log in on the servers."""
        return [*self.net.inside("env", f"RSYNC_RSH={self.rsh}", *words)]

    @property
    def rsh(self) -> str:
        """Patient: sixteen at once are slow to answer where all have the same processors."""
        program, _, options = self.net.environment()["RSYNC_RSH"].partition(" ")
        return f"{program} -oConnectTimeout=30 {options}"


COPY_OF_ROOT = "/srv/copy"
DEST = "/srv/dest"  # on each server
SITE = """\
site: fleet
network: {{subnet: 10.0.0.0/8}}
servers:
{servers}images:
  worker:
    reference: {{path: {reference}}}
    initrd: {{base: none, modules: [virtio_net], compression: gzip}}
    disk: {{devices: [/dev/vda]}}
nodes:
{nodes}deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
"""
