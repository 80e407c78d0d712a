"""The shell of the initrd, function by function, in the shells that run it, below a root of its own.

These scripts set addresses and reboot machines, and busybox's shell prefers its own `ifconfig` to any on PATH: so each
runs in namespaces of its own, without a network card or a machine to reboot, and stand-ins are functions.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess

import pytest

from tests.support.commands import REPOSITORY
from tests.support.kept_root import NGINX

OVERLAY = REPOSITORY / "overlays" / "initrd"
APART = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child"]
APART += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
SHELLS = {"busybox ash": ["busybox", "ash"], "dash": ["dash"], "bash": ["bash", "--posix"]}
NODES = """\
172.24.10.1\tother\t52:54:00:00:00:01\t-\tdefault\t-
172.24.10.10\twn010\t52:54:00:00:00:10\tgpu\tdefault\t-
172.24.10.100\twn100\t52:54:00:00:01:00\t-\t-\ttoken
"""


@pytest.fixture(params=SHELLS)
def machine(request, tmp_path):
    return Machine(tmp_path, SHELLS[request.param])


class Machine:
    """A machine's files below a folder, and a shell with the functions of the initrd."""

    def __init__(self, root: pathlib.Path, shell: list[str]):
        self.root, self.shell = root, shell
        for name in ("common.sh", "identity", "check-site", "ahead", "above", "netroot"):
            shutil.copy(OVERLAY / name, root / name)
        for folder in (
            "proc/sys/kernel",
            "sys/class/net/lo",
            "dev",
            "run",
            "plugnode/layouts",
            "lease",
            "etc/plugnode",
        ):
            (root / folder).mkdir(parents=True)
        self.boots("ip=dhcp root=/dev/nfs")

    def boots(self, cmdline: str) -> None:
        self.write("proc/cmdline", cmdline + "\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def card(self, name: str, mac: str) -> None:
        self.write(f"sys/class/net/{name}/address", mac + "\n")

    def run(
        self, script: str, *words: str, library: str = "netroot", status: int = 0, **more: str
    ) -> str:
        """What the script prints, with the console's lines."""
        whole = f'set -eu; . "$ROOT/{library}"; {script}'
        settings = {
            "ROOT": str(self.root),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "WAITS": "0 0",
            "LAST_WAIT": "0",
        }
        argv = [*APART, *self.shell, "-c", whole, "sh", *words]
        done = subprocess.run(argv, env=settings | more, capture_output=True, text=True, timeout=20)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("path", sorted(OVERLAY.iterdir()), ids=lambda path: path.name)
def test_every_script_is_one(shell, path):
    subprocess.run([*SHELLS[shell], "-n", path], check=True)


LINES = {
    "a=1 nfsroot=1.2.3.4:/x,ro b=2": "1.2.3.4:/x,ro",
    "nfsroot=old nfsroot=new": "new",
    "xnfsroot=1 nfsroot": "",
    "nfsroot=$(touch /tmp/evil);`id`": "$(touch",
    "nfsroot=/* other": "/*",
}


@pytest.mark.parametrize("line", LINES)
def test_arguments_are_read_and_never_run(machine, line):
    machine.boots(line.replace("$(touch /tmp/evil)", "$(touch"))
    expected = LINES[line] + (";`id`" if "`id`" in line else "")
    assert machine.run("argument nfsroot") == expected


@pytest.mark.parametrize(
    "text",
    [
        "01-52-54-00-AB-CD-EF",
        "01-52:54:00:ab:cd:ef",
        "52-54-00-ab-cd-ef",
        "52:54:00:AB:CD:EF",
        "01:52:54:00:ab:cd:ef",
    ],
)
def test_bootif_of_every_loader_is_one_mac(machine, text):
    assert machine.run(f"mac_of {text}") == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("172.24.10.1", "other"),
        ("172.24.10.10", "wn010"),
        ("172.24.10.100", "wn100"),
        ("172.24.10", ""),
    ],
)
@pytest.mark.parametrize("grep", ["", "command() { return 1; }; "], ids=["with grep", "without"])
def test_a_name_is_found_by_the_very_address(machine, address, name, grep):
    machine.write("plugnode/nodes", NODES)
    assert machine.run(f"{grep}name_of {address}") == name


def test_without_site_data_there_is_no_name(machine):
    assert machine.run("name_of 172.24.10.1; address_of_mac 52:54:00:00:00:01; site_name") == ""


def test_a_machine_id_is_32_digits_of_site_and_mac(machine):
    ids = [
        machine.run(f"machine_id {mac} /")
        for mac in ("52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:01")
    ]
    machine.write("plugnode/site", "subnet=1.2.3.0/24\nsite=other\n")
    ids.append(machine.run("machine_id 52:54:00:00:00:01 /"))
    assert all(len(text) == 32 and set(text) <= set("0123456789abcdef") for text in ids)
    assert ids[0] == ids[2] and len(set(ids)) == 3


