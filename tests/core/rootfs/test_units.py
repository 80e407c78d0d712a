"""Units of a root: what needs a root that can be written is cured, or named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.core.rootfs import selinux
from tasks.core.rootfs.units import (
    UnitFiles,
    keep_configuration,
    unwritable,
    wait_for_disks,
)
from tasks.core.tree.model import FILE, Tree, directory, generated_file, read_content, symlink
from tests.support.commands import REPOSITORY

LIB = "usr/lib/systemd/system/"
ETC = "etc/systemd/system/"
CHRONY = "[Service]\nExecStart=/bin/true\nConfigurationDirectory=chrony\n"
WANTED = {ETC + "default.target": "[Unit]\nWants=it.service\n"}
OURS = "etc/systemd/system/{}.d/zz-plugnode.conf"


def root(files: dict[str, str], links: dict[str, str] | None = None, *folders: str) -> Tree:
    tree: Tree = {b"lib": symlink(b"usr/lib"), b"var": directory()}
    tree |= {path.encode(): generated_file(text.encode()) for path, text in files.items()}
    tree |= {path.encode(): symlink(to.encode()) for path, to in (links or {}).items()}
    return tree | {path.encode(): directory() for path in folders}


def cured(tree: Tree, name: str) -> list[str]:
    """The lines of our drop-in for a unit."""
    entry = keep_configuration(tree)[OURS.format(name).encode()]
    return read_content(entry).decode().splitlines()[1:]


def named(*settings: str, more: Tree | None = None) -> list[str]:
    """What is said of an enabled service with these lines."""
    text = "\n".join(("[Service]", *settings))
    return unwritable(root(WANTED | {LIB + "it.service": text}) | (more or {}), ["/home"])


def test_a_service_with_a_folder_below_etc_does_not_make_it_and_still_knows_it() -> None:
    tree = root({LIB + "chrony.service": CHRONY}, None, "etc/chrony")
    assert cured(tree, "chrony.service") == [
        "[Service]",
        "ConfigurationDirectory=",
        'Environment="CONFIGURATION_DIRECTORY=/etc/chrony"',
    ]


def test_each_kind_of_unit_that_runs_programs_is_cured_in_its_own_section() -> None:
    text = "[Socket]\nListenStream=/run/x\nConfigurationDirectory=a b/c\n"
    lines = cured(root({"lib2": "", LIB + "x.socket": text}), "x.socket")
    assert lines[0] == "[Socket]" and "/etc/a:/etc/b/c" in lines[2]


def test_what_protect_system_keeps_open_stays_open_where_the_root_can_be_written() -> None:
    text = CHRONY + "ProtectSystem=strict\n"
    assert cured(root({LIB + "x.service": text}), "x.service")[3:] == [
        "ReadWritePaths=-/etc/chrony"
    ]


def test_a_folder_that_is_missing_is_made_with_the_mode_that_systemd_gives_it() -> None:
    text = "[Service]\nConfigurationDirectory=own %p/%i\nConfigurationDirectoryMode=0750\n"
    link = {ETC + "multi-user.target.wants/vpn@home.service": "/lib/systemd/system/vpn@.service"}
    tree = root({LIB + "one.service": text, LIB + "vpn@.service": text}, link)
    made = keep_configuration(tree)
    assert made[b"etc/own"] == made[b"etc/vpn/home"] == directory(0o750)
    assert [path for path in made if b"%" in path] == []
    assert "/etc/own:/etc/%p/%i" in cured(tree, "vpn@.service")[2]


@pytest.mark.parametrize(
    "files",
    [
        {LIB + "x.service": "[Service]\nStateDirectory=x\nLogsDirectory=x\nCacheDirectory=x\n"},
        {LIB + "x.service": CHRONY, ETC + "x.service.d/own.conf": "[Service]\nConfigurationDirectory=\n"},
        {LIB + "x.service": CHRONY, ETC + "x.service": ""},
        {LIB + "x.service": "[Service]\n# ConfigurationDirectory=x\n"},
    ],
    ids=["below var", "cured by the site", "masked", "a comment"],
)  # fmt: skip
def test_where_there_is_nothing_to_cure_nothing_is_changed(files: dict[str, str]) -> None:
    tree = root(files)
    assert keep_configuration(tree) == tree


def test_a_drop_in_that_gives_a_folder_is_seen_and_one_of_a_folder_for_all_services() -> None:
    said = "[Service]\nConfigurationDirectory=more\n"
    for folder in ("x.service.d", "service.d", "x-.service.d"):
        name = "x-y.service" if folder == "x-.service.d" else "x.service"
        tree = root(
            {LIB + name: "[Service]\nExecStart=/bin/true\n", LIB + f"{folder}/a.conf": said}
        )
        assert "/etc/more" in cured(tree, name)[2]


def test_staging_a_staged_root_again_changes_nothing() -> None:
    made = keep_configuration(root({LIB + "chrony.service": CHRONY}))
    assert keep_configuration(made) == made


SETUP = (REPOSITORY / "overlays/systemd" / ETC / "plugnode-setup.service").read_text()
EARLY = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n"


def waiting(text: str) -> list[str]:
    """The units of such a root that wait for the node's disks because of us, if it has that one."""
    files = {LIB + "it.service": text, ETC + "plugnode-setup.service": SETUP}
    files[LIB + "systemd-udevd.service"] = "[Unit]\nAfter=systemd-sysusers.service\n"
    files |= {LIB + "systemd-random-seed.service": EARLY + "RequiresMountsFor=/var/lib/systemd\n"}
    made = wait_for_disks(root(files))
    ours = [path.decode() for path in made if path.endswith(b"/zz-plugnode-disks.conf")]
    for path in ours:
        assert (
            "[Unit]\nAfter=plugnode-setup.service\n" in read_content(made[path.encode()]).decode()
        )
    return [path.removeprefix(ETC).partition(".d/")[0] for path in ours]


