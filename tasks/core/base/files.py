"""Files on this machine: written whole or not at all, digested, locked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from functools import lru_cache
from typing import Callable, Iterable, Iterator

from .errors import Refused

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)

# Where Plugnode itself is: overlays/, templates/ and docs/ are in it
REPOSITORY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))

Owner = tuple[int, int]  # user, group


def write_atomic(
    path: str,
    data: bytes,
    mode: int = 0o644,
    durable: bool = False,
    owner: Owner | None = None,
) -> bool:
    """Make `path` hold `data`, by a rename; False (and nothing touched) where it already does.

    `durable` flushes the file before the rename and the folder after it, so that a power cut leaves
    the old or the new. Without an `owner` a new file is whoever's writes it.
    """
    if _holds(path, data, mode, owner):
        return False
    replace(path, [data], mode, durable, owner)
    return True


def replace(
    path: str,
    parts: Iterable[bytes | memoryview],
    mode: int = 0o644,
    durable: bool = False,
    owner: Owner | None = None,
) -> None:
    """As `write_atomic`, one part after the other, for what `path` surely does not hold."""
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    new = os.path.join(folder, f".{name}.new")
    unlink_if_there(new)
    try:
        with naming(path), open(new, "xb") as file:
            if owner and os.geteuid() == 0:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.writelines(parts)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        unlink_if_there(new)
        raise
    if durable:
        sync_folder(folder or ".")


def unlink_if_there(path: str) -> None:
    """Remove a file; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _holds(path: str, data: bytes, mode: int, owner: Owner | None) -> bool:
    try:
        status = os.lstat(path)
        if status.st_size != len(data) or status.st_mode != stat.S_IFREG | mode:
            return False
        if owner and owner != (status.st_uid, status.st_gid):
            return False
        return read(path) == data
    except OSError:  # there is none, or its disk does not give it: it is written anew
        return False


def read(path: str | bytes) -> bytes:
    """Give the bytes of a file."""
    with naming(path), open(path, "rb") as file:
        return file.read()


def read_regular(path: str) -> bytes:
    """Give the bytes of a regular file. Raises OSError for what is none: no fifo is waited for."""
    with naming(path), open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        return file.read()


def content(path: str) -> bytes | None:
    """Give the bytes of a file; None where there is none, or a folder.

    Of a fifo none: nobody is waited for.
    """
    try:
        with naming(path), open(path, "rb", opener=_at_once) as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError):
        return None


@contextlib.contextmanager
def naming(path: str | bytes) -> Iterator[None]:
    """Let an error of an open file, or of a name in an open folder, say which one: this path."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if not isinstance(name, (str, bytes)) or "/" not in os.fsdecode(name):
            error.filename, error.filename2 = path, None
        raise


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def sweep(folder: str) -> None:
    """Remove what a killed run was writing into a folder by `write_atomic`.

    Not for folders where others may be at it now.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as names:
        for each in names:
            if each.name[:1] == "." != each.name[1:2] and each.name.endswith(".new"):
                os.unlink(each.path)


def sync_folder(path: str) -> None:
    """Flush a folder's names to disk (fsync(2) of the file alone does not)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            os.fsync(fd)
    finally:
        os.close(fd)


def digest_file(path: str | bytes) -> str:
    """Give the sha256 of a file's bytes, hex."""
    digest, room = hashlib.sha256(), memoryview(bytearray(1 << 18))
    with naming(path), open(path, "rb", buffering=0) as file:
        while size := file.readinto(room):
            digest.update(room[:size])
    return digest.hexdigest()


def digest_once(path: str) -> str:
    """As `digest_file`; while its status is the same, this process reads a file once."""
    path = os.path.realpath(path)
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    return _digest_of(path, (status.st_ino, status.st_size, *times))


@lru_cache(maxsize=64)
def _digest_of(path: str, state: tuple[int, ...]) -> str:
    return digest_file(path)


