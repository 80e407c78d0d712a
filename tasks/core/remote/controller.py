"""The controller: work asked of several boot servers at once, over ssh, by ClusterShell's Task.

The agent's packages go there as a zip and are run by the server's own python3 (`agent`), which asks
for what it lacks: the bytes of a root come by rsync, for which a release that is there stands in
(--link-dest); a root file comes from another server, once one has it (`peers`). One server's
trouble is its own.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ClusterShell.Event import EventHandler
from ClusterShell.Task import task_self
from ClusterShell.Worker.Popen import WorkerPopen

from ..base import shapes
from ..base.errors import BadInput
from ..base.ssh import Meanings, explain, ssh_command
from ..base.text import all_readable, readable
from ..release import ROOT_FILE_NAMES, Release
from . import answers, parallel
from .bandwidth import TICK, Bandwidth, Words
from .line import CORE, MARK, Answer, Sections, Unseen
from .options import NAMES, DeployOptions, Options, Values, pack_options
from .peers import Peers

if TYPE_CHECKING:
    from ..history.releases import Tell
    from ..plan.scope import Render

FANOUT = 32  # servers at once
LIMIT = 3600  # seconds that one may take
SLOWLY = 24 * LIMIT  # the same, where there is a limit to what they are sent
PULSE = 5  # seconds between signs of life, well below line.SILENCE
LONGEST = 1 << 27  # bytes of a line: a file that is mended by another server's is one
BEGUN = 60  # seconds until one must have said its first word

# Unpacks what comes first on standard input and hands over to it: one line, for any login shell.
# Status 1 says that it is no Python that can; whatever befalls one that began has another.
BEGIN = "; ".join(
    (
        "import os, sys, tempfile",
        "sys.version_info < (3, 9) and sys.exit(1)",
        "sys.excepthook = lambda *error: (sys.__excepthook__(*error), os._exit(2))",
        "given = sys.stdin.buffer",
        "size = int(given.readline())",
        "folder = tempfile.mkdtemp(prefix='plugnode-')",
        f"core = os.path.join(folder, '{CORE}')",
        "file = open(core, 'wb')",
        "file.write(given.read(size))",
        "file.close()",
        "sys.path.insert(0, core)",
        "from tasks.core.remote.core_zip import bytecode",
        "bytecode.use(core)",
        "from tasks.core.remote import agent",
        "agent.main(folder)",
    )
)
FIND = (
    "for python in python3 python3.13 python3.12 python3.11 python3.10 python3.9; do "
    "command -v $python >/dev/null || continue; "
    '$python -ISc "$0"; '
    "case $? in 1 | 12[67]) ;; *) exit ;; esac; done; "
    "echo plugnode-no-python >&2; exit 127"
)

# What ssh, rsync or a shell there says -> what it means to an admin, before what it means anywhere.
SSH_MEANINGS: Meanings = (
    (r"plugnode-no-python", "it has no Python 3.9 or newer: install python3 there"),
    (
        r"No space left on device",
        "No space left on device there; what nodes boot is whole",
    ),
    (
        r"closed by remote host|client_loop: send disconnect"
        r"|Timeout, server .* not responding|Broken pipe",
        "the line was cut; what nodes boot there is whole",
    ),
    (r'rsync: .*?"([^"]*)".* failed: (.*) \(\d+\)', "{0}: {1}"),
)


class Source(NamedTuple):
    """What a server may have brought, of a folder; never what is outside."""

    folder: str
    names: frozenset[str] | None = None  # None: all of it
    links: bool = False  # its names are links to the files


class Goal(NamedTuple):
    """What a server must hold."""

    packed: Values  # what `goal.pack_goal` gives
    sources: Mapping[str, Source]  # that it may have files of it brought from


class Told(NamedTuple):
    """What servers are told first."""

    core: bytes  # the packages that run there (see core_zip/)
    goals: Mapping[str, Goal]  # by their names; none where nothing is deployed


@dataclass(frozen=True)
class Request:
    """What one server is asked to do."""

    server: str
    ssh: str
    address: str  # at which others fetch by HTTP what it serves
    options: Options
    targets: Sequence[str]  # tftp, nfs, destdir
    render: Render | None = None
    changes: Tell | None = None

    @property
    def must_agree(self) -> bool:
        """Is it changed only where no server wants to have been seen?"""
        return isinstance(self.options, DeployOptions) and self.options.nodes is not None

    def message(self, goal: Values | None) -> Values:
        """What the agent reads first."""
        work = pack_options(self.options)
        return {**work, "targets": list(self.targets), "goal": goal}


def send(
    requests: Sequence[Request],
    told: Callable[[], Told],
    say: Callable[[str], None],
    bits: int = 0,
    others: Iterable[str] = (),
) -> dict[str, Answer]:
    """Every server's answer, by name; whatever befalls one of them stops no other.

    `told` is asked once, while ssh begins: what it raises ends all, and none was told anything. All
    together are sent so many bits a second at most; 0: as they come. `others`: addresses of servers
    of the site that are not asked. Raises Unseen, and none was changed.
    """
    agreed = any(request.must_agree for request in requests)
    bandwidth = Bandwidth(bits, len(requests), len(requests) if agreed else FANOUT)
    sessions: list[_Session] = []
    agreement, peers = _Agreement(sessions), Peers(sessions, others, bandwidth)
    common = _Common(cache(told), say, bandwidth, agreement, peers)
    sessions += [_Session(request, common) for request in requests]
    _begin(sessions, common)
    parallel.finish(FANOUT)
    if agreement.is_refused:
        raise Unseen("a server wants to have been seen")
    return {session.server: session.answer() for session in sessions}


def _begin(sessions: list[_Session], common: _Common) -> None:
    for session in sessions:
        session.begin()
    keepalive = _Keepalive(sessions, common.peers)
    task_self().timer(PULSE, keepalive, interval=PULSE, autoclose=True)
    if common.bandwidth:
        task_self().timer(TICK, _Pace(sessions), interval=TICK, autoclose=True)


class _Keepalive(EventHandler):  # type: ignore[misc]
    """Tells the servers that somebody is there.

    Gives up one that does not begin, or does not end.
    """

    def __init__(self, sessions: list[_Session], peers: Peers):
        self.sessions, self.peers = sessions, peers

    def ev_timer(self, timer: object) -> None:
        self.peers.go_on()
        for session in self.sessions:
            session.write(b"\n")
            if session.outgoing.waiting:  # it has not been told all yet
                session.deadline = max(session.deadline, time.monotonic() + BEGUN)
            if session.open and time.monotonic() > session.deadline:
                what = f"nothing was heard of Plugnode there in {BEGUN} seconds"
                session.give_up(f"{what}{session.last()}")


class _Agreement:
    """Servers of which none is changed before all have told what wants to have been seen.

    So all talk at once, and then go on, so many at a time. Who has ended is not waited for.
    """

    def __init__(self, sessions: list[_Session]):
        self.sessions = sessions
        self.by_id: dict[_Session, list[str]] = {}
        self.going: list[_Session] = []

    @property
    def is_refused(self) -> bool:
        return any(self.by_id.values())

    def look(self) -> None:
        """Answer those whose turn it is; a server has told something, or ended."""
        if not all(session.ended or session in self.by_id for session in self.sessions):
            return
        answer = {"refused": "unseen"} if self.is_refused else {}
        waiting = [session for session in self.by_id if session not in self.going]
        free = FANOUT - sum(session.open for session in self.going)
        for session in waiting[: max(0, free)]:
            self.going.append(session)
            session.send(answer)


class _Common(NamedTuple):
    """What the talks with all servers have in common."""

    told: Callable[[], Told]
    say: Callable[[str], None]
    bandwidth: Bandwidth
    agreement: _Agreement
    peers: Peers


class _Pace(EventHandler):  # type: ignore[misc]
    """Has each server told the next piece of what it is told."""

    def __init__(self, sessions: list[_Session]):
        self.sessions = sessions

    def ev_timer(self, timer: object) -> None:
        for session in self.sessions:
            if session.open:
                session.outgoing.go_on()


class _Session(EventHandler):  # type: ignore[misc]
    """The talk with one server.

    What it tells is kept, what it asks for is done, if it may have it.
    """

    def __init__(self, request: Request, common: _Common):
        self.request, self.told, self.say = request, common.told, common.say
        self.bandwidth, self.peers = common.bandwidth, common.peers
        self.agreement = common.agreement
        self.limit = SLOWLY if common.bandwidth else LIMIT
        self.server, self.ssh, self.address = request.server, request.ssh, request.address
        self.words: list[str] = []  # what ssh and the shell there say
        self.names: list[str] = []  # what it is about to ask for
        self.done: Values | None = None
        self.failure = ""
        self.shown: Sections = ()
        self.open, self.ended = False, False
        self.deadline = 0.0  # until its first word; after its last one, until its end
        self.transfer: WorkerPopen | None = None

    def begin(self) -> None:
        script = shlex.join(["sh", "-c", FIND, BEGIN])
        argv = [*ssh_command(), "-T", "--", self.ssh, script]
        at_once = self.request.must_agree
        job = parallel.Job(argv, self.server, self.limit, at_once=at_once, longest=LONGEST)
        self.worker = parallel.begin(job, self)
        self.outgoing = Words(self.worker, self.bandwidth)

    def write(self, data: bytes) -> None:
        if self.open:
            self.outgoing.add(data)

    def ev_start(self, worker: WorkerPopen) -> None:
        core, goals = self.told()
        self.open, self.deadline = True, time.monotonic() + BEGUN
        self.write(b"%d\n%s" % (len(core), core))
        goal = goals.get(self.server)
        self.send(self.request.message(goal.packed if goal else None))

    def send(self, message: Values) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def give_up(self, why: str) -> None:
        """End the talk with this server."""
        if self.done is None:
            self.failure = self.failure or why
        for worker in filter(None, (self.worker, self.transfer)):
            worker.abort()

    def last(self) -> str:
        """The last that was said there, for a message."""
        words = [line for line in self.words if line.strip()]
        return f"; it said: {words[-1][:200]}" if words else ""

    def ev_read(self, worker: WorkerPopen, node: str, sname: str, msg: bytes) -> None:
        if self.failure or self.done is not None:
            return
        if len(msg) > LONGEST:
            return self.give_up("its answer is not understood (it does not end)")
        text = msg.decode(errors="replace")
        if sname != worker.SNAME_STDOUT or not text.startswith(MARK):
            self.words = [*self.words[-30:], readable(text)]
            return
        try:
            message = json.loads(text.removeprefix(MARK))
            kind, said = answers.message(message, NAMES[type(self.request.options)])
            self._hear(kind, said)
        except (ValueError, RecursionError) as error:
            why = readable(str(error))[:200]
            self.give_up(f"its answer is not understood ({why}); is its python3 another program?")

    def _hear(self, kind: str, said: Any) -> None:
        is_last = kind in ("done", "refused")
        self.deadline = time.monotonic() + (PULSE if is_last else self.limit)
        if kind == "names":
            self.names += said
        elif kind == "bring":
            names, self.names = self.names, []
            self._bring(names, said)
        elif kind == "wants":
            self.peers.want(self, said["release"], said["bytes"])
        elif kind == "has":
            self.peers.have(self, said)
        elif kind == "render":
            self._render(*said)
        elif kind == "changes":
            self._tell_changes(said)
        elif kind == "agree":
            self._agree(said)
        else:
            self._keep(kind, all_readable(said))

    def _keep(self, kind: str, said: Any) -> None:
        if kind == "say":
            self.say(f"{self.server}: {said}")
        elif kind == "show":
            self.shown = said
        elif kind == "done":
            self.done = said
        elif kind == "refused":
            self.failure = said or "it refused, and did not say why"

    def _bring(self, names: list[str], asked: Values) -> None:
        name, goal = asked["source"], self.told().goals.get(self.server)
        source = goal.sources.get(name) if goal else None
        if source is None:
            raise shapes.Misfit(f"it asks for {name}, which it may not have")
        files = [each.encode(errors="surrogateescape") for each in names]
        for file in not_of(source, files):
            what = f"{os.fsdecode(file)} of {name}"
            raise shapes.Misfit(f"it asks for {what}, which it may not have")
        if not (_is_place(asked["to"]) and _is_place(asked["like"] or "/")):
            raise shapes.Misfit("it wants files at a place that is none")
        rate = self.bandwidth.begin(self.server, not ROOT_FILE_NAMES.isdisjoint(names))
        argv = fetch_by_rsync(source, self.ssh, asked, rate)
        self.transfer = _Transfer(self, files).begin(argv)

    def tell_peers(self, addresses: Sequence[str]) -> None:
        self.send({"peers": list(addresses)})

    def _render(self, release: Values, label: str, site_id: str) -> None:
        known = {name: release[name] for name in Release._fields}
        if self.request.render is None:
            raise shapes.Misfit("it asks for boot files, which it needs not")
        try:
            files = self.request.render(Release(**known), label, site_id)
        except BadInput as error:  # of a template
            return self.send({"refused": str(error)})
        texts = {name: data.decode() for name, data in files.items()}
        self.send({"files": texts})

    def _tell_changes(self, asked: Values) -> None:
        if self.request.changes is None:
            raise shapes.Misfit("it asks for what changed, which it needs not")
        self.send({"told": self.request.changes(asked)})

    def _agree(self, by_id: list[str]) -> None:
        if not self.request.must_agree:
            raise shapes.Misfit("it asks what others say, which it needs not")
        self.agreement.by_id[self] = by_id
        self.agreement.look()

    def ev_hup(self, worker: WorkerPopen, node: str, rc: int) -> None:
        if self.done is not None or self.failure:
            return
        self.failure = f"nothing was heard of it{self.last()}"
        if rc:
            self.failure = explain(self.ssh, rc, self.words, SSH_MEANINGS)

    def ev_close(self, worker: WorkerPopen, timedout: bool) -> None:
        self.open, self.ended = False, True
        self.bandwidth.one_is_done(self.server)
        self.peers.go_on()
        if timedout:
            self.failure = f"did not end in {self.limit // 60} minutes"
        self.agreement.look()

    def answer(self) -> Answer:
        if self.done is None:
            return Answer({}, self.shown, self.failure or "nothing was heard of it")
        return Answer(self.done, self.shown)


class _Transfer(EventHandler):  # type: ignore[misc]
    """Files of the build on their way to a server, by rsync.

    It is told when they are there, or why they are not.
    """

    def __init__(self, session: _Session, names: list[bytes]):
        self.session, self.names = session, names
        self.words: list[str] = []

    def begin(self, argv: list[str]) -> WorkerPopen:
        job = parallel.Job(argv, self.session.server, self.session.limit, at_once=True)
        return parallel.begin(job, self)

    def ev_start(self, worker: WorkerPopen) -> None:
        worker.write(b"".join(name + b"\0" for name in self.names))
        worker.set_write_eof()

    def ev_read(self, worker: WorkerPopen, node: str, sname: str, msg: bytes) -> None:
        text = msg.decode(errors="replace")
        self.words = [*self.words[-30:], readable(text)]

    def ev_hup(self, worker: WorkerPopen, node: str, rc: int) -> None:
        answer = {}
        if rc:
            answer["refused"] = explain(self.session.ssh, rc, self.words, SSH_MEANINGS)
        self.session.bandwidth.end(self.session.server)
        self.session.send(answer)


def _is_place(path: str) -> bool:
    """Can files be put there, and can that be told?"""
    return path.startswith("/") and readable(path) == path


def not_of(source: Source, names: Iterable[bytes]) -> Iterator[bytes]:
    """The names that are none of the source's. A link on the way to a file could lead out of it."""
    top = os.fsencode(os.path.realpath(source.folder))
    inside: dict[bytes, bool] = {}
    for name in names:
        if not _may_be_named(source, name):
            yield name
            continue
        above = os.path.dirname(os.path.join(top, name))
        if above not in inside:
            inside[above] = source.links or os.path.realpath(above) == above
        if not inside[above]:
            yield name


def _may_be_named(source: Source, name: bytes) -> bool:
    is_plain = b"\0" not in name and {b"", b".", b".."}.isdisjoint(name.split(b"/"))
    return is_plain and (source.names is None or os.fsdecode(name) in source.names)


def fetch_by_rsync(
    source: Source, ssh: str, asked: Mapping[str, Any], rate: list[str]
) -> list[str]:
    """The command that brings the files that it is given the names of there.

    -I: what is listed is known to differ, whatever its time. --link-dest: a file of that name in
    the release `like` is what it is made of, so that only what changed in it travels.
    """
    kept = ["-tL"] if source.links else ["-t"]
    if source.names is None and asked["owners"]:
        kept = ["-aAX", "--numeric-ids", "--filter=-x security.selinux"]
    like = [f"--link-dest={asked['like']}"] if asked["like"] else []
    return [
        "rsync",
        *kept,
        *("-I", "--no-motd", "-s", "--from0", "--files-from=-"),
        *like,
        *rate,
        f"--rsh={shlex.join(ssh_command())}",
        "--",
        f"{source.folder}/",
        f"{ssh}:{asked['to']}/",
    ]