def test_a_machine_id_is_made_of_the_mac_where_there_is_no_md5sum(machine):
    script = "md5sum() { return 127; }; chroot() { return 127; }; machine_id 52:54:00:00:00:01 /"
    assert machine.run(script) == "5254000000010000706c75676e6f6465"


def test_a_node_is_told_who_it_is(machine):
    machine.write("plugnode/nodes", NODES)
    machine.write("plugnode/hosts", "127.0.0.1 localhost\n")
    machine.write("plugnode/site", "site=grid\n")
    machine.write("plugnode/layouts/default", "table gpt\n")
    machine.run(
        "address=172.24.10.10 interface=eth1 mac=52:54:00:00:00:10 path=/opt/nfs/worker-3f9a1c2b4d5e domain=grid.org "
        'servers="172.24.10.1 172.24.10.2"; identify "$ROOT/run" /; name_host dhcp >/dev/null'
    )
    told = {
        path.name: path.read_text()
        for path in (machine.root / "run/plugnode").rglob("*")
        if path.is_file()
    }
    assert (told["address"], told["interface"], told["release"]) == (
        "172.24.10.10\n",
        "eth1\n",
        "worker-3f9a1c2b4d5e\n",
    )
    assert (
        told["resolv.conf"] == "search grid.org\nnameserver 172.24.10.1\nnameserver 172.24.10.2\n"
    )
    assert (told["nodes"], told["hosts"], told["site"]) == (
        NODES,
        "127.0.0.1 localhost\n",
        "site=grid\n",
    )
    assert told["default"] == "table gpt\n" and len(told["machine-id"]) == 33
    assert machine.read("proc/sys/kernel/hostname") == "wn010\n"


@pytest.mark.parametrize(
    ("given", "name"), [("wn7", "wn7"), ("", ""), ("$(reboot)", ""), ("a;b", "")]
)
def test_a_name_of_dhcp_is_taken_only_where_the_site_has_none_and_it_is_one(machine, given, name):
    machine.write("plugnode/nodes", NODES)
    assert machine.run(f"address=172.24.10.7; name_host '{given}' || :") == name


@pytest.mark.parametrize("server", ["1.2.3.4; reboot", "$(id)", "fe80::1"])
def test_what_is_no_address_is_left_out_of_resolv_conf(machine, server):
    assert machine.run(f"resolver 'bad domain' '{server}' 1.2.3.4") == "nameserver 1.2.3.4"


# ---- the card


def test_the_card_is_the_one_that_the_loader_names(machine):
    machine.card("eth0", "52:54:00:00:00:01")
    machine.card("eth1", "52:54:00:00:00:02")
    machine.boots("BOOTIF=01-52-54-00-00-00-02")
    assert machine.run('find_card; echo "$interface $mac"') == "eth1 52:54:00:00:00:02"
    assert machine.read("dev/console") == "plugnode: initrd: network eth1 52:54:00:00:00:02 \n"


def test_without_a_loader_s_word_it_is_the_one_that_the_site_knows(machine):
    machine.card("eth0", "52:54:00:00:00:99")
    machine.card("eth1", "52:54:00:00:01:00")
    machine.write("plugnode/nodes", NODES)
    assert machine.run('find_card; echo "$interface"') == "eth1"


@pytest.mark.parametrize(("usual", "picked"), [("eth1", "eth1"), ("ib0", "eth0")])
def test_else_it_is_the_image_s_usual_one_or_the_first(machine, usual, picked):
    machine.card("eth0", "52:54:00:00:00:98")
    machine.card("eth1", "52:54:00:00:00:99")
    machine.write("etc/plugnode/interface", usual + "\n")
    assert machine.run('find_card; echo "$interface"') == picked


@pytest.mark.parametrize(("own", "picked"), [("eth1", "eth1"), ("ib0", "eth0"), ("", "eth0")])
def test_a_node_s_own_usual_card_comes_before_the_image_s_and_after_what_the_loader_names(
    machine, own, picked
):
    machine.card("eth0", "52:54:00:00:00:98")
    machine.card("eth1", "52:54:00:00:00:99")
    machine.write("etc/plugnode/interface", "eth0\n")
    machine.boots(f"quiet plugnode.interface={own}")
    assert machine.run('find_card; echo "$interface"') == picked
    machine.boots(f"plugnode.interface={own} BOOTIF=01-52-54-00-00-00-98")
    assert machine.run('find_card; echo "$interface"') == "eth0"


