"""The report: what a reviewer reads of a build, in a browser, on a phone, in the dark; what no name can do to it."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import subprocess
import time
import zlib
from html.parser import HTMLParser

import pytest

import small_site
from conftest import REPOSITORY, Doit
from tasks.core import cpio, mtree, report
from tasks.core.release import Release
from tasks.core.site import Deploy, Image, Mac, Network, Node, Reference, Server, Site
from tasks.core.tree import DIR, FILE, LINK, Entry, Tree

TEMPLATES = (str(REPOSITORY / "templates"),)
HOSTILE = (
    b"<script>alert('x')</script>\"&\n\xff\xe2\x80\xae"  # markup, quotes, a line, no UTF-8, right-to-left override
)
VOID = {"meta", "br", "link"}


def node(number: int, **more) -> Node:
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Node(f"wn{number:05}", Mac(f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"), ip, "worker", **more)


def site(*nodes: Node, **more) -> Site:
    image = Image("worker", Reference("path", "/a/folder/of/this/machine"))
    servers = (Server("boot1", "10.0.0.1"),)
    return Site("grid", Network("10.0.0.0/8"), servers, (image,), Deploy(), "", lambda: nodes, **more)


def file(size: int, mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, 0, 0, size, digest="0" * 64)


NOTES = {
    "scrubbed": [["etc/ssh/ssh_host_rsa_key", "delete", "/etc/ssh/ssh_host_*", "the node's own", 1]],
    "capabilities": ["usr/bin/ping"], "capabilities_remedy": "make it setuid", "not_world_readable": ["etc/shadow"],
    "sockets": [], "other_file_systems": [], "unknown_users": [4711], "unknown_groups": [], "unprivileged": "",
}  # fmt: skip
ROOT: Tree = {
    b"": Entry(DIR, 0o755, 0, 0), b"usr": Entry(DIR, 0o755, 0, 0),
    b"usr/lib/x/y/big": file(5 << 20), b"usr/lib/z": file(1 << 20), b"usr/bin/su": file(70_000, 0o4755),
    b"etc/hosts": file(10),
}  # fmt: skip


def built(root: Tree = ROOT, notes: dict | None = None, packed: Tree | None = None) -> report.Built:
    release = Release("worker-0123456789ab", "worker", "quiet", "", "", "", "", "6.1.0-9", "own", len(root), 6 << 20)
    made = {"kind": "own", "base": "busybox: /a/folder/of/this/machine/bin/busybox", "modules": ["nfs"], "notes": []}
    initrd = packed or {b"init": Entry(FILE, 0o755, 0, 0, 2, data=b"#!"), b"sh": Entry(LINK, 0o777, 0, 0, link=b"init")}
    image = site().images[0]
    packed_bytes = cpio.gzip(cpio.write_newc(initrd))
    return report.Built(image, release, {**NOTES, **(notes or {})}, made, mtree.dump(root), packed_bytes, 8 << 20)


def page(*nodes: Node, one: report.Built | None = None, files: dict[str, bytes] | None = None) -> str:
    places = ("/a/folder/of/this/machine",)
    facts = report.Facts(site(*nodes), (one or built(),), files or {"hosts": b"10.0.0.7 wn00007\n"}, places)
    return report.render(report.view(facts), TEMPLATES).decode()


class Outline(HTMLParser):
    """Elements, what is open, and text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
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

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_it_says_what_runs_and_on_which_nodes():
    seen = Outline(page(node(7), node(8, groups=("gpu",), release="worker-0000000000aa")))
    for words in ("grid", "worker-0123456789ab", "6.1.0-9", "wn00007", "10.0.0.8", "gpu", "quiet", "nfs", "sh → init"):
        assert words in seen.text
    titles = [attributes["title"] or "" for attributes in seen.all("li") if attributes.get("title")]
    assert titles[0].startswith("wn00007: 10.0.0.7, 52:54:00:00:00:07")
    assert "pinned to worker-0000000000aa" in titles[1]


def test_it_lists_what_a_reviewer_must_not_miss():
    text = Outline(page(node(7))).text
    for words in ("/usr/bin/su", "4755", "etc/ssh/ssh_host_rsa_key", "the node's own", "usr/bin/ping", "etc/shadow"):
        assert words in text
    assert "make it setuid" in text and "4711" in text
    assert "1 file with capabilities, which NFS does not carry" in text


