"""The report: what a reviewer reads of a build, in a browser, on a phone, in the dark; what no name can do to it."""

from __future__ import annotations

import pathlib
import re
import sys
import time
from html.parser import HTMLParser

import jinja2
import pytest

from tasks.core.archive import compression, cpio
from tasks.core.base.text import show_path
from tasks.core.release import Release
from tasks.core.report import view
from tasks.core.site.model import Deploy, Image, Mac, Network, Node, Reference, Server, Site
from tasks.core.tree import mtree
from tasks.core.tree.model import DIR, FILE, LINK, Entry, Tree
from tests.support import sample_site
from tests.support.browser import BACK, first_pixel, screenshot, width_in
from tests.support.commands import REPOSITORY, Doit

TEMPLATES = (str(REPOSITORY / "templates"),)
HOSTILE = b"<script>alert('x')</script>\"&\n\xff\xe2\x80\xae"  # markup, quotes, a line, no UTF-8, right-to-left override
VOID = {"meta", "br", "link"}


def node(number: int, **more) -> Node:
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Node(
        f"wn{number:05}",
        Mac(f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"),
        ip,
        "worker",
        **more,
    )


def site(*nodes: Node, **more) -> Site:
    image = Image("worker", Reference("path", "/a/folder/of/this/machine"))
    servers = (Server("boot1", "10.0.0.1"),)
    return Site(
        "grid", Network("10.0.0.0/8"), servers, (image,), Deploy(), "", lambda: nodes, **more
    )


def file(size: int, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 0, 0, size, digest="0" * 64)


NOTES = {
    "kept": [],
    "keep_idle": [],
    "scrubbed": [["etc/ssh/ssh_host_rsa_key", "delete", "/etc/ssh/ssh_host_*", "the node's own", 1]],
    "capabilities": ["usr/bin/ping"], "capabilities_remedy": "make it setuid", "not_world_readable": ["etc/shadow"],
    "open_devices": [], "sockets": [], "other_file_systems": [], "unknown_users": [4711], "unknown_groups": [], "unprivileged": "",
}  # fmt: skip
ROOT: Tree = {
    b"": Entry(DIR, 0o755, 0, 0), b"usr": Entry(DIR, 0o755, 0, 0),
    b"usr/lib/x/y/big": file(5 << 20), b"usr/lib/z": file(1 << 20), b"usr/bin/su": file(70_000, 0o4755),
    b"etc/hosts": file(10),
}  # fmt: skip


def built(
    root: Tree = ROOT, notes: dict | None = None, packed: Tree | None = None
) -> view.BuiltImage:
    release = Release(
        "worker-0123456789ab",
        "worker",
        "quiet",
        "",
        "",
        "",
        "",
        "6.1.0-9",
        "own",
        len(root),
        6 << 20,
    )
    made = {
        "kind": "own",
        "base": "busybox: /a/folder/of/this/machine/bin/busybox",
        "modules": ["nfs"],
        "notes": [],
    }
    initrd = packed or {
        b"init": Entry(FILE, 0o755, 0, 0, 2, data=b"#!"),
        b"sh": Entry(LINK, 0o777, 0, 0, link=b"init"),
    }
    image = site().images[0]
    packed_bytes = compression.gzip(cpio.write_newc(initrd))
    return view.BuiltImage(
        image, release, {**NOTES, **(notes or {})}, made, mtree.dump(root), packed_bytes, 8 << 20
    )


TREE = {
    "added": ["opt/tool"], "removed": ["usr/old"], "changed": ["usr/bin/su"],
    "notable": ["usr/bin/su: runs as its owner or group now (mode 4755, owner 0:0)"],
    "folders": {"opt": [1, 0, 0, 7], "usr": [0, 1, 0, -2048], "usr/bin": [0, 0, 1, 0]},
}  # fmt: skip
LINES = [
    "@@ -1 +1 @@",
    "-INITRD worker-0000000000aa/initrd.img",
    "+INITRD worker-0123456789ab/initrd.img",
]
HISTORY = {
    "before": "worker-0000000000aa", "after": "worker-0123456789ab", "unknown": "",
    "packages": {"added": {"new": "2"}, "removed": {"old": "1"}, "changed": {"libc6": ["2.36", "2.37"]}},
    "texts": [{"path": "etc/motd", "diff": ["@@ -1 +1 @@", "-one", "+two"], "why": ""},
              {"path": "etc/key", "diff": [], "why": "it may hold a secret"}],
}  # fmt: skip
PLAN = {
    "changed": True,
    "history": [HISTORY],
    "releases": [
        {"image": "worker", "before": "worker-0000000000aa", "after": "worker-0123456789ab", "nodes": ["wn7"]}
    ],
    "switches": [{"before": None, "after": "worker-0000000000bb", "nodes": ["wn8", "wn9"]}],
    "roots": [{
        "release": "worker-0123456789ab", "compared_with": "worker-0000000000aa", **TREE,
        "rights": {"before": {"setuid": 3, "hidden": 5}, "after": {"setuid": 4, "hidden": 5}},
    }],
    "boots": [{
        "release": "worker-0123456789ab", "compared_with": "worker-0000000000aa", "initrd_files": TREE,
        **{key: {"before": "old", "after": "new"} for key in ("kernel_version", "kernel", "initrd", "cmdline")},
    }],
    "site_data": True,
    "nodes": {"added": ["wn10", "wn11"], "removed": [], "changed": {"wn1": ["mac"], "wn2": ["mac"]}},
    "site_files": [{"path": "plugnode/hosts", "action": "add", "found": "", "diff": ["+10.0.0.7 wn7"]}],
    "loaders": ["pxelinux.0"],
    "files": [{"path": "/tftpboot/plugnode/worker.cfg", "action": "change", "found": "edited by hand", "diff": LINES}],
    "by_hand": [],
    "reloads": [{"path": "/etc/exports.d/plugnode-a.exports", "command": "exportfs -ra"}],
    "warnings": ["/srv/old stays exported to 10.0.0.0/24"],
    "prunable": [{"release": "worker-0000000000cc", "why": "in use until 120 days ago"}],
}  # fmt: skip
CHECKS = [
    ["dhcpd.conf", "ok", ""],
    ["exports", "skipped", "exportfs is not installed"],
    ["grub.cfg", "failed", "line 2"],
]
BOOT = {
    "release": "worker-0123456789ab", "node": "wn7", "firmware": "bios", "dhcp": "kea", "seconds": 38.25,
    "tftp_bytes": 19 << 20, "nfs_bytes": 80 << 20, "nfs_calls": 9000, "holds": False,
    "stages": [{"stage": "loader", "at": 0.0, "seconds": 9.5, "tftp": 18 << 20, "nfs": 0, "calls": 0},
               {"stage": "ready", "at": 38.25, "seconds": 0.0, "tftp": 0, "nfs": 0, "calls": 0}],
    "checks": [{"holds": False, "what": "sshd answers", "found": "nothing"}],
}  # fmt: skip
FOUND = view.Findings({"compared": "", "servers": {"boot1": PLAN}}, CHECKS, BOOT)


def page(
    *nodes: Node,
    one: view.BuiltImage | None = None,
    files: dict[str, bytes] | None = None,
    found: view.Findings = FOUND,
) -> str:
    places = ("/a/folder/of/this/machine",)
    facts = view.ReportFacts(
        site(*nodes), (one or built(),), files or {"hosts": b"10.0.0.7 wn00007\n"}, places, found
    )
    return view.render_report(view.view(facts), TEMPLATES).decode()


class Outline(HTMLParser):
    """Elements, what is open, and text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        self.words += data.split()

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_its_template_is_compiled_once(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    first = page(node(7))
    monkeypatch.delattr(jinja2.Environment, "_generate")
    assert page(node(7)) == first


def test_it_says_what_runs_and_on_which_nodes():
    seen = Outline(page(node(7), node(8, groups=("gpu",), release="worker-0000000000aa")))
    for words in (
        "grid",
        "worker-0123456789ab",
        "6.1.0-9",
        "wn00007",
        "10.0.0.8",
        "gpu",
        "quiet",
        "nfs",
        "sh → init",
    ):
        assert words in seen.text
    titles = [attributes["title"] or "" for attributes in seen.all("li") if attributes.get("title")]
    assert titles[0].startswith("wn00007: 10.0.0.7, 52:54:00:00:00:07")
    assert "pinned to worker-0000000000aa" in titles[1]


def test_it_lists_what_a_reviewer_must_not_miss():
    text = Outline(page(node(7))).text
    for words in (
        "/usr/bin/su",
        "4755",
        "etc/ssh/ssh_host_rsa_key",
        "the node's own",
        "usr/bin/ping",
        "etc/shadow",
    ):
        assert words in text
    assert "make it setuid" in text and "4711" in text
    assert "1 file with capabilities, which NFS does not carry" in text


def test_the_plan_is_on_it_with_whom_it_touches_and_every_difference():
    text = " ".join(Outline(page(node(7))).words)
    for words in (
        "compared with what the server holds", "worker worker-0000000000aa → worker-0123456789ab",
        "1 node boots it from the next boot on: wn7", "nothing → worker-0000000000bb", "wn[8-9]",
        "4 files run as owner or group (3 before), 5 are not world-readable.",
        "/usr/bin/su: runs as its owner or group now", "/usr 0 1 0 −2.0 KiB", "1 path removed /usr/old",
        "added 2 wn[10-11]", "changed: mac 2 wn[1-2]", "edited by hand: that is lost",
        "-INITRD worker-0000000000aa/initrd.img +INITRD worker-0123456789ab/initrd.img",
        "exportfs -ra , for /etc/exports.d/plugnode-a.exports", "/srv/old stays exported to 10.0.0.0/24",
        "removes worker-0000000000cc : in use until 120 days ago",
    ):  # fmt: skip
        assert words in text


def test_what_checks_said_and_what_a_boot_took_is_on_it():
    text = " ".join(Outline(page(node(7))).words)
    assert (
        "1 failed, 1 skipped, 1 passed." in text
        and "exports skipped exportfs is not installed" in text
    )
    assert "wn7 , a virtual machine with BIOS and kea, was ready 38.2 s after power-on" in text
    assert "loader 9.5 18.0 MiB 0 B" in text and "sshd answers failed nothing" in text
    assert "an earlier release" not in text and "Not on this page" not in text
    before = FOUND._replace(boot={**BOOT, "release": "worker-0000000000aa"})
    assert "an earlier release: worker-0000000000aa" in Outline(page(node(7), found=before)).text


def test_what_should_not_be_missed_comes_first():
    seen = Outline(page(node(7)))
    text = " ".join(seen.words).partition("Plan What")[0]
    for words in (
        "Checks : grub.cfg failed", "Boot : wn7 came up, but not as it should: sshd answers",
        "Plan : a mode, an owner or a setuid bit of worker-0123456789ab differs", "worker : 1 file with capabilities",
    ):  # fmt: skip
        assert words in text


def test_what_was_not_looked_at_is_said_with_the_command_that_does():
    text = " ".join(Outline(page(node(7), found=view.Findings(checks=CHECKS))).words)
    assert (
        "./doit plan , what a deploy would change; ./doit boot , how long" in text
        and "./doit check" not in text
    )


def test_a_plan_of_many_servers_names_each_and_one_without_changes_says_so():
    nothing = {
        **PLAN,
        "changed": False,
        **{key: [] for key in ("releases", "switches", "roots", "boots", "files")},
    }
    two = {"compared": "", "servers": {"boot1": PLAN, "boot2": nothing}}
    seen = Outline(page(node(7), found=view.Findings(plan=two)))
    text = " ".join(seen.words)
    assert "boot2 No changes." in text and "compared with what the servers hold" in text


def test_servers_that_say_the_same_are_told_of_once_with_the_counts_at_the_top():
    other = {**PLAN, "files": [{**PLAN["files"][0], "diff": LINES[:1]}]}  # type: ignore[index]
    found = view.Findings(plan={"compared": "", "servers": {"boot1": PLAN, "boot2": other}})
    text = " ".join(Outline(page(node(7), found=found)).words)
    assert "boot[1-2] plan 3 nodes boot another release 1 release to publish 3 packages" in text
    assert text.count("1 node boots it from the next boot on") == 1
    assert text.index("boot[1-2] worker worker-0000") < text.index("boot1 Site data")
    assert "boot2 Site data" in text


def test_packages_and_texts_that_change_are_on_it_and_what_is_not_shown():
    text = " ".join(Outline(page(node(7))).words)
    for words in (
        "From worker-0000000000aa to worker-0123456789ab", "3 packages Package Before After",
        "libc6 2.36 2.37", "new 2", "old 1", "/etc/motd +1 −1 @@ -1 +1 @@ -one +two",
        "/etc/key differs; not shown: it may hold a secret",
    ):  # fmt: skip
        assert words in text
    unknown = {**HISTORY, "packages": None, "unknown": "not known"}
    plan = {**PLAN, "history": [unknown]}
    found = view.Findings(plan={"compared": "", "servers": {"boot1": plan}})
    assert "Packages: not known." in " ".join(Outline(page(node(7), found=found)).words)
    del plan["history"]  # as an earlier version left it
    page(node(7), found=found)


def test_whose_commit_it_is_stands_at_the_top():
    revision = {
        "commit": "0123456789abcdef",
        "author": "Alice <b>",
        "time": "2026-11-29T12:39:28+00:00",
        "dirty": True,
    }
    facts = view.ReportFacts(site(node(7)), (built(),), {}, (), FOUND, revision)
    html = view.render_report(view.view(facts), TEMPLATES).decode()
    text = " ".join(Outline(html).words)
    words = "Commit 0123456789ab by Alice <b>, 2026-11-29 12:39:28+00:00 , with local changes"
    assert words in text and text.index(words) < text.index("Worth a look")


def test_the_largest_folders_are_counted_two_deep():
    rows = view.folders(mtree.dump(ROOT))
    assert [(row["name"], row["size"], row["files"]) for row in rows] == [
        ("/usr/lib", 6 << 20, 2), ("/usr/bin", 70_000, 1), ("/etc", 10, 1),
    ]  # fmt: skip
    assert rows[0]["share"] == 100


def test_names_of_any_bytes_are_text_and_nothing_else():
    name = HOSTILE.replace(b"/", b"")
    as_noted = show_path(name), name.decode(errors="surrogateescape")
    notes = {
        key: list(as_noted)
        for key in ("capabilities", "not_world_readable", "sockets", "other_file_systems")
    }
    notes["scrubbed"] = [[*as_noted, *as_noted, 1]]
    packed = {name: Entry(LINK, 0o777, 0, 0, link=HOSTILE)}
    one = built({name + b"/" + name: file(9, 0o6755)}, notes, packed)
    html = page(node(7, wipe="<em>"), one=one, files={"tftp/<i>": HOSTILE})
    seen = Outline(html)
    assert not seen.all("script", "em", "i")
    assert "<script>alert('x')<script>" in seen.text and "\u202e" not in html and "\\u202e" in html
    assert "\\xff" in html and "\ufffd" not in html


def test_ten_thousand_nodes_are_folded():
    nodes = [node(number, groups=("gpu",) if number > 9000 else ()) for number in range(1, 10_001)]
    start = time.process_time()
    html = page(*nodes, node(10_001)._replace(release="worker-0000000000aa"))
    assert time.process_time() - start < 5
    assert "wn[00001-09000,10001]" in html and "wn[09001-10000]" in html and len(html) < 100_000
    assert "pinned to worker-0000000000aa" in html


def test_long_lists_and_files_are_cut_and_say_so():
    many = [f"etc/{number}" for number in range(2000)]
    files = {f"tftp/{number:03}": b"line\n" * 20_000 for number in range(100)}
    seen = Outline(page(node(7), one=built(notes={"not_world_readable": many}), files=files))
    assert "… and 1\u202f500 more; all are in build/worker/notes.json" in seen.text
    assert "… and 7\u202f200 more; all are in build/configs/tftp/000" in seen.text
    assert "… and 40 more; all are in build/configs" in seen.text


def test_it_is_one_file_without_scripts():
    seen = Outline(html := page(node(7)))
    assert (
        not seen.all("script", "img", "link", "iframe")
        and "url(" not in html
        and "@import" not in html
    )
    ids = {attributes["id"] for _, attributes in seen.elements if "id" in attributes}
    assert {attributes["href"] for attributes in seen.all("a")} <= {f"#{name}" for name in ids}


def test_it_can_be_read_aloud():
    seen = Outline(page(node(7), node(8, wipe="again")))
    levels = [int(tag[1]) for tag, _ in seen.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all("scope" in attributes for attributes in seen.all("th"))
    assert all(attributes.get("aria-labelledby") for attributes in seen.all("section"))
    assert all(attributes.get("aria-label") for attributes in seen.all("pre", "nav"))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough(theme):
    style = (REPOSITORY / "templates/page.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.S)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", block))
    for back in (
        "back",
        "card",
        "code",
        "node",
        "own",
        "warn",
        "good",
        "bad",
        "quiet",
        "add",
        "gone",
    ):
        assert contrast(colours["text"], colours[back]) >= 7
    for line, back in (
        ("good-line", "card"),
        ("bad-line", "card"),
        ("warn-line", "card"),
        ("quiet-line", "card"),
    ):
        assert contrast(colours[line], colours[back]) >= 2.5, "of a badge's border"
    for back in ("back", "card", "code"):
        assert contrast(colours["soft"], colours[back]) >= 4.5
    for back in ("back", "card", "warn"):
        assert contrast(colours["link"], colours[back]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio of two colours."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_same_inputs_make_the_same_page_in_any_folder(tmp_path: pathlib.Path):
    made = []
    for folder in (tmp_path / "one", tmp_path / "another"):
        doit = Doit(folder)
        reference = sample_site.reference(folder / "reference", files=3)
        sample_site.write(doit.site, reference)
        doit("report")
        made.append((doit.build / "report.html").read_bytes())
    assert made[0] == made[1]
    assert b"ssh" in made[0] or b"etc/shadow" in made[0]
    for secret in (tmp_path, REPOSITORY):
        assert str(secret).encode() not in made[0]


def test_a_command_puts_what_it_found_on_the_page_and_another_build_forgets_it(
    built: Doit, reference
):
    def shown() -> str:
        return " ".join(Outline((built.build / "report.html").read_text()).words)

    assert "./doit plan , what" in shown() and "./doit check , what" in shown()
    built("plan", f"destdir={built.folder}/dest")
    assert (
        "2 nodes boot it from the next boot on: wn[001-002]" in shown()
        and "./doit check , what" in shown()
    )
    built("check")
    assert "dhcpd.conf ok" in shown() and "wn[001-002]" in shown()
    assert built() in ("", ".  report\n") and built() == ""
    sample_site.write(built.site, reference, sample_site.NODES[:1])
    built()
    assert "./doit plan , what" in shown() and "./doit check , what" in shown()


# --- in a browser


@pytest.mark.parametrize("theme", BACK)
def test_a_browser_shows_it_in_light_and_dark(tmp_path, theme):
    shot = screenshot(tmp_path, page(*map(node, range(1, 41))), theme, 1000)
    assert first_pixel(shot) == BACK[theme]
    assert len(shot) > 30_000, "an empty page is smaller"


def test_nothing_is_wider_than_a_phone(tmp_path):
    """All of it unfolded, with long names; a script of the test's own says how wide it became."""
    long = "usr/share/" + "long" * 60
    one = built(
        {long.encode(): file(9, 0o4755)}, {"not_world_readable": [long], "capabilities": [long]}
    )
    tree = {**TREE, "added": [long], "notable": [long], "folders": {long: [1, 0, 0, 7]}}
    root = {**PLAN["roots"][0], **tree}  # type: ignore[index]
    change = {
        "path": "/tftpboot/" + long,
        "action": "add",
        "found": "",
        "diff": ["+" + "word " * 200, "+" + long],
    }
    found = FOUND._replace(
        plan={"compared": "", "servers": {"boot1": {**PLAN, "roots": [root], "files": [change]}}}
    )
    html = page(*map(node, range(1, 41)), one=one, files={"exports": b"wide " * 100}, found=found)
    html = html.replace("<details", "<details open")
    width, window = width_in(tmp_path, html, 400)
    assert width <= window <= 500