def test_a_missing_card_ends_with_the_stage_the_reason_and_what_there_is(machine):
    machine.card("eth0", "52:54:00:00:00:01")
    machine.boots("BOOTIF=01-52-54-00-00-00-02")
    machine.run("reboot() { echo rebooted; }; trap end EXIT; find_card", status=1)
    first, last = machine.read("dev/console").splitlines()[-2:]
    assert (
        "FAILED at network: no network card with the MAC 52:54:00:00:00:02 (BOOTIF); found: eth0"
        in first.replace("  ", " ")
    )
    assert last == "plugnode: initrd: reboot in 0 seconds"


def test_with_plugnode_debug_there_is_a_shell_before_the_reboot(machine):
    machine.boots("quiet plugnode.debug")
    machine.write("dev/console", "")
    stand_ins = "sh() { echo a shell; }; reboot() { echo rebooted; }"
    assert (
        machine.run(f"{stand_ins}; trap end EXIT; stage=address; fail why", status=1) == "rebooted"
    )
    failed, told, shell = machine.read("dev/console").splitlines()
    assert (
        failed == "plugnode: initrd: FAILED at address: why"
        and told.endswith("leave it to reboot")
        and shell == "a shell"
    )


@pytest.mark.parametrize(
    ("wait", "pauses"),
    [
        ("", "1 2 4 8 16 16 16"),
        ("many", "1 2 4 8 16 16 16"),
        ("5", "1 2 2"),
        ("0", "1"),
        ("80", "1 2 4 8 16 16 16 16 1"),
    ],
)
def test_every_wait_of_the_initrd_lasts_a_minute_or_as_long_as_the_kernel_command_line_says(
    machine, wait, pauses
):
    machine.boots(f"plugnode.wait={wait}")
    assert machine.run("echo $waits", WAITS="").split() == pauses.split()


def test_plugnode_debug_makes_the_console_root_s_for_systemd_and_for_sysv_init(machine):
    machine.boots("console=tty0 console=ttyS1,57600n8 plugnode.debug")
    machine.write(
        "new/etc/inittab",
        "id:3:initdefault:\nS1:2345:respawn:/sbin/agetty ttyS1 9600\n1:2345:respawn:/sbin/mingetty tty1\n",
    )
    mounted = machine.run(
        'mount() { echo "$*"; }; mkdir "$ROOT/run/plugnode"; open_console "$ROOT/run" "$ROOT/new"'
    )
    assert mounted == f"-o bind {machine.root}/run/plugnode/inittab {machine.root}/new/etc/inittab"
    assert machine.read("run/plugnode/inittab").splitlines() == [
        "id:3:initdefault:", "1:2345:respawn:/sbin/mingetty tty1",
        "pn:2345:respawn:/sbin/agetty -n -l /bin/sh ttyS1 57600 linux",
    ]  # fmt: skip
    unit = machine.read("run/systemd/system/serial-getty@ttyS1.service.d/plugnode.conf")
    assert (
        unit
        == "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root ttyS1 57600 linux\n"
    )


# ---- the root

MOUNTS = """\
22 1 0:2 / / rw - rootfs rootfs rw
31 22 0:25 / /newroot ro,relatime - nfs 1.2.3.4:/r ro,vers=3
32 31 0:26 / /newroot/run rw - tmpfs tmpfs rw
"""


def test_half_a_mib_of_a_root_on_nfs_is_read_at_once_and_of_nothing_else(machine):
    places = [f"sys/class/bdi/0:{number}/read_ahead_kb" for number in (2, 25, 26)]
    for place in places:
        machine.write(place, "128\n")
    machine.run("read_ahead /newroot")  # a kernel that tells of no mounts
    machine.write("proc/self/mountinfo", MOUNTS)
    machine.run("read_ahead /newroot; read_ahead /other")
    assert [machine.read(place) for place in places] == ["128\n", "512\n", "128\n"]


def test_folders_of_which_init_looks_up_each_name_are_listed(machine):
    """As a node does it: a name is looked at before the next is read, or the kernel asks for no more than names."""
    for folder in ("etc/plugnode", "lib/systemd/system"):
        machine.write(f"new/{folder}/name", "")
    listed = machine.run(
        'ls() { echo "${2#"$ROOT"}" >>"$ROOT/listed"; false; }; read_ahead "$ROOT/new"; cat "$ROOT/listed"'
    )
    assert listed.split() == ["/new/etc", "/new/etc/plugnode", "/new/lib/systemd/system"]


@pytest.mark.parametrize("lacks", ["the file", "the right to write it"])
def test_a_kernel_that_cannot_be_told_how_much_to_read_at_once_stops_nothing(machine, lacks):
    machine.write("proc/self/mountinfo", MOUNTS)
    if lacks != "the file":
        (machine.root / "sys/class/bdi/0:25/read_ahead_kb").mkdir(parents=True)
    assert machine.run("read_ahead /newroot 2>/dev/null; echo on") == "on"


