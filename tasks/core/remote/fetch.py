"""A root file fetched from another boot server by HTTP, and known by its sha256.

Nobody proves who answers, so nothing of an answer is believed: it leads nowhere else, is as long as
the release says, and is kept when all of it has the digest that came by ssh.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..base.errors import Refused
from ..release import Release

if TYPE_CHECKING:
    # in functions: they bring much along, and most work fetches nothing
    import http.client
    import socket

PORT = 80
CONNECT = 5  # seconds until one must be connected
SILENCE = 30  # seconds without a byte
SLOWEST = 250_000  # bytes a second, in the mean
PIECE = 1 << 20
LONGEST = 100  # characters of a reason


def fetch_from_any(
    addresses: Iterable[str], release: Release, path: str
) -> tuple[str, dict[str, str]]:
    """The server from which its root file came, "" for none; and why not from those before it."""
    import http.client

    reasons: dict[str, str] = {}
    for address in addresses:
        try:
            fetch_root_file(address, release, path)
        except (OSError, http.client.HTTPException, Refused) as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            reasons[address] = (_reason(error) or type(error).__name__)[:LONGEST]
        else:
            return address, reasons
    return "", reasons


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def fetch_root_file(address: str, release: Release, path: str) -> None:
    """Write it to `path`. Raises OSError, HTTPException or Refused where it is not to be had."""
    import http.client

    line = http.client.HTTPConnection(address, PORT, timeout=CONNECT)
    line.connect()
    with line.sock as connection, _in_time(connection, release.root_bytes):
        line.request("GET", f"/{release.id}/{release.root_name}")
        with line.getresponse() as answer:
            _must_be_it(answer, release.root_bytes)
            _keep(answer, release, path)


@contextlib.contextmanager
def _in_time(connection: socket.socket, size: int) -> Iterator[None]:
    """Hang up on one that is too slow, and raise Refused then, whatever the line says of it."""
    import socket

    late = threading.Event()

    def hang_up() -> None:
        late.set()
        with contextlib.suppress(OSError):  # it has ended just now
            connection.shutdown(socket.SHUT_RDWR)

    connection.settimeout(SILENCE)
    limit = threading.Timer(SILENCE + size / SLOWEST, hang_up)
    limit.daemon = True
    limit.start()
    try:
        yield
    except Exception:
        if late.is_set():
            raise Refused(f"gives less than {SLOWEST // 1000} kB a second") from None
        raise
    finally:
        limit.cancel()


def _must_be_it(answer: http.client.HTTPResponse, size: int) -> None:
    from http import HTTPStatus

    if answer.status != HTTPStatus.OK:
        raise Refused(f"answered {answer.status}")
    if answer.length not in (None, size):
        raise Refused(f"says that it has {answer.length} bytes, not {size}")


def _keep(answer: http.client.HTTPResponse, release: Release, path: str) -> None:
    """Write what comes, and no more than there can be."""
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        while size <= release.root_bytes and (piece := answer.read(PIECE)):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    if size != release.root_bytes:
        what = "more than" if size > release.root_bytes else f"{size} of"
        raise Refused(f"gave {what} {release.root_bytes} bytes")
    if digest.hexdigest() != release.root_file:
        raise Refused("its sha256 is not the release's")
