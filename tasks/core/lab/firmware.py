"""Variables of a virtual machine's firmware: a certificate in shim's list of its owner (MOK).

The layout is EDK II's (MdeModulePkg/Include/Guid/VariableFormat.h, authenticated variables). On a
machine of metal mokutil has shim's MokManager do it; virt-fw-vars does the same as this, and
Debian 12 has none.
"""

from __future__ import annotations

import struct
from uuid import UUID

SHIM = UUID("605dab50-e046-4300-abb6-3dd810dd8b23")
X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")  # EFI_CERT_X509_GUID
OWNER = UUID(int=0)  # of an entry: whoever

_STORE = 28  # bytes of the store's own header
_HEADER = struct.Struct("<HBxIQ16xIII16s")
_START, _VALID = 0x55AA, 0x3F
_KEPT_FOR_BOOT = 3  # non-volatile, and no system may see or write it


def trust_certificate(variables: bytes, certificate: bytes) -> bytes:
    """A file of variables, with one more: a MokList of this certificate, DER.

    Raises ValueError where it is none, or has no room.
    """
    if variables[40:44] != b"_FVH":
        raise ValueError("no file of a firmware's variables")
    store = struct.unpack_from("<H", variables, 48)[0]
    size = struct.unpack_from("<I", variables, store + 16)[0]
    at = _end_of(variables, store + _STORE)
    new = _variable("MokList", _signature_list(certificate))
    if at + len(new) > store + size:
        raise ValueError("no room for one more variable")
    return variables[:at] + new + variables[at + len(new) :]


def _end_of(variables: bytes, at: int) -> int:
    """Where the variables end that begin there: each is aligned to four bytes."""
    while struct.unpack_from("<H", variables, at)[0] == _START:
        *_, name, data, _vendor = _HEADER.unpack_from(variables, at)
        at += _HEADER.size + name + data
        at += -at % 4
    return at


def _variable(name: str, data: bytes) -> bytes:
    text = f"{name}\0".encode("utf-16-le")
    sizes = len(text), len(data)
    head = _HEADER.pack(_START, _VALID, _KEPT_FOR_BOOT, 0, 0, *sizes, SHIM.bytes_le)
    return head + text + data


def _signature_list(certificate: bytes) -> bytes:
    """EFI_SIGNATURE_LIST (UEFI specification 2.10, 32.4.1) of one certificate."""
    entry = OWNER.bytes_le + certificate
    return X509.bytes_le + struct.pack("<III", 28 + len(entry), 0, len(entry)) + entry