OPTIONS = {
    "1.2.3.4:/r,ro,vers=3,proto=tcp,nolock": "ro,vers=3,proto=tcp,nolock,nocto,noatime,actimeo=3600,addr=1.2.3.4",
    "1.2.3.4:/r": "ro,nocto,noatime,actimeo=3600,nolock,addr=1.2.3.4",
    "1.2.3.4:/r,cto,acregmin=5": "ro,cto,acregmin=5,noatime,nolock,addr=1.2.3.4",
    "1.2.3.4:/r,noac": "ro,noac,nocto,noatime,nolock,addr=1.2.3.4",
    "1.2.3.4:/r,relatime": "ro,relatime,nocto,actimeo=3600,nolock,addr=1.2.3.4",
    "1.2.3.4:/r,rw,nolock": "rw,nolock,addr=1.2.3.4",
    "1.2.3.4:/r,vers=4.2,rsize=65536": "ro,vers=4.2,rsize=65536,nocto,noatime,actimeo=3600,nolock,clientaddr=1.2.3.10,addr=1.2.3.4",
    "1.2.3.4:/r,port=2049,mountport=20048": "ro,port=2049,mountport=20048,nocto,noatime,actimeo=3600,nolock,addr=1.2.3.4",
}


@pytest.mark.parametrize("spec", OPTIONS)
def test_mount_gets_the_options_that_a_helper_would_have_made(machine, spec):
    machine.boots(f"nfsroot={spec}")
    assert (
        machine.run('address=1.2.3.10; read_nfsroot; mount_options; echo "$server $path"')
        == f"{OPTIONS[spec]}\n1.2.3.4 /r"
    )


OPTIONS6 = {
    "vers=3,proto=tcp6": "ro,vers=3,proto=tcp6,nocto,noatime,actimeo=3600,nolock,addr=2001:db8::1",
    "vers=4.2": "ro,vers=4.2,nocto,noatime,actimeo=3600,nolock,clientaddr=2001:db8::10,addr=2001:db8::1",
}


@pytest.mark.parametrize("options", OPTIONS6)
def test_a_server_named_by_ipv6_is_mounted_from_by_it(machine, options):
    machine.boots(f"nfsroot=[2001:db8::1]:/r,{options}")
    told = 'own6=2001:db8::10/64; read_nfsroot; mount_options; echo "$server:$path"'
    assert machine.run(told) == f"{OPTIONS6[options]}\n[2001:db8::1]:/r"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("root=/dev/nfs", "no nfsroot=SERVER:PATH"),
        ("nfsroot=/path", "is not SERVER:PATH"),
        ("nfsroot=[boot1]:/path", "the server [boot1] is not an IP address"),
        ("nfsroot=boot1:/path", "the server boot1 is not an IP address"),
    ],
)
def test_a_command_line_without_a_root_fails_with_the_reason(machine, line, reason):
    machine.boots(line)
    machine.run("reboot() { :; }; trap end EXIT; read_nfsroot", status=1)
    failed, _ = machine.read("dev/console").splitlines()
    assert failed.startswith("plugnode: initrd: FAILED at root: n") and reason in failed


def test_a_server_that_does_not_answer_is_tried_again_and_then_named(machine):
    machine.boots("nfsroot=1.2.3.4:/r,vers=3")
    script = "mount() { echo 'mount: mounting 1.2.3.4:/r on x failed: Connection refused'; return 1; }; address=1.2.3.5"
    machine.run(f"reboot() {{ :; }}; {script}; trap end EXIT; mount_root /newroot", status=1)
    lines = machine.read("dev/console").splitlines()
    assert lines[:2] == ["plugnode: initrd: root 1.2.3.4:/r: Connection refused; waiting"] * 2
    assert (
        "FAILED at root: cannot mount 1.2.3.4:/r with ro,vers=3,nocto,noatime,actimeo=3600,nolock,addr=1.2.3.4: Connection refused"
        in lines[2]
    )


def test_a_silent_server_is_not_waited_for_longer_than_it_is_worth(machine):
    machine.boots("nfsroot=1.2.3.4:/r,vers=3")
    script = "reboot() { :; }; mount() { exec sleep 100; }; address=1.2.3.5; trap end EXIT; mount_root /newroot"
    machine.run(script, status=1, PATIENCE="1")
    assert (
        machine.read("dev/console").splitlines()[0]
        == "plugnode: initrd: root 1.2.3.4:/r: no answer in 1 seconds; waiting"
    )


# ---- a root that can be written

ABOVE = """\
mkdir "$ROOT/lower" "$ROOT/new"
mount -t tmpfs tmpfs "$ROOT/lower"
mkdir "$ROOT/lower/dev" "$ROOT/lower/etc"
echo shared >"$ROOT/lower/etc/file"
mount -o bind "$ROOT/lower" "$ROOT/new"
mount -o remount,ro,bind "$ROOT/new"
mount --make-rprivate /
mount -t tmpfs dev "$ROOT/new/dev"
echo node >"$ROOT/new/dev/null0"
mount -t proc proc "$ROOT/proc"
cmdline() { echo "$*" >"$ROOT/run/cmdline"; mount -o bind "$ROOT/run/cmdline" "$ROOT/proc/cmdline"; }
"""


