"""The client's documents, kept exactly as the client has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument, Workspace

from perforch_core.task import UserError
from perforch_lsp.positions import Lines


class Document(TextDocument):
    """A text document whose lines end where LSP says that they end."""

    _index: Lines | None = None

    @property
    def encoding(self) -> str:
        """The negotiated unit of positions: "utf-8", "utf-16" or "utf-32"."""
        return getattr(self._position_codec.encoding, "value", self._position_codec.encoding) or "utf-16"

    @property
    def is_open(self) -> bool:
        """The client holds it; otherwise it is read from disk."""
        return self._source is not None

    @property
    def source(self) -> str:
        """The whole text, newlines untouched. Raises UserError when it cannot be read from disk."""
        if self._source is not None:
            return self._source
        try:
            return Path(self.path).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path} cannot be read ({error}). Open it in the editor, saved as UTF-8.") from None

    @property
    def index(self) -> Lines:
        """The lines of the text as it is now."""
        source = self.source
        if self._index is None or self._index.text is not source:
            self._index = Lines(source)
        return self._index

    @property
    def lines(self) -> tuple[str, ...]:
        """All lines with their ends."""
        return self.index.split()

    def offset(self, position: types.Position) -> int:
        """The code-point offset of a client's position."""
        return self.index.offset(position, self.encoding)

    def range(self, start: int, end: int) -> types.Range:
        """The client's range of a span of code points."""
        return self.index.range(start, end, self.encoding)

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        text, start, end = self.source, self.offset(change.range.start), self.offset(change.range.end)
        self._source = text[:start] + change.text + text[max(start, end) :]


class Documents(Workspace):
    """The workspace, with our documents in it."""

    def _create_text_document(
        self, doc_uri: str, source: str | None = None, version: int | None = None, language_id: str | None = None
    ) -> Document:
        return Document(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )

    def document(self, uri: str) -> Document:
        """The open document, or the file on disk. Raises UserError for what is not a file."""
        if to_fs_path(uri) is None:
            raise UserError(
                "PerfOrch works on saved files, because it builds and tests the project on disk. "
                "Save this document as a file first."
            )
        document = self.get_text_document(uri)
        assert isinstance(document, Document)
        return document

    def open_document(self, uri: str) -> Document | None:
        """The document if the client holds it open."""
        found: Any = self.text_documents.get(unquote(uri)) or self.text_documents.get(uri)
        return found

    def path(self, uri: str) -> Path:
        """The file of a document. Raises UserError for what is not a file."""
        return Path(os.path.normpath(self.document(uri).path))
