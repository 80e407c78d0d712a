"""The hook into rc.sysinit, and which init a root has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.core.base.errors import BadInput
from tasks.core.rootfs.rc_sysinit import HOOK_CALL, HOOK_MARK, hook_script, init_of, script_of
from tasks.core.tree.model import Tree, directory, generated_file, symlink

NAME = "etc/rc.d/rc.sysinit"
CALLED = b"".join(row + b"\n" for row in HOOK_CALL)

# Small scripts of our own, in the shapes that the released ones have around that line.
EL4 = b"""#!/bin/bash
# /sbin/start_udev must not run before this comment's end; it's quoted 'badly
if [ -f /etc/udev/udev.conf ];then
\t. /etc/udev/udev.conf
fi

[ -x /sbin/start_udev ] && /sbin/start_udev

# Initialize hardware
echo -n $"Initializing hardware... "
"""
EL5 = b"""#!/bin/bash
HOSTNAME=`/bin/hostname`
if [ -f /etc/sysconfig/network ]; then
    . /etc/sysconfig/network
fi
relabel() {
    echo "
         *** Warning -- relabel. ***
\t *** /sbin/start_udev comes later. ***
\t "
}
eval version=`echo $unamer | awk -F '.' '{ print "(" $1 " " $2 ")" }'`
mods=`sed 's/^.* tty\\([0-9][0-9]*\\).*/\\1/g'`
selinuxfs="$(decode `awk '/ selinuxfs / { print $2 }' /proc/mounts`)"
[ -n "$nashpid" ] && kill $nashpid >/dev/null 2>&1
unset nashpid
/sbin/start_udev