def test_the_largest_folders_are_counted_two_deep():
    rows = report.folders(map(report._owned, report._FILE.finditer(mtree.dump(ROOT))))
    assert [(row["name"], row["size"], row["files"]) for row in rows] == [
        ("/usr/lib", 6 << 20, 2), ("/usr/bin", 70_000, 1), ("/etc", 10, 1),
    ]  # fmt: skip
    assert rows[0]["share"] == 100


def test_names_of_any_bytes_are_text_and_nothing_else():
    name = HOSTILE.replace(b"/", b"")
    as_noted = report.show(name), name.decode(errors="surrogateescape")
    notes = {key: list(as_noted) for key in ("capabilities", "not_world_readable", "sockets", "other_file_systems")}
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
    html = page(*nodes, dataclasses.replace(node(10_001), release="worker-0000000000aa"))
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
    assert not seen.all("script", "img", "link", "iframe") and "url(" not in html and "@import" not in html
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
    style = (REPOSITORY / "templates/report.html").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.S)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", block))
    for back in ("back", "card", "code", "node", "own", "warn"):
        assert contrast(colours["text"], colours[back]) >= 7
    for back in ("back", "card"):
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
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_same_inputs_make_the_same_page_in_any_folder(tmp_path: pathlib.Path):
    made = []
    for folder in (tmp_path / "one", tmp_path / "another"):
        doit = Doit(folder)
        reference = small_site.reference(folder / "reference", files=3)
        small_site.write(doit.site, reference)
        doit("report")
        made.append((doit.build / "report.html").read_bytes())
    assert made[0] == made[1]
    assert b"ssh" in made[0] or b"etc/shadow" in made[0]
    for secret in (tmp_path, REPOSITORY):
        assert str(secret).encode() not in made[0]


# --- in a browser


def browser(tmp_path: pathlib.Path, html: str, *words: str) -> subprocess.CompletedProcess:
    """Chromium, looking at a page."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")  # Debian's name, EL's name
    if not program:
        pytest.skip("apt install chromium")
    (tmp_path / "page.html").write_text(html)
    quiet = ["no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"]
    options = ["headless", "no-sandbox", "disable-gpu", "hide-scrollbars", *quiet, f"user-data-dir={tmp_path}/profile"]
    argv = [program, *(f"--{word}" for word in (*options, *words)), f"file://{tmp_path}/page.html"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=tmp_path)


@pytest.mark.parametrize("theme, back", [(1, (0xF6, 0xF8, 0xFA)), (0, (0x0D, 0x11, 0x17))], ids=["light", "dark"])
def test_a_browser_shows_it_in_light_and_dark(tmp_path, theme, back):
    shot = tmp_path / "shot.png"
    words = [f"screenshot={shot}", "window-size=1000,1400", f"blink-settings=preferredColorScheme={theme}"]
    done = browser(tmp_path, page(*map(node, range(1, 41))), *words)
    assert shot.exists(), done.stderr
    assert first_pixel(shot.read_bytes()) == back
    assert shot.stat().st_size > 30_000, "an empty page is smaller"


def first_pixel(png: bytes) -> tuple[int, ...]:
    """The top left one: no filter of PNG changes it."""
    data = b"".join(png[at.end() : at.end() + int.from_bytes(png[at.start() - 4 : at.start()])]
                    for at in re.finditer(b"IDAT", png))  # fmt: skip
    return tuple(zlib.decompressobj().decompress(data, 4)[1:4])


def test_nothing_is_wider_than_a_phone(tmp_path):
    """All of it unfolded, with long names; a script of the test's own says how wide it became."""
    long = "usr/share/" + "long" * 60
    one = built({long.encode(): file(9, 0o4755)}, {"not_world_readable": [long], "capabilities": [long]})
    html = page(*map(node, range(1, 41)), one=one, files={"exports": b"wide " * 100}).replace(
        "<details", "<details open"
    )
    probe = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    done = browser(tmp_path, html.replace("</body>", probe), "window-size=400,900", "dump-dom")
    found = re.search(r"<title>(\d+) of (\d+)</title>", done.stdout)
    assert found, done.stderr
    assert int(found[1]) <= int(found[2]) <= 500