def test_what_is_mounted_is_written_above_and_stays_as_it_is_below(machine):
    """Whatever the lower file system is; what initramfs-tools has mounted in it stays there."""
    script = """cmdline quiet plugnode.overlay=16; write_above "$ROOT/new" 1.2.3.4:/r
echo own >"$ROOT/new/etc/file"; cat "$ROOT/lower/etc/file" "$ROOT/new/etc/file" "$ROOT/new/dev/null0"
sed -n "s|$ROOT||; /new overlay/p" /proc/mounts | cut -d " " -f 1-3; grep -c "plugnode-aside tmpfs" /proc/mounts || :
dd if=/dev/zero of="$ROOT/new/etc/much" bs=1M count=40 2>/dev/null || echo full
df -kP "$ROOT/new" | awk 'NR == 2 { print $2 }'"""
    said = machine.run(ABOVE + script).splitlines()
    assert said == ["shared", "own", "node", "1.2.3.4:/r /new overlay", "0", "full", "16384"]


def test_systemd_is_told_that_a_root_which_it_can_write_is_up_to_date(machine):
    """Or ldconfig reads each library of it at each boot. What is below is as it was."""
    script = 'cmdline plugnode.overlay=16; touch -d 2000-01-01 "$ROOT/lower/etc/.updated"; write_above "$ROOT/new" r; '
    ages = 'for root in new lower; do date -r "$ROOT/$root/etc/.updated" +%Y; done; date +%Y'
    new, lower, now = machine.run(ABOVE + script + ages).split()
    assert (new, lower) == (now, "2000")


@pytest.mark.parametrize(
    "words", ["quiet", "quiet plugnode.overlay=none", "plugnode.overlay=8 refused"]
)
def test_a_root_that_need_not_or_cannot_be_written_stays_as_it_was(machine, words):
    script = f"""has_overlay() {{ return 1; }}; cmdline {words}; write_above "$ROOT/new" x; echo "$above_lacks"
touch "$ROOT/new/etc/file" 2>/dev/null || cat $ROOT/new/dev/null0"""
    said = machine.run(ABOVE + script)
    lacks = {
        "quiet": "",
        "quiet plugnode.overlay=none": "nothing can be written to the root: plugnode.overlay=none is no number of MiB",
    }.get(words, "nothing can be written to the root: this kernel has no overlay file system")
    assert said == f"{lacks}\nnode".strip()
    assert not (machine.root / "lower/etc/.updated").exists()


def test_a_node_that_should_write_above_its_root_and_cannot_is_degraded(machine):
    machine.run(
        "address=1 interface=eth0 mac=52:54:00:00:00:10 path=/r domain= servers=; above_lacks=why; "
        'identify "$ROOT/run" /'
    )
    assert machine.read("run/plugnode/degraded") == "why\n"
    assert machine.read("dev/console") == "plugnode: initrd: why\n"


def test_what_is_written_above_a_root_never_takes_more_than_half_of_the_memory(machine):
    machine.write("proc/meminfo", "MemTotal:         500000 kB\nMemFree:  1 kB\n")
    assert machine.run("room_above 1024; room_above 16").split() == ["250000", "16384"]


# ---- DHCP


def test_a_lease_is_kept_as_files_whatever_the_server_sends(machine):
    lease = {
        "interface": "eth0",
        "ip": "1.2.3.4",
        "subnet": "255.255.255.0",
        "router": "1.2.3.1 1.2.3.2",
        "dns": "1.1.1.1 8.8.8.8",
    }
    evil = {"hostname": "'; touch /tmp/evil; '", "domain": "$(id)\n`id`", "serverid": "1.2.3.9"}
    stand_ins = 'ifconfig() { echo "ifconfig $*"; }; route() { echo "route $*"; }'
    shutil.copy(OVERLAY / "udhcpc.script", machine.root)
    called = machine.run(f'{stand_ins}; . "$ROOT/udhcpc.script"', "bound", **lease, **evil)
    assert (
        called
        == "ifconfig eth0 1.2.3.4 netmask 255.255.255.0 up\nroute add default gw 1.2.3.1 dev eth0"
    )
    assert (
        machine.read("lease/name") == "'; touch /tmp/evil; '\n"
        and machine.read("lease/domain") == "$(id)\n`id`\n"
    )
    assert (
        machine.run("leased address; leased servers; leased from")
        == "1.2.3.4\n1.1.1.1 8.8.8.8\n1.2.3.9"
    )


