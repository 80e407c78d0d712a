"""What a boot server says, does and asks for: its trouble is one line about it, and decides nothing here."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import sys
import time
from subprocess import PIPE

import pytest

from tasks.core.base import shapes, text
from tasks.core.remote import controller
from tests.support import sample_site
from tests.support.commands import REPOSITORY
from tests.support.initrd_images import kernel_files
from tests.support.netns import Lan, Machine, doit, lan, until

namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: fleet
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}, boot2: {{ip: 10.99.0.2, ssh: root@10.99.0.2}}}}
images:
  worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}
nodes: {{wn001: {{mac: 'ae:d6:90:bb:00:01', ip: 10.99.0.101}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
"""
# In the place of the far end: it says what stands in /srv/lines, takes what comes, and does not end.
LIAR = "cat /srv/lines; echo $$ >/srv/liar; exec cat >/dev/null"


class Pair:
    """An honest server, boot1, and boot2, which is somebody else's by now."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.honest, self.other = (net.machine(f"boot{n}", n) for n in (1, 2))
        self.reference = sample_site.reference(folder / "reference", files=5)
        self.secret = folder / "secret"
        self.secret.write_text("a secret of the admin's machine\n")
        os.symlink(self.secret, self.reference / "usr/share/way-out")
        os.symlink(folder, self.reference / "usr/share/folder-out")
        self.site.write_text(SITE.format(reference=self.reference))

    def start(self, *words: str, **options) -> subprocess.Popen:
        return doit(self.net, self.site, *words, "destdir=/srv/dest", **options)

    def __call__(self, *words: str, status: int = 0) -> str:
        done = self.start(*words)
        try:
            out = done.communicate(timeout=300)[0]  # long before the hour that a server has
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, 9)
            raise
        assert done.returncode == status, out
        assert "Traceback" not in out and "\x1b" not in out, out
        return out

    def lie(self, *lines: object) -> pathlib.Path:
        words = [
            line if isinstance(line, str) else f"plugnode:{json.dumps(line)}" for line in lines
        ]
        self.other.path("/srv/lines").write_text("\n".join(words) + "\n")
        return self.other.shim("python3", LIAR)

    def change(self) -> None:
        """Something to deploy."""
        with open(self.reference / "usr/share/changes", "a") as file:
            file.write("more\n")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    with lan(folder / "lan") as net:
        yield Pair(net, folder)


@pytest.fixture
def greeting(pair):
    """Sets what the other server's login shell says to everybody."""
    bashrc = pair.other.path("/root/.bashrc")
    yield lambda words: bashrc.write_text(f"printf '%s' '{words}'\n")
    bashrc.unlink(missing_ok=True)


def left(server: Machine) -> list[str]:
    return os.listdir(server.path("/var/tmp"))


@namespaces
def test_the_far_end_ends_well_and_leaves_nothing(pair):
    recorded = '/usr/bin/python3 "$@"; echo $? >>/srv/ended'
    shim = pair.other.shim("python3", recorded)
    for words in (["deploy"], ["plan"], ["status"], ["verify"], ["prune"]):
        pair(*words)
    shim.unlink()
    ended = pair.other.path("/srv/ended").read_text().split()
    assert len(ended) >= 5 and set(ended) == {"0"}
    assert left(pair.other) == []


@namespaces
@pytest.mark.parametrize(
    "words", ["Welcome to boot2", "Welcome\nto\nboot2\n", "\x1b]0;title\x07\x1b[31mred "]
)
def test_a_greeting_of_the_login_shell_is_passed_over_and_where_it_cannot_be_it_is_said(
    pair, greeting, words
):
    pair("deploy")
    greeting(words)
    assert "boot[1-2]: ok: as it was deployed" in pair("verify") and "worker boots" in pair(
        "status"
    )
    pair.change()
    out = pair("deploy", status=1)
    assert "boot1: deployed" in out, out
    assert "boot2: its login shell says something where only rsync may speak" in out, out
    greeting("")
    assert "boot2: deployed" in pair("deploy", "server=boot2")


