"""A page as Chromium shows it: what it looks like, in the light and in the dark, and how wide it becomes."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import zlib

import pytest

THEMES = {"dark": 0, "light": 1}
BACK = {"dark": (0x0D, 0x11, 0x17), "light": (0xF6, 0xF8, 0xFA)}  # --back of templates/page.css
QUIET = (
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)


def screenshot(
    folder: pathlib.Path, html: str, theme: str, width: int, height: int = 1400
) -> bytes:
    """A picture of the page, as PNG."""
    shot = folder / f"{theme}-{width}.png"
    settings = f"blink-settings=preferredColorScheme={THEMES[theme]}"
    done = _browse(folder, html, f"screenshot={shot}", f"window-size={width},{height}", settings)
    assert shot.exists(), done.stderr
    return shot.read_bytes()


def first_pixel(png: bytes) -> tuple[int, ...]:
    """The top left one: no filter of PNG changes it."""
    data = b""
    for at in re.finditer(b"IDAT", png):
        length = int.from_bytes(png[at.start() - 4 : at.start()], "big")
        data += png[at.end() : at.end() + length]
    return tuple(zlib.decompressobj().decompress(data, 4)[1:4])


PROBE = "document.title = document.documentElement.scrollWidth + ' of ' + innerWidth"


def width_in(folder: pathlib.Path, html: str, width: int) -> tuple[int, int]:
    """How wide the page is in a window of about that width, and the window; by a script of ours."""
    whole = html.replace("</body>", f"<script>{PROBE}</script></body>")
    done = _browse(folder, whole, f"window-size={width},900", "dump-dom")
    found = re.search(r"<title>(\d+) of (\d+)</title>", done.stdout)
    assert found, done.stderr
    return int(found[1]), int(found[2])


def _browse(folder: pathlib.Path, html: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Have Chromium look at a page."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")  # Debian's name, EL's
    if not program:
        pytest.skip("apt install chromium")
    (folder / "page.html").write_text(html)
    options = ["headless", "no-sandbox", "disable-gpu", "hide-scrollbars", *QUIET]
    options.append(f"user-data-dir={folder}/profile")
    argv = [program, *(f"--{word}" for word in (*options, *words)), f"file://{folder}/page.html"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=folder)
