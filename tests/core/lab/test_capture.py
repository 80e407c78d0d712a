"""What is read off the wire of a lab."""

from __future__ import annotations

from tasks.core.lab.capture import calls_of_nfs


def record(*, message: int = 0, program: int = 100003, length: int = 96) -> bytes:
    """An RPC record: message 0 is a call, 1 a reply."""
    words = [0x8000_0000 | length, 0x1234, message, 2, program, 3]
    return b"".join(word.to_bytes(4, "big") for word in words).ljust(length + 4, b"\0")


def test_every_call_of_nfs_in_a_segment_is_counted_and_nothing_else():
    segment = (
        record() + record(program=100005) + record(message=1) + record(length=40) + record()[:24]
    )
    assert calls_of_nfs(segment) == 3
    assert calls_of_nfs(b"") == calls_of_nfs(b"\x80" * 19) == 0


def test_a_segment_that_is_no_record_ends_the_count():
    assert calls_of_nfs(bytes(64)) == 0
