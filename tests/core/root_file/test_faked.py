"""A root file of an ordinary user is root's, byte for byte: owners, devices and rights come from the manifest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.core.base.errors import Refused
from tasks.core.checkout import staged
from tasks.core.root_file import faked, make
from tasks.core.scan.reader import scan
from tasks.core.tree.model import directory, generated_file
from tests.support import all_file_types
from tests.support.commands import REPOSITORY, as_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="compares with what root makes")
SHOWN = """
import sys
sys.path[:0] = ["."]
from tasks.core.base.process import Program
from tasks.core.checkout import staged
from tasks.core.root_file import faked, make
from tasks.core.tree import mtree
folder = sys.argv[1]
place = staged.staged_paths(folder)
tree = mtree.parse(open(place.manifest, "rb").read())
with faked.as_said(place, tree) as shown:
"""
MAKE = """
    wanted = make.Wanted(sys.argv[2], (6, 1), [b"a/c"])
    make.make_root_file(place.folder, folder, wanted, shown)
"""
WAIT = """
    for line in Program([*shown, "sh", "-c", "echo; sleep 2"], ending="INT").lines():
        print(flush=True)
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[staged.StagedPaths, staged.StagedPaths]:
    """One tree, with everything that a root can have, as root stages it and as an ordinary user does."""
    top = tmp_path_factory.mktemp("roots") / "it's $(a) root"
    tree = scan(str(all_file_types.make(top / "source"))).tree
    tree[b"acl"] = tree[b"acl"]._replace(uid=70000, gid=1 << 31)
    del tree[b"x" * 255]  # mkfs.erofs 1.5 reads 254 bytes of a name
    roots, own = (staged.staged_paths(str(top / name)) for name in ("by-root", "by-nobody"))
    staged.checkout(roots, tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "privileged", lambda folder: False)
        assert staged.checkout(own, tree).note.startswith("not root: ")
    for path in top.parents:
        if path.stat().st_uid == 0 and len(path.parts) > 2:
            path.chmod(0o755)
    subprocess.run(["chown", "-hR", "65534:65534", top / "by-nobody"], check=True)
    return roots, own


@pytest.mark.parametrize("kind", ["erofs", "squashfs"])
def test_an_ordinary_users_file_is_roots_byte_for_byte(places, kind):
    roots, own = (os.path.dirname(place.folder) for place in places)
    made = make.make_root_file(places[0].folder, roots, make.Wanted(kind, (6, 1), [b"a/c"]))
    subprocess.run(by_nobody(MAKE, own, kind), cwd=REPOSITORY, check=True)
    assert Path(own, made.name).read_bytes() == Path(roots, made.name).read_bytes()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_build_no_daemon_stays(how, places, tmp_path):
    """As a runner ends a job: it asks all of its processes at once, or kills the first one."""
    tmp_path.chmod(0o777)
    words = by_nobody(WAIT, os.path.dirname(places[1].folder))
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    options = {"cwd": REPOSITORY, "env": env, "stdout": subprocess.PIPE}
    running = subprocess.Popen(words, start_new_session=True, **options)
    assert running.stdout.readline() == b"\n" and "faked" in at_work(tmp_path)
    if how == signal.SIGTERM:
        os.killpg(running.pid, how)
    else:
        running.kill()
    running.wait()
    until(lambda: at_work(tmp_path) == "")


def test_attributes_that_fakeroot_cannot_hold_are_refused_by_name(places, tmp_path):
    fits = (("user.a", b"x" * 1017),)
    assert faked.fits(fits) and not faked.fits((("user.a", b"x" * 1018),))
    place = places[1]._replace(xattrs=str(tmp_path / "root.xattrs"))
    many = "".join(f"user.{number:030}=0x\n" for number in range(40))
    Path(place.xattrs).write_text(f"# file: a b\n{many}\n")
    with pytest.raises(Refused, match="^/a b: attributes of more than 1024 bytes, which"):
        with faked.as_said(place, {}):
            pass


def test_a_machine_without_fakeroot_is_told_so(places, monkeypatch):
    monkeypatch.setattr(faked, "find_program", lambda name: None)
    with pytest.raises(Refused, match="fakeroot is not installed; install fakeroot, or run doit"):
        with faked.as_said(places[1], {}):
            pass


def by_nobody(code: str, *words: str) -> list[str]:
    return as_nobody(sys.executable, "-c", SHOWN + code, *words)


def at_work(folder: Path) -> str:
    """The commands of all processes that work in a folder below this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd").startswith(f"{folder}/"):
                found.append((process / "cmdline").read_text())
    return " ".join(found)


def until(holds) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_where_root_sees_more_than_the_manifest_says_it_is_shown_that(places, tmp_path):
    """Several attributes have an order, which is the file system's; SELinux labels all there is."""
    assert not faked.is_as_said(places[0])
    place = staged.staged_paths(str(tmp_path))
    one = generated_file(b"")._replace(xattrs=(("user.a", b""),))
    staged.checkout(place, {b"": directory(), b"file": one})
    assert faked.is_as_said(place)
    os.setxattr(place.folder, "security.selinux", b"system_u:object_r:var_t:s0")
    assert not faked.is_as_said(place)
    Path(place.xattrs).write_text(f"# file: file\nuser.a=0x{'00' * 1024}\n\n")
    assert faked.is_as_said(place), "as well as it can be"
