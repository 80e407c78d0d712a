"""A firmware's variables with a certificate of the machine's owner in them, by values."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tasks.core.lab.firmware import SHIM, X509, trust_certificate
from tasks.core.lab.qemu import OVMF

DER = b"\x30\x82\x01\x00 a certificate of some bytes"
NAME = "MokList\0".encode("utf-16-le")


@pytest.fixture(scope="module")
def variables() -> bytes:
    file = next(pair[1] for pair in OVMF["secure"] if Path(pair[1]).exists())
    return Path(file).read_bytes()


def test_the_certificate_is_one_more_variable_behind_those_that_are_there(variables):
    made = trust_certificate(variables, DER)
    assert len(made) == len(variables)
    at = made.index(SHIM.bytes_le + NAME)
    before = at - 44  # of a variable's head
    assert made[:before] == variables[:before] and before % 4 == 0
    start, state, attributes = struct.unpack_from("<HBxI", made, before)
    assert (start, state, attributes) == (0x55AA, 0x3F, 3)
    name, size = struct.unpack_from("<II", made, at - 8)
    data = made[at + 16 + name : at + 16 + name + size]
    assert data.startswith(X509.bytes_le) and data.endswith(DER)
    assert struct.unpack_from("<I", data, 16)[0] == len(data)


def test_no_file_of_variables_and_one_without_room_are_refused(variables):
    with pytest.raises(ValueError, match="no file of a firmware's variables"):
        trust_certificate(bytes(4096), DER)
    with pytest.raises(ValueError, match="no room"):
        trust_certificate(variables, bytes(1 << 20))
