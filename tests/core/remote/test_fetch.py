"""A root file from another server, which may be anybody: real sockets, and what lies behind them."""

from __future__ import annotations

import hashlib
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tasks.core.release import Release
from tasks.core.remote import fetch

DATA = bytes(range(256)) * 20_000
RELEASE = Release(
    id="worker-0123456789ab",
    image="worker",
    cmdline="",
    root="",
    xattrs="",
    initrd="",
    kernel="",
    kernel_version="",
    network_root="own",
    entries=1,
    bytes=1,
    root_kind="ram",
    root_name="root.erofs",
    root_file=hashlib.sha256(DATA).hexdigest(),
    root_bytes=len(DATA),
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
Answer = Callable[[socket.socket], None]


def says(data: bytes) -> Answer:
    return lambda line: line.sendall(data)


def dribbles(line: socket.socket) -> None:
    """Now and then a byte: never silent for long."""
    line.sendall(HEAD % len(DATA))
    while True:
        line.sendall(b"x")
        time.sleep(0.05)


def dribbles_its_head(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        line.sendall(b"x")
        time.sleep(0.05)


def is_silent(line: socket.socket) -> None:
    line.sendall(HEAD % len(DATA) + DATA[:1000])
    line.recv(1)


def floods(line: socket.socket) -> None:
    """Chunks without an end."""
    line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        line.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")


@pytest.fixture
def server(monkeypatch) -> Iterator[Callable[[Answer], str]]:
    """Has the next address of this machine answer so; gives that address."""
    listening: list[socket.socket] = []
    port = 0

    def serve(answer: Answer) -> str:
        nonlocal port
        address = f"127.0.0.{len(listening) + 1}"
        listening.append(socket.create_server((address, port)))
        port = listening[0].getsockname()[1]
        monkeypatch.setattr(fetch, "PORT", port)
        threading.Thread(target=talk, args=(listening[-1], answer), daemon=True).start()
        return address

    monkeypatch.setattr(fetch, "SILENCE", 0.5)
    monkeypatch.setattr(fetch, "SLOWEST", 10_000_000)
    yield serve
    for each in listening:
        each.close()


def talk(listening: socket.socket, answer: Answer) -> None:
    line, _ = listening.accept()
    with line:
        line.recv(1 << 16)
        try:
            answer(line)
        except OSError:
            pass  # who asked has hung up


GOOD = says(HEAD % len(DATA) + DATA)


def test_what_has_the_right_digest_is_kept(server, tmp_path):
    path = tmp_path / "root.erofs"
    address = server(GOOD)
    assert fetch.fetch_from_any([address], RELEASE, str(path)) == (address, {})
    assert path.read_bytes() == DATA


def test_what_is_asked_for_is_the_releases_file(monkeypatch, tmp_path):
    asked: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))
    asking = threading.Thread(target=lambda: asked.append(listening.accept()[0].recv(1000)))
    asking.start()
    monkeypatch.setattr(fetch, "PORT", listening.getsockname()[1])
    fetch.fetch_from_any(["127.0.0.1"], RELEASE, str(tmp_path / "root.erofs"))
    asking.join()
    assert asked[0].startswith(b"GET /worker-0123456789ab/root.erofs HTTP/1.1\r\n")


BAD = {
    "redirect": (says(b"HTTP/1.1 302 Found\r\nLocation: /root.erofs\r\n\r\n"), "answered 302"),
    "missing": (says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "answered 404"),
    "another": (says(HEAD % len(DATA) + DATA[::-1]), "its sha256 is not the release's"),
    "too long": (says(HEAD % 10**15 + DATA), "says that it has 1000000000000000 bytes"),
    "longer": (floods, f"gave more than {len(DATA)} bytes"),
    "shorter": (says(HEAD % len(DATA) + DATA[:-1]), f"gave {len(DATA) - 1} of {len(DATA)} bytes"),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n" * 9), "SSH-2.0"),
    "nothing": (says(b""), "Remote end closed connection"),
    "silent": (is_silent, "timed out"),
    "slow": (dribbles, "gives less than 10000 kB a second"),
    "slow head": (dribbles_its_head, "gives less than 10000 kB a second"),
}


@pytest.mark.parametrize("what", BAD)
def test_all_else_is_left_with_a_reason_and_the_next_one_is_asked(server, tmp_path, what):
    answer, why = BAD[what]
    path = tmp_path / "root.erofs"
    bad = server(answer)
    source, reasons = fetch.fetch_from_any([bad], RELEASE, str(path))
    assert source == "" and why in reasons[bad], reasons
    assert reasons[bad] and len(reasons[bad]) <= fetch.LONGEST
    assert not path.exists()
    good = server(GOOD)
    source, reasons = fetch.fetch_from_any(["127.0.0.99", good], RELEASE, str(path))
    assert (source, reasons) == (good, {"127.0.0.99": "Connection refused"})
    assert pathlib.Path(path).read_bytes() == DATA
