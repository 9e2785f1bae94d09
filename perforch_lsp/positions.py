"""Code-point offsets of a text and the positions that a client counts in UTF-8, UTF-16 or UTF-32 units."""

from __future__ import annotations

import re
from bisect import bisect_right

from lsprotocol import types

LINE_END = re.compile(r"\r\n|\n|\r")
"""What ends a line in LSP. `str.splitlines` also splits at form feeds and other characters that editors keep inside
a line, and would put every edit below one of them on the wrong line."""


def units(text: str, encoding: str) -> int:
    """The length of `text` in the client's units."""
    if encoding == types.PositionEncodingKind.Utf32.value or text.isascii():
        return len(text)
    if encoding == types.PositionEncodingKind.Utf8.value:
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Lines:
    """The lines of one text. Positions and offsets beyond an end are moved to that end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(match.end() for match in LINE_END.finditer(text))]

    def line(self, number: int) -> str:
        """Line `number` (from 0) without its end."""
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def split(self) -> tuple[str, ...]:
        """All lines with their ends; no empty last one."""
        ends = [*self._starts[1:], len(self.text)]
        return tuple(self.text[a:b] for a, b in zip(self._starts, ends, strict=True) if a < b)

    def offset(self, position: types.Position, encoding: str) -> int:
        """The code-point offset of a client's position; one inside a character counts as before it."""
        if position.line >= len(self._starts):
            return len(self.text)
        line = self.line(position.line)
        start = self._starts[position.line]
        if encoding == types.PositionEncodingKind.Utf32.value or line.isascii():
            return start + min(position.character, len(line))
        passed = 0
        for index, character in enumerate(line):
            passed += units(character, encoding)
            if passed > position.character:
                return start + index
        return start + len(line)

    def position(self, offset: int, encoding: str) -> types.Position:
        """The client's position of a code-point offset."""
        offset = max(0, min(offset, len(self.text)))
        number = bisect_right(self._starts, offset) - 1
        before = self.text[self._starts[number] : offset]
        return types.Position(line=number, character=units(before, encoding))

    def range(self, start: int, end: int, encoding: str) -> types.Range:
        """The client's range of a span of code points."""
        return types.Range(start=self.position(start, encoding), end=self.position(end, encoding))