@contextlib.contextmanager
def locked(path: str, what: str, who: str = "") -> Iterator[None]:
    """Hold the lock file `path` (flock(2): it ends with its process).

    Raises Refused, naming the holder: `who`, pid.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    fd = _open_lock(path)
    try:
        _take(fd, fcntl.LOCK_EX, what)
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        holder = f"{who}pid {os.getpid()} on {os.uname().nodename} since {since}\n"
        with contextlib.suppress(OSError):  # on a full disk it holds all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, holder.encode(), 0)
        yield
    finally:
        os.close(fd)


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise Refused(
            f"{path} is a symlink, and what it leads to is not ours to write: remove it"
        ) from None


PATIENCE = 5  # seconds for what a run that was killed had started, and the kernel still ends
_HOLDER = re.compile(r"pid (\d+) on (\S+) ")


def _take(fd: int, kind: int, what: str) -> None:
    """Raises Refused where somebody has it, or where one that has ended is not wholly gone."""
    last = time.monotonic() + PATIENCE
    while not _try(fd, kind):
        said = os.pread(fd, 200, 0).decode(errors="replace")
        if time.monotonic() > last or not _has_ended(said):
            holder = said.strip() or "somebody"
            raise Refused(f"{what}: {holder} is at it; wait, or end that process")
        time.sleep(0.05)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_ended(said: str) -> bool:
    """Whether the process that a lock file names is one of this machine's no more."""
    found = _HOLDER.search(said)
    here = os.uname().nodename
    return bool(found and found[2] == here and not os.path.exists(f"/proc/{found[1]}"))


def unlocked(path: str, what: str) -> None:
    """Raise Refused, as `locked` would, where somebody holds the lock file `path` now.

    It is held for a moment, shared with others that only look.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _take(fd, fcntl.LOCK_SH, what)
    finally:
        os.close(fd)


def mirror(folder: str, files: dict[str, bytes], besides: str = "") -> list[str]:
    """Make `folder` hold `files` (path below it -> bytes), and no other but those below `besides`.

    Gives the files' paths.
    """
    wanted = {os.path.join(folder, name): data for name, data in files.items()}
    for path, data in wanted.items():
        write_atomic(path, data)
    for path in list(files_in(folder, besides)):
        if path not in wanted:
            os.unlink(path)
    for path, _, _ in os.walk(folder, topdown=False):
        if path != folder and not os.listdir(path):
            os.rmdir(path)
    return list(wanted)


def files_in(folder: str, besides: str = "") -> Iterator[str]:
    """Give the paths of all that is in `folder` and no folder, but for what is below `besides`."""
    left_out = os.path.join(folder, besides)
    for path, below, names in os.walk(folder):
        below[:] = [name for name in below if os.path.join(path, name) != left_out]
        for name in names:
            yield os.path.join(path, name)


def code_files(folder: str) -> Iterator[str]:
    """Give the paths of our own code in `folder`, its tables included."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".table")):
                yield entry.path
            elif entry.name != "__pycache__" and entry.is_dir():
                yield from code_files(entry.path)


def sync(folder: str) -> None:
    """Flush all of a file system (syncfs(2), which Python does not have). Raises OSError."""
    import ctypes  # not for a run with nothing to do

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(fd)


def clear(folder: str, unlink: Callable[[bytes], None] = os.unlink) -> None:
    """Remove a folder and all in it: no symlink is followed, no other file system entered.

    `unlink` removes what is no folder.
    """
    try:
        device = os.lstat(folder).st_dev
    except FileNotFoundError:
        return
    _remove(os.fsencode(folder), device, unlink)


def _remove(path: bytes, device: int, unlink: Callable[[bytes], None]) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return unlink(path)
    if status.st_dev != device:
        raise Refused(f"{os.fsdecode(path)} is a mount point: unmount it, then run this again")
    if status.st_mode & 0o700 != 0o700 and os.geteuid():
        os.chmod(path, 0o700)
    for name in os.listdir(path):
        _remove(path + b"/" + name, device, unlink)
    os.rmdir(path)


def exchange(one: str, other: str) -> None:
    """Let two names change places at once (renameat2(2), which Python does not have)."""
    import ctypes  # not for a run with nothing to do

    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one, None, other)
