"""The static __shared__ variables of a compiled kernel module, found by their symbols."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_SYMBOL_TABLE, _OBJECT = 2, 1


@dataclass(frozen=True, kw_only=True)
class SharedVariable:
    name: str  # mangled, e.g. _ZZ8rms_normE4part: variable `part` of kernel `rms_norm`
    offset: int  # from the load address
    bytes: int

    @property
    def owner(self) -> str:
        """The kernel or device function (`extern "C"` or not a template) it belongs to, or an empty string."""
        digits = ""
        for character in self.name[3:]:
            if not character.isdigit():
                break
            digits += character
        start = 3 + len(digits)
        return self.name[start : start + int(digits)] if digits else ""


def shared_variables(path: Path) -> list[SharedVariable]:
    """Function-local statics without initialiser (`_ZZ...` in .bss): in a kernel file these are shared memory.

    Layout: System V ABI, ELF-64 object file format (header, section headers, symbol table).
    """
    image = path.read_bytes()
    if image[:5] != b"\x7fELF\x02":
        raise ValueError(f"{path.name}: not a 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", image, 40)
    size, count, names_index = struct.unpack_from("<HHH", image, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + i * size) for i in range(count)]

    def text(strings: int, offset: int) -> str:
        start = sections[strings][4] + offset
        return image[start : image.index(b"\0", start)].decode()

    found = []
    for section in sections:
        if section[1] != _SYMBOL_TABLE:
            continue
        for i in range(section[5] // 24):
            name_offset, info, _, index, value, bytes_ = struct.unpack_from("<IBBHQQ", image, section[4] + i * 24)
            if info & 15 != _OBJECT or not 0 < index < count or not bytes_:
                continue
            name = text(section[6], name_offset)
            if name.startswith("_ZZ") and text(names_index, sections[index][0]).startswith(".bss"):
                found.append(SharedVariable(name=name, offset=value, bytes=bytes_))
    return found