LIES = [
    ["plugnode:"],
    ["plugnode:{"],
    ["plugnode:\x1b[31m\x07"],
    ["plugnode:" + "[" * 100_000],
    [[]],
    [{}],
    [{"done": None}],
    [{"done": {"findings": "none"}}],
    [{"done": {"findings": [5]}}],
    [{"say": {"a": "b"}}],
    [{"say": "a", "show": "b"}],
    [{"\x1b[2J": True}],
    [
        {"names": ["\ud800"]},
        {"bring": {"source": "worker", "to": "/srv/a", "like": "", "owners": True}},
    ],
    [{"render": ["worker", "worker", "site"]}],
    [{"bring": "worker"}],
    [{"agree": []}],
]


@namespaces
@pytest.mark.parametrize("lines", LIES, ids=range(len(LIES)))
def test_what_a_server_says_that_has_no_meaning_is_one_line_and_stops_no_other(pair, lines):
    pair("deploy")
    shim = pair.lie(*lines)
    out = pair("verify", status=1)
    shim.unlink()
    assert "boot1: ok: as it was deployed" in out, out
    (line,) = [line for line in out.splitlines() if "boot2: " in line]
    assert "its answer is not understood" in line, out


@namespaces
def test_nothing_that_a_server_says_moves_the_cursor_of_the_admins_terminal(pair):
    shim = pair.lie(
        {"say": "a\x1b[2Jb"},
        {"done": {"findings": ["c\x1b]0;t\x07d", "e\u202ef\x9bg", "h\udcffi\rj"]}},
    )
    out = pair("verify", status=1)
    shim.unlink()
    assert "a[2Jb" in out and "c]0;td" in out and "efg" in out and "hij" in out, out


def test_text_of_others_is_readable():
    assert text.readable("plain \u202f wörter\n\tnext") == "plain \u202f wörter\n\tnext"
    assert text.all_readable({"a\x1b": ["b\x07", 5, None, {"c": "\u202e"}]}) == {
        "a": ["b", 5, None, {"c": ""}]
    }


def test_shapes_are_taken_as_they_are_written():
    shapes.fit({"a": [1, 2], "more": "is fine"}, {"a": [int]}, "it")
    shapes.fit({"x": "y"}, {str: str | None}, "it")
    for value, shape in (
        ({"a": [True]}, {"a": [int]}),
        ([1], (int, int)),
        ({}, {"a": int}),
        ({"x": 1}, {str: str}),
    ):
        with pytest.raises(shapes.Misfit):
            shapes.fit(value, shape, "it")


HEAR = """\
import sys
from tasks.core.remote import agent
agent.SILENCE = 0.5
print(len(agent.Channel(sys.argv[1]).hear()["data"]))
"""


def test_a_line_that_comes_slowly_is_no_silence(tmp_path):
    argv = [sys.executable, "-c", HEAR, str(tmp_path)]
    hearing = subprocess.Popen(argv, stdin=PIPE, stdout=PIPE, text=True, cwd=REPOSITORY)
    hearing.stdout.readline()  # it listens
    line = json.dumps({"data": "x" * 1000})
    for first in range(0, len(line), 100):
        time.sleep(0.1)
        hearing.stdin.write(line[first : first + 100])
        hearing.stdin.flush()
    out = hearing.communicate("\n")[0]
    assert out.splitlines()[-1] == "1000"


@namespaces
def test_a_run_that_is_killed_leaves_no_folder(pair):
    stuck = pair.other.shim("rsync", "sleep 600")
    pair.change()
    deploying = pair.start("deploy", "server=boot2")
    until(lambda: pair.other.processes("sleep 600"))
    assert left(pair.other)
    assert pair.other.kill("tasks.core", "sleep 600")
    assert deploying.communicate(timeout=300) and deploying.returncode == 1
    stuck.unlink()
    until(lambda: not left(pair.other))
    assert "boot2: deployed" in pair("deploy", "server=boot2")