@pytest.mark.parametrize(
    ("usage", "asked"), [("[-O OPT] [-s PROG]", " -O mtu -O staticroutes"), ("[-s script]", "")]
)
def test_a_dhcp_client_that_can_ask_for_nothing_besides_is_not_told_to(machine, usage, asked):
    client = f'udhcpc() {{ case $1 in --help) echo \'{usage}\' ;; *) echo "$*" >>"$ROOT/asked" ;; esac; }}'
    machine.run(f"{client}; interface=eth0; ask_dhcp")
    assert (
        machine.read("asked") == f"-i eth0 -n -q -t 4 -T 2{asked} -s {machine.root}/udhcpc.script\n"
    )


# ---- images with hooks


@pytest.mark.parametrize(
    "line",
    [
        "root=nfs:1.2.3.4:/opt/w-3f9a1c2b4d5e:ro,vers=3 ip=dhcp",
        "root=/dev/nfs nfsroot=1.2.3.4:/opt/w-3f9a1c2b4d5e,ro,vers=3,tcp boot=nfs",
    ],
    ids=["dracut", "initramfs-tools"],
)
def test_an_unmodified_image_s_hook_tells_the_node_the_same(machine, line):
    machine.boots(line)
    machine.card("eth7", "52:54:00:00:00:10")
    machine.write("plugnode/nodes", NODES)
    machine.write(
        "run/net-eth7.conf",
        "DEVICE='eth7'\nIPV4ADDR='172.24.10.10'\nHOSTNAME='d'\nDNSDOMAIN='x.org'\nIPV4DNS0='1.1.1.1'\nIPV4DNS1='0.0.0.0'\n",
    )
    for name in ("common.sh", "identity", "check-site", "ahead", "above", "handover"):
        shutil.copy(OVERLAY / name, machine.root / "plugnode" / name)
    machine.run('ip() { return 1; }; . "$ROOT/plugnode/handover"', "/", library="identity")
    assert machine.read("run/plugnode/release") == "w-3f9a1c2b4d5e\n"
    assert (machine.read("run/plugnode/address"), machine.read("run/plugnode/interface")) == (
        "172.24.10.10\n",
        "eth7\n",
    )
    assert machine.read("run/plugnode/resolv.conf") == "search x.org\nnameserver 1.1.1.1\n"
    assert machine.read("dev/console") == "plugnode: initrd: identity wn010\n"
    link = machine.read("run/systemd/network/00-plugnode.link").splitlines()
    assert link[:3] == ["[Match]", "MACAddress=52:54:00:00:00:10", "OriginalName=eth7"]
    assert machine.read("run/udev/rules.d/00-plugnode.rules") == (
        'SUBSYSTEM=="net", KERNEL=="eth7", ATTR{address}=="52:54:00:00:00:10", NAME:="eth7"\n'
    )


@pytest.mark.parametrize(
    ("mac", "said"),
    [
        (
            "52:54:00:00:00:99",
            "the site has no node with the MAC 52:54:00:00:00:99, which is eth7 here",
        ),
        (
            "52:54:00:00:01:00",
            "172.24.10.10 is not the site's for 52:54:00:00:01:00, 172.24.10.100: did another",
        ),
    ],
)
def test_an_unmodified_image_s_hook_doubts_an_address_that_is_not_the_site_s(machine, mac, said):
    machine.boots("root=nfs:1.2.3.4:/opt/w-3f9a1c2b4d5e:ro,vers=3 ip=dhcp")
    machine.card("eth7", mac)
    machine.write("plugnode/nodes", NODES)
    machine.write("run/net-eth7.conf", "DEVICE='eth7'\nIPV4ADDR='172.24.10.10'\n")
    for name in ("common.sh", "identity", "check-site", "ahead", "above", "handover"):
        shutil.copy(OVERLAY / name, machine.root / "plugnode" / name)
    machine.run('ip() { return 1; }; . "$ROOT/plugnode/handover"', "/", library="identity")
    assert f"plugnode: initrd: address: {said}" in machine.read("dev/console")


CLIENT = """\
echo $$ >"$ROOT/tmp/dhclient.eth0.pid"
sh -c "sleep 1; echo renewed >>$ROOT/said"
echo lives >>"$ROOT/said"
sleep 100
"""
END = """\
mount -t proc proc "$ROOT/proc"
sh "$ROOT/client" &
until [ -s "$ROOT/tmp/dhclient.eth0.pid" ]; do sleep 0.1; done
end_client
echo ended >>"$ROOT/said"
wait
"""


def test_a_dhcp_client_ends_after_the_renewal_that_it_is_at(machine):
    machine.write("functions", (OVERLAY / "handover").read_text().rpartition("main ")[0])
    machine.write("client", CLIENT)
    machine.write("tmp/dhclient.eth1.pid", "4194304\n")  # of none that lives
    machine.run(END, library="functions")
    assert machine.read("said") == "renewed\nended\n"