@pytest.mark.parametrize(
    "need",
    [
        "RequiresMountsFor=/var/lib/cloud",
        "[Service]\nStateDirectory=systemd/pstore",
        "[Service]\nLogsDirectory=it",
        "[Mount]\nWhere=/var/lib/nfs/rpc_pipefs",
    ],
)
def test_what_starts_before_file_systems_are_mounted_and_needs_one_waits_for_it(need: str) -> None:
    """It found an empty /var that cannot be written, and failed: cloud-init, what saves a crash."""
    assert waiting(EARLY + need) == ["it.service"]


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nStateDirectory=it\n",
        EARLY + "After=local-fs.target\n[Service]\nStateDirectory=it\n",
        EARLY + "Before=systemd-udevd.service\n[Service]\nStateDirectory=it\n",
        EARLY + "Before=systemd-sysusers.service\n[Service]\nStateDirectory=it\n",
        EARLY + "RequiresMountsFor=/run/it\n",
    ],
    ids=["after sysinit.target", "after file systems", "before setup", "before that", "below run"],
)
def test_a_unit_that_comes_later_or_needs_no_disk_or_must_come_before_waits_for_none(
    text: str,
) -> None:
    assert waiting(text) == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_understands_the_drop_in(tmp_path: Path) -> None:
    made = keep_configuration(
        root({LIB + "plugnode-test@.service": CHRONY + "ProtectSystem=strict\n"})
    )
    for path, entry in made.items():
        if b"plugnode-test" in path and entry.type == FILE:
            place = tmp_path / path.decode().partition("systemd/system/")[2]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read_content(entry))
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", tmp_path / "plugnode-test@one.service"],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    about = [line for line in done.stderr.splitlines() if "plugnode" in line]
    assert about == []


def test_what_is_enabled_is_what_links_targets_and_triggers_start() -> None:
    files = {
        LIB + "multi-user.target": "[Unit]\nWants=\\\n  a.service b.timer\n",
        LIB + "a.service": "[Service]\n",
        LIB + "b.timer": "[Timer]\n",
        LIB + "b.service": "[Unit]\nRequires=c.socket\n",
        LIB + "c.socket": "[Socket]\nService=d.service\n",
        LIB + "d.service": "[Service]\n",
        LIB + "e@.service": "[Service]\n",
        LIB + "idle.service": "[Service]\n",
        LIB + "masked.service": "[Service]\n",
    }
    links = {
        ETC + "default.target": "/lib/systemd/system/multi-user.target",
        ETC + "getty.target.wants/e@tty1.service": "/lib/systemd/system/e@.service",
        ETC + "x.target.requires/masked.service": "/lib/systemd/system/masked.service",
        ETC + "masked.service": "/dev/null",
        ETC + "circle.service": "circle.service",
    }
    names = [unit.name for unit in UnitFiles(root(files, links)).enabled()]
    expected = "a.service b.service b.timer c.socket d.service e@tty1.service multi-user.target"
    assert names == expected.split()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("PIDFile=/etc/it.pid", "PIDFile=/etc/it.pid cannot be written on a node"),
        ("StandardOutput=append:/opt/it.log", "StandardOutput=/opt/it.log cannot be written"),
        ("ListenStream=/srv/%p.sock", "ListenStream=/srv/it.sock cannot be written"),
        ("ReadWritePaths=/opt/it", "ReadWritePaths=/opt/it is not in the root; add that folder"),
        ("ConfigurationDirectory=it/%m", "ConfigurationDirectory=/etc/it/%m is not in the root"),
        ("Where=/data", "Where=/data is not in the root"),
    ],
)
def test_what_an_enabled_unit_needs_and_cannot_have_is_named_with_a_remedy(
    setting: str, said: str
) -> None:
    (line,) = named(setting)
    assert line.startswith("it.service: " + said) and "overlay" in line


@pytest.mark.parametrize(
    "setting",
    [
        "PIDFile=/run/it.pid",
        "PIDFile=/var/run/it.pid",
        "PIDFile=it.pid",
        "PIDFile=%t/it.pid",
        "StandardOutput=journal",
        "StandardError=file:/home/it.log",
        "ListenStream=22",
        "ReadWritePaths=-/opt/none",
        "ReadWritePaths=/etc/there",
        "ConfigurationDirectory=there",
        "PIDFile=/etc/led/it.pid",
        "PIDFile=/etc/it.pid\nPIDFile=",
    ],
)
def test_what_can_be_is_not_named(setting: str) -> None:
    more: Tree = {b"etc/there": directory(), b"etc/led": symlink(b"../var/lib/led")}
    assert named(setting, more=more) == []


def test_a_unit_that_no_node_starts_is_not_named() -> None:
    assert unwritable(root({LIB + "idle.service": "[Service]\nPIDFile=/etc/idle.pid\n"})) == []


@pytest.mark.parametrize(
    ("text", "enforced"),
    [
        ("# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", True),
        ("SELINUX= Enforcing\n", True),
        ("SELINUX=permissive\nSELINUX=enforcing\n", False),
        ("SELINUXTYPE=enforcing\nSELINUX=disabled\n", False),
        ("", False),
    ],
)
def test_selinux_is_enforced_where_its_file_says_so(text: str, enforced: bool) -> None:
    assert selinux.is_enforced(root({"etc/selinux/config": text})) is enforced


def test_a_root_without_selinux_enforces_nothing() -> None:
    assert not selinux.is_enforced(root({}, {"etc/selinux/config": "config"}))