@namespaces
def test_folders_that_a_power_cut_left_go_with_a_later_run_and_others_do_not(pair):
    above = pair.other.path("/var/tmp")
    for name, days in (("plugnode-old", 2), ("plugnode-new", 0)):
        (above / name).mkdir()
        (above / name / "core.zip").touch()
        then = (above / name).stat().st_mtime - days * 86400
        os.utime(above / name, (then, then))
    (above / "plugnode-theirs").mkdir()
    os.utime(above / "plugnode-theirs", (0, 0))
    pair("status", "server=boot2")
    assert sorted(left(pair.other)) == ["plugnode-new", "plugnode-theirs"]
    (above / "plugnode-theirs").rmdir()
    (above / "plugnode-new" / "core.zip").unlink()
    (above / "plugnode-new").rmdir()


def asked(
    source: str, *names: str, to: str = "/srv/stolen", like: str = "", owners: bool = False
) -> list[dict]:
    return [
        {"begun": True},
        {"names": list(names)},
        {"bring": {"source": source, "to": to, "like": like, "owners": owners}},
    ]


THEFTS = {
    "a link followed out of the root": asked("worker", "root/usr/share/way-out"),
    "a folder behind a link": asked("worker/root", "usr/share/folder-out/secret"),
    "above the root": asked("worker/root", "../../../secret"),
    "two names in one": asked("worker/root", "etc/passwd\0usr/share/folder-out/secret"),
    "an absolute name": asked("worker/root", "/etc/shadow"),
    "a loader that is none": asked("loaders", "../../secret"),
    "another folder": asked("worker/../..", "secret"),
    "what the build keeps to itself": asked("worker", "../.noted/worker.state"),
    "a place that is a module of a daemon": asked("worker", "initrd.img", to=":module/"),
    "a release before that is an option": asked("worker", "initrd.img", like="x --rsh=sh"),
}


@namespaces
@pytest.mark.parametrize("what", THEFTS)
def test_a_server_gets_nothing_but_what_it_is_to_have(pair, what):
    pair.change()
    shim = pair.lie(*THEFTS[what])
    out = pair("deploy", status=1)
    shim.unlink()
    assert "boot1: deployed" in out, out
    (line,) = [line for line in out.splitlines() if line.startswith(("boot2: ", "ERROR: boot2: "))]
    assert "it may not have" in line or "at a place that is none" in line, out
    assert not pair.other.path("/srv/stolen").exists()


@namespaces
def test_a_link_in_a_root_is_brought_as_the_link_that_it_is(pair):
    pair.change()
    shim = pair.lie(*asked("worker/root", "usr/share/way-out", "etc/passwd"))
    deploying = pair.start("deploy", "server=boot2")
    stolen = pair.other.path("/srv/stolen")
    until(lambda: (stolen / "etc/passwd").exists())
    pair.other.kill("cat")
    deploying.communicate(timeout=300)
    shim.unlink()
    assert (
        not (stolen / "usr/share/way-out").exists() or (stolen / "usr/share/way-out").is_symlink()
    )


def test_what_is_asked_for_is_looked_at_name_by_name(tmp_path):
    sample_site.fill(tmp_path, {"root/a/b": b"x", "root/out": "/etc", "root/in": "a"})
    root = controller.Source(str(tmp_path / "root"))
    names = [
        b"a/b",
        b"out/passwd",
        b"in/b",
        b"../root/a/b",
        b"a//b",
        b"",
        b"out",
        b"./a/b",
        b"a/b\0c",
    ]
    refused = [b"out/passwd", b"in/b", b"../root/a/b", b"a//b", b"", b"./a/b", b"a/b\0c"]
    assert list(controller.not_of(root, names)) == refused
    parts = controller.Source(str(tmp_path / "root"), frozenset({"a/b"}))
    assert list(controller.not_of(parts, [b"a/b", b"a/c"])) == [b"a/c"]


DOIT_WITH = """\
from tasks.core.remote import bandwidth, controller
{setting}
from doit.__main__ import main
main()
"""


def doit_with(pair: Pair, setting: str, command: str) -> str:
    """What a command says where a number of ours is another."""
    words = [command, f"site={pair.site}", f"build={pair.folder}/build", "destdir=/srv/dest"]
    program = DOIT_WITH.format(setting=setting)
    argv = pair.net.inside("env", "-C", REPOSITORY, sys.executable, "-c", program, *words)
    given = {"env": pair.net.environment(), "text": True, "timeout": 100}
    return subprocess.run(argv, stdout=PIPE, stderr=subprocess.STDOUT, **given).stdout