@pytest.mark.parametrize("there", [True, False])
def test_nash_root_mounts_sys_where_the_init_of_el4_has_unmounted_it(machine, there):
    script = (OVERLAY / "nash-root").read_text().rpartition("main ")[0]
    machine.write("functions", script)
    if not there:
        shutil.rmtree(machine.root / "sys/class")
    said = machine.run('mount() { echo "mount $*"; }; mount_sys', library="functions")
    assert said == ("" if there else f"mount -t sysfs sysfs {machine.root}/sys")


# --- the root as one file

RELEASE = "worker-3f9a1c2b4d5e"
ROOT_FILE = bytes(range(256)) * 8192  # 2 MiB
SERVE = 'wget() { busybox wget "$@"; }; '  # as in the initrd
SERVE += 'ip link set lo up; nginx -c "$ROOT/nginx.conf" -g "user root;"; mac=52:54:00:00:00:03; '
SERVE += '. "$ROOT/root-ram"; mount() { mounted="$*"; }; read_file_root; '


@pytest.fixture
def fetching(machine):
    """A node whose server 127.0.0.1 has its file; another byte is in that of 127.0.0.2, 127.0.0.3 is down."""
    if os.geteuid():
        pytest.skip("needs root, to listen on port 80 of a namespace of its own")
    for name in ("fetch", "fileroot", "root-ram"):
        shutil.copy(OVERLAY / name, machine.root / name)
    for place, data in (("good", ROOT_FILE), ("bad", b"x" + ROOT_FILE[1:])):
        (machine.root / place / RELEASE).mkdir(parents=True)
        (machine.root / place / RELEASE / "root.erofs").write_bytes(data)
    machine.root.chmod(0o755)
    machine.write("nginx.conf", NGINX.format(run=machine.root))
    machine.write("proc/uptime", "12.34 1.00\n")
    machine.write("proc/meminfo", "MemTotal: 999999 kB\nMemAvailable: 900000 kB\n")
    fetched_from(machine, "127.0.0.1")
    return machine


def fetched_from(machine: Machine, first: str, others: str = "", **wrong: str) -> None:
    words = {
        "root": f"ram:http://{first}/{RELEASE}/root.erofs",
        "plugnode.root_bytes": str(len(ROOT_FILE)),
        "plugnode.root_sha256": hashlib.sha256(ROOT_FILE).hexdigest(),
        "plugnode.root_servers": others,
    }
    words |= {f"plugnode.root_{name}": text for name, text in wrong.items()}
    machine.boots(" ".join(f"{name}={text}" for name, text in words.items()))


def test_a_root_file_is_fetched_and_goes_on_where_it_was_cut_off(fetching):
    (fetching.root / "held").write_bytes(ROOT_FILE[:1_000_000])
    told = fetching.run(SERVE + 'fetch_file "$ROOT/held"; echo "$server:$path $file from $url"')
    assert told == f"ram:{RELEASE} root.erofs from http://127.0.0.1/{RELEASE}/root.erofs"
    assert (fetching.root / "held").read_bytes() == ROOT_FILE
    (request,) = fetching.read("access.log").splitlines()
    assert f" 206 {len(ROOT_FILE) - 1_000_000} " in request


def test_what_is_damaged_or_down_is_said_and_the_next_server_asked(fetching):
    """A cache comes first, then its own server, which is damaged, and the others."""
    fetched_from(fetching, "127.0.0.2", "127.0.0.1 plugnode.cache=127.0.0.3")
    fetching.run(SERVE + 'fetch_file "$ROOT/held"')
    assert (fetching.root / "held").read_bytes() == ROOT_FILE
    down, damaged = fetching.read("dev/console").splitlines()
    assert "127.0.0.3" in down and " 0 of 2097152 bytes are here; waiting" in down
    assert f"127.0.0.2/{RELEASE}/root.erofs: not the file of this release: its sha256 is" in damaged


def test_where_none_has_it_nothing_is_mounted(fetching):
    fetched_from(fetching, "127.0.0.2")
    fetching.run(
        "trap end EXIT; reboot() { :; }; " + SERVE + "mount_from_memory /new",
        status=1,
    )
    assert f"FAILED at root: no server gives {RELEASE}/root.erofs: not the file" in fetching.read(
        "dev/console"
    )
    assert not list((fetching.root / "run/plugnode-memory").iterdir())


def test_too_little_memory_is_said_before_anything_is_fetched(fetching):
    fetching.write("proc/meminfo", "MemAvailable: 150000 kB\n")
    fetching.run("trap end EXIT; reboot() { :; }; " + SERVE + 'make_room "$ROOT/run"', status=1)
    told = "146 MB of memory are free, and 195 are needed: 3 for root.erofs, 192 to start in"
    assert told in fetching.read("dev/console")


