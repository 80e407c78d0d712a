"""Releases as one signed file each, for nodes with Secure Boot: build/secure_boot/<release>.efi.

A build has no use for them: what is signed is a build's kernel and initrd, this machine's stub,
and the arguments by which nodes find their root.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from ..base.errors import Refused
from ..base.files import content, read, write_atomic
from ..config.boot_files import signed_images, signed_labels, uki_arguments
from ..plan.state import BuiltRelease, Desired
from ..plan.ukis import SECOND, SHIM, program_name
from ..site.model import SecureBoot
from ..store.loaders import first_loader
from ..trust import uki
from ..trust.secure_boot import is_key_at_hand, is_signed, sign_program
from .build import Build

FOLDER = "secure_boot"  # of a build
KEY = ".key"
OF_SHIM = (SHIM, "mmx64.efi")  # shim, and what asks at its console for keys to trust


@dataclass(frozen=True)
class SignedFiles:
    """Those of a build, by a certificate and its key: a file, or a PKCS#11 URI."""

    build: Build
    said: SecureBoot
    roots: tuple[str, ...]  # where loaders are, and the stub

    @property
    def key(self) -> str:
        return self.said.key or os.path.splitext(self.said.certificate)[0] + KEY

    def must_sign(self) -> list[str]:
        """The same as `sign`, for who asks for nothing else. Raises Refused where it cannot."""
        made = self.sign()
        if self._programs.keys() - self.signed().keys():
            remedy = "bring it there, or name it by `trust: {secure_boot: {key: …}}`"
            raise Refused(f"no private key here ({self.key}); {remedy}")
        return made

    def sign(self) -> list[str]:
        """Sign what is not, where this machine can: what was signed now, by its id."""
        if not is_key_at_hand(self.key):
            return []
        known = self.signed()
        missing = {id: data for id, data in self._programs.items() if id not in known}
        for id, program in missing.items():
            write_atomic(self._place(id), sign_program(program, self.said.certificate, self.key))
        return sorted(missing)

    def signed(self) -> dict[str, str]:
        """The file of each release that the certificate's key has signed, by its id."""
        found = {}
        for id, program in self._programs.items():
            data = content(self._place(id))
            if data and is_signed(data, program, self.said.certificate):
                found[id] = self._place(id)
        return found

    def served(self, desired: Desired) -> Desired:
        """What is desired, with these files and shim; what can be, is signed now.

        So a plan shows what a deploy will do, to the byte. Each label has a shim of its own, which
        starts what lies beside it.
        """
        self.sign()
        files, signed = dict(desired.loaders), self.signed()
        for label in sorted(signed_labels(self.build.site)):
            for name in filter(desired.loaders.__contains__, OF_SHIM):
                files[program_name(label, name)] = desired.loaders[name]
        for id, built in self.build.releases.items():
            if id in signed:
                files[program_name(built.release.image, SECOND)] = signed[id]
        return replace(desired, loaders=files)

    @cached_property
    def _programs(self) -> dict[str, bytes]:
        """What is to be signed: the unified kernel image of each release, by its id."""
        images = signed_images(self.build.site)
        programs = {}
        for id, built in self.build.releases.items():
            if built.release.image in images:
                arguments = uki_arguments(self.build.site, built.release)
                programs[id] = unsigned_program(built, arguments, self.roots)
        return programs

    def _place(self, id: str) -> str:
        return self.build.path(FOLDER, f"{id}.efi")


def unsigned_program(built: BuiltRelease, arguments: str, roots: Iterable[str]) -> bytes:
    """The unified kernel image of a release. Raises Refused where this machine has no stub."""
    stub = first_loader(roots, (uki.STUB,))
    if not stub:
        what = f"no {os.path.basename(uki.STUB)}, which starts a signed kernel image"
        raise Refused(f"{what}: install {uki.STUB_PACKAGES}")
    sections = {
        uki.OSREL: uki.os_release(built.release.id),
        uki.CMDLINE: arguments.encode(),
        uki.INITRD: read(built.path("initrd.img")),
        uki.LINUX: read(built.path("vmlinuz")),
    }
    try:
        return uki.assemble_uki(read(stub), sections)
    except ValueError as error:
        raise Refused(f"{stub}: {error}; install another {uki.STUB_PACKAGES}") from None