@namespaces
def test_more_servers_than_go_on_at_once_agree_before_the_first_does(pair):
    pair.change()
    out = doit_with(pair, "controller.FANOUT = 1", "deploy")
    assert "boot[1-2]: deployed" in out, out


BROKEN = """\
from tasks.core.base.errors import Refused
from tasks.core.remote import goal
pack, packed = goal.pack_goal, []
def pack_goal(*given):
    packed.append(given)
    if len(packed) == 2:
        raise Refused("what boot2 must hold is not to be had")
    return pack(*given)
goal.pack_goal = pack_goal
controller.FANOUT = 1
"""


@namespaces
def test_where_one_server_cannot_be_told_what_it_must_hold_none_is_changed(pair):
    pair("deploy")
    pair.change()
    out = doit_with(pair, BROKEN, "deploy")
    assert out.splitlines()[-1].endswith("what boot2 must hold is not to be had"), out
    assert "Traceback" not in out and "deployed" not in out, out
    assert "1 release to publish" in pair("plan") and "boot[1-2]: deployed" in pair("deploy")
    until(lambda: left(pair.honest) == left(pair.other) == [])


@namespaces
def test_a_server_that_is_told_slowly_is_not_given_up(pair):
    """Two megabytes by a megabit a second, the tenth of the least, take longer than a first word."""
    pair("deploy")
    before = pair.site.read_text()
    pair.site.write_text(before.replace("deploy: {", "deploy: {bandwidth: 10Mbit, "))
    try:
        out = doit_with(pair, "controller.BEGUN, bandwidth.WIRE = 9, 10", "verify")
    finally:
        pair.site.write_text(before)
    assert "boot[1-2]: ok: as it was deployed" in out, out


@namespaces
def test_a_server_that_goes_away_before_it_agrees_holds_up_no_other(pair):
    pair.change()
    shim = pair.other.shim("python3", "exit 9")
    out = pair("deploy", status=1)
    shim.unlink()
    assert "boot1: deployed" in out and "boot2: " in out, out


OF_FILE = {"drivers/block/loop.ko": "", "fs/overlayfs/overlay.ko": "", "fs/erofs/erofs.ko": ""}


@namespaces
def test_a_root_file_comes_whole_and_the_next_one_by_what_changed(pair):
    """3 MB that nothing shortens, and then a file more."""
    modules = kernel_files(sample_site.VERSION, sample_site.MODULES | OF_FILE)
    sample_site.fill(pair.reference, modules)
    (pair.reference / "usr/share/noise").write_bytes(random.Random(1).randbytes(3 << 20))
    before = pair.site.read_text()
    pair.site.write_text(before.replace("initrd:", "root: ram, root_exclude: [more0], initrd:"))
    try:
        moved = []
        for number in range(2):
            (pair.reference / f"usr/share/more{number}").write_text("more\n")
            at = received(pair.honest)
            deploying = pair.start("deploy", "server=boot1")
            out = deploying.communicate(timeout=200)[0]
            assert deploying.returncode == 0, out
            moved.append(received(pair.honest) - at)
            built = pair.folder / "build/worker"
            release = json.loads((built / "release.json").read_text())
            assert json.loads((built / "root_file.json").read_text())["left_out"] == 1
            place = pair.honest.path(f"/srv/dest/srv/http/plugnode/{release['id']}")
            assert (place / "root.erofs").read_bytes() == (built / "root.erofs").read_bytes()
            assert [path.stat().st_mode & 0o777 for path in (place, place / "root.erofs")] == [
                0o755,
                0o644,
            ]
            assert not (place.parent / ".plugnode.new").exists()
        assert moved[0] > 6 << 20  # once in the file, once in the tree
        code = (pair.folder / "build/.core.zip").stat().st_size  # comes with each command
        assert moved[1] - code < 1 << 20
    finally:
        pair.site.write_text(before)


def received(server: Machine) -> int:
    """Bytes that its network card has received."""
    with open(f"/proc/{server.pid}/net/dev") as lines:
        return sum(int(line.split()[1]) for line in lines if line.strip().startswith("eth0:"))