@pytest.mark.parametrize(("name", "text"), [("bytes", "many"), ("sha256", ""), ("sha256", "$(x)")])
def test_a_command_line_that_does_not_say_which_file_is_refused(fetching, name, text):
    fetched_from(fetching, "127.0.0.1", **{name: text})
    fetching.run("trap end EXIT; reboot() { :; }; " + SERVE, status=1)
    assert f"FAILED at root: no plugnode.root_{name}=" in fetching.read("dev/console")


def test_nodes_wait_for_times_of_their_own(fetching):
    waits = "for mac in 52:54:00:00:00:0$1 52:54:00:00:00:4f; do its_part 16; done"
    parts = [fetching.run(SERVE + waits, digit).split() for digit in "123"]
    assert len({part for both in parts for part in both}) == 4


# --- the root as one file on the server

MOUNTED = """\
trap end EXIT; reboot() { :; }; mount() { echo "mount $*"; }; losetup() { echo /dev/loop7; }
dmsetup() { echo "dmsetup $*" >>"$ROOT/asked"; [ "$1" != info ] || echo dm-0; }
. "$ROOT/root-nfs-file"; mount_root /new; echo "$server $path"
"""
HASH = "2f" * 32


@pytest.fixture
def mounting(machine):
    for name in ("fileroot", "root-nfs-file"):
        shutil.copy(OVERLAY / name, machine.root / name)
    return machine


def test_a_root_file_on_the_server_is_mounted_from_there_through_its_hashes(mounting):
    """The numbers are those of veritysetup(8), whose superblock comes before its tree."""
    line = f"nfsroot=1.2.3.4:/r/{RELEASE}.file,ro,vers=3 plugnode.root_file=root.erofs"
    mounting.boots(f"{line} plugnode.root_verity=515,{HASH}")
    mounting.write("sys/block/dm-0/queue/read_ahead_kb", "128")
    assert mounting.run(MOUNTED) == f"1.2.3.4 /r/{RELEASE}"
    assert mounting.read("sys/block/dm-0/queue/read_ahead_kb") == "32\n"
    asked = mounting.read("asked")
    assert f"0 4120 verity 1 /dev/loop7 /dev/loop7 4096 4096 515 516 sha256 {HASH} -" in asked
    said = mounting.read("dev/console")
    assert "root root.erofs: each block is checked as it is read (dm-verity)" in said


@pytest.mark.parametrize("words", ["", "=many,2f", "=515,$(x)", "=515", f"=,{HASH}"])
def test_a_root_file_without_its_hash_is_not_mounted(mounting, words):
    line = "nfsroot=1.2.3.4:/r/w.file,ro plugnode.root_file=root.erofs plugnode.root_verity"
    mounting.boots(line + words)
    mounting.run(MOUNTED, status=1)
    assert not (mounting.root / "asked").exists()
    assert "FAILED at root: no plugnode.root_verity=BLOCKS,HASH" in mounting.read("dev/console")


OWN_LOSETUP = """\
#!/bin/sh
echo "own $*" >>"${0%/sbin/losetup}/asked"
case $* in --direct-io=on*) exit "$(cat "${0%/sbin/losetup}/refuses")" ;; esac
"""
LOOP = """\
losetup() { echo "busybox $*" >>"$ROOT/asked"; }
. "$ROOT/root-nfs-file"; set_loop /dev/loop7 file
"""


@pytest.mark.parametrize(
    ("refuses", "asked"),
    [
        (None, ["busybox -r /dev/loop7 file"]),
        (0, ["own --direct-io=on -r /dev/loop7 file"]),
        (
            1,
            [
                "own --direct-io=on -r /dev/loop7 file",
                "busybox -d /dev/loop7",
                "busybox -r /dev/loop7 file",
            ],
        ),
    ],
)
def test_a_root_file_on_the_server_is_read_as_it_is_asked_for_where_that_can_be(
    mounting, refuses, asked
):
    if refuses is not None:
        mounting.write("refuses", str(refuses))
        mounting.write("sbin/losetup", OWN_LOSETUP)
        (mounting.root / "sbin/losetup").chmod(0o755)
    mounting.run(LOOP)
    assert mounting.read("asked").splitlines() == asked


def test_when_each_stage_began_comes_to_the_node_and_what_cannot_be_noted_stops_nothing(machine):
    assert machine.run('enter start; bring_stages "$ROOT/told"; echo on') == "on"  # no clock
    assert not (machine.root / "told").exists()
    machine.write("proc/uptime", "1.50 2.00\n")
    machine.run('enter network; enter root; bring_stages "$ROOT/told"')
    assert machine.read("told") == "network 1.50\nroot 1.50\ninit 1.50\n"
    (machine.root / "stages").unlink()
    (machine.root / "stages").mkdir()  # not even root can write to it
    assert machine.run("enter identity 2>/dev/null; echo $stage") == "identity"