# Load other user-defined modules
for file in /etc/sysconfig/modules/*.modules ; do
  [ -x $file ] && $file
done
action $"Setting hostname ${HOSTNAME}: " hostname ${HOSTNAME}
"""


def after(script: bytes, line: bytes) -> bytes:
    """What follows `line` in the hooked script."""
    return hook_script(script, NAME).partition(line + b"\n")[2]


def test_the_call_comes_right_after_the_line_of_el4_that_names_it_twice():
    line = b"[ -x /sbin/start_udev ] && /sbin/start_udev"
    assert after(EL4, line) == CALLED + EL4.partition(line + b"\n")[2]


def test_the_call_comes_right_after_the_line_of_el5_and_el6():
    assert hook_script(EL5, NAME) == EL5.replace(
        b"\n/sbin/start_udev\n", b"\n/sbin/start_udev\n" + CALLED
    )


@pytest.mark.parametrize("script", [EL4, EL5], ids=["EL4", "EL5"])
def test_hooking_twice_is_hooking_once(script):
    assert hook_script(hook_script(script, NAME), NAME) == hook_script(script, NAME)


@pytest.mark.parametrize(
    "line",
    [
        b'action $"Starting udev: " /sbin/start_udev',
        b"if [ -x /sbin/start_udev ]; then /sbin/start_udev; fi",
        b"test -x /sbin/start_udev && /sbin/start_udev >/dev/null 2>&1",
        b"LANG=C /sbin/start_udev || echo no udev",
        b'"/sbin/start_udev"',
        b"/sbin/start_udev  # and not before",
        b"echo $((1<<3)) $(cat <<<word)\n/sbin/start_udev",
    ],
)
def test_a_line_that_runs_it_in_another_spelling_is_found(line):
    assert (
        hook_script(b"true\n" + line + b"\nfalse\n", NAME)
        == b"true\n" + line + b"\n" + CALLED + b"false\n"
    )


def test_the_call_has_the_indent_of_its_line():
    hooked = hook_script(b"if :; then\n\t /sbin/start_udev\nfi\n", NAME)
    assert (
        hooked
        == b"if :; then\n\t /sbin/start_udev\n"
        + b"".join(b"\t " + row + b"\n" for row in HOOK_CALL)
        + b"fi\n"
    )


def test_a_line_that_goes_on_is_not_cut_in_two():
    assert hook_script(b"/sbin/start_udev || \\\n  echo no\nend\n", NAME).endswith(
        HOOK_CALL[-1] + b"\nend\n"
    )
    assert b"echo no\n  " + HOOK_MARK in hook_script(b"/sbin/start_udev ||\n  echo no\nend\n", NAME)


def test_other_bytes_stay_as_they_are_line_endings_and_a_missing_last_one_too():
    odd = b"caf\xe9 \xff\x0c\x0b\r\n\t/sbin/start_udev\r\n\x85last \xe2\x80\xa8"
    hooked = hook_script(odd, NAME)
    added = b"".join(b"\t" + row + b"\r\n" for row in HOOK_CALL)
    assert hooked.replace(added, b"") == odd
    assert hook_script(b"/sbin/start_udev", NAME) == b"/sbin/start_udev\n" + CALLED[:-1]


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"# /sbin/start_udev\n",
        b"echo /sbin/start_udev\n",
        b"echo 'one\n/sbin/start_udev\n'\n",
        b"[ -x /sbin/start_udev ] && echo yes\n",
        b"cat <<EOF\n/sbin/start_udev\nEOF\n",
        b"cat <<-'EOF'\n\t/sbin/start_udev\n\tEOF\n",
        b"/sbin/start_udevd\n/usr/sbin/start_udev\n",
    ],
)
def test_a_script_that_only_talks_of_it_is_refused_by_name(script):
    with pytest.raises(BadInput, match=f"^{NAME}:1:1: no line running /sbin/start_udev in {NAME}"):
        hook_script(script, NAME)


def test_a_script_that_runs_it_twice_is_refused_with_both_lines():
    script = b"#\n/sbin/start_udev\n[ -x /sbin/start_udev ] && /sbin/start_udev\n"
    with pytest.raises(BadInput, match=rf"^{NAME}:2:1: .*found 2 times \(lines 2, 3\)"):
        hook_script(script, NAME)


def test_the_host_name_that_the_script_sets_is_the_one_that_setup_wrote(tmp_path: Path):
    """The order trap: EL5 reads the file at its top, before /var is there, and uses the variable further down."""
    network = tmp_path / "network"
    script = b"HOSTNAME=localhost\n[ -f NETWORK ] && . NETWORK\n/sbin/start_udev\necho setting $HOSTNAME\n"
    hooked = (
        hook_script(script, NAME)
        .replace(b"/etc/sysconfig/network", b"NETWORK")
        .replace(b"NETWORK", os.fsencode(network))
    )
    setup = f"printf 'HOSTNAME=wn001\\n' >{network}".encode()
    hooked = hooked.replace(b"/etc/setup.sh", setup).replace(b"/sbin/start_udev", b":")
    assert (
        subprocess.run(["bash"], input=hooked, capture_output=True, check=True).stdout
        == b"setting wn001\n"
    )


def tree(**links: bytes) -> Tree:
    return {
        b"": directory(),
        **{path.replace("__", "/").encode(): symlink(to) for path, to in links.items()},
    }


def test_systemd_is_known_by_where_sbin_init_leads():
    usrmerged = tree(sbin=b"usr/sbin", lib=b"usr/lib", usr__sbin__init=b"../lib/systemd/systemd")
    usrmerged[b"etc/rc.d/rc.sysinit"] = generated_file(b"left over")
    assert init_of(usrmerged) == "systemd"
    assert init_of(tree(sbin__init=b"/lib/systemd/systemd")) == "systemd"


def test_sysv_init_and_upstart_of_el6_both_run_rc_sysinit():
    el5 = {
        b"sbin/init": generated_file(b"ELF"),
        b"etc/rc.d/rc.sysinit": generated_file(EL5),
        **tree(etc__rc__sysinit=b"x"),
    }
    assert init_of(el5) == "sysvinit"
    assert init_of({b"etc/rc.d/rc.sysinit": generated_file(EL5)}) == "sysvinit"


def test_a_root_without_an_init_is_refused():
    with pytest.raises(BadInput, match="^sbin/init:1:1: "):
        init_of(tree())


def test_a_root_whose_systemd_nobody_starts_is_refused():
    """A node would end in a shell, or in another init, which knows nothing of setup.sh."""
    root = {b"usr/lib/systemd/systemd": generated_file(b"ELF")}
    with pytest.raises(BadInput, match="^sbin/init:1:1: is missing, .* add systemd-sysv"):
        init_of(root)
    other = root | {b"sbin/init": generated_file(b"ELF")}
    with pytest.raises(BadInput, match="^sbin/init:1:1: is another init, .* add systemd-sysv"):
        init_of(other)
    for each in (root, other):
        assert init_of(each, "quiet init=/usr/lib/systemd/systemd") == "systemd"


def test_rc_sysinit_is_found_behind_its_symlink():
    links = {
        b"etc/rc.sysinit": symlink(b"rc.d/rc.sysinit"),
        b"etc/rc.d/rc.sysinit": generated_file(EL5),
    }
    assert script_of(links) == b"etc/rc.d/rc.sysinit"
    assert script_of({b"etc/rc.sysinit": generated_file(EL5)}) == b"etc/rc.sysinit"
    with pytest.raises(BadInput, match="^etc/rc.d/rc.sysinit:1:1: no such file"):
        script_of(tree())
