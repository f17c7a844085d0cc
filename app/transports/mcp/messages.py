"""JSON-RPC, as much of it as a door has to understand before the protocol's own code takes over."""

from typing import Any, Final

import msgspec
from mcp_types import ErrorData, RequestId
from msgspec import UNSET, UnsetType

from app.db.encoded import as_json


class Message(msgspec.Struct):
    """A request has a method and an id, a notification only a method, an answer only an id."""

    jsonrpc: str = ""
    id: RequestId | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: dict[str, Any] | None | UnsetType = UNSET  # Any: each method has its own, which the SDK checks

    @property
    def given(self) -> dict[str, Any]:
        """The parameters; absent and null mean none."""
        return self.params or {}

    @property
    def meta(self) -> dict[str, Any]:
        """What comes beside the parameters: since 2026-07-28 the version, and who is speaking."""
        meta: object = self.given.get("_meta")
        return msgspec.convert(meta, dict[str, Any]) if isinstance(meta, dict) else {}


BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # RFC 8259, 8.1: nobody may send one, and everybody may skip it

_message: Final = msgspec.json.Decoder(Message).decode
_messages: Final = msgspec.json.Decoder(Message | list[Message]).decode


def decode(sent: bytes) -> Message:
    """One message."""
    return _message(sent.removeprefix(BYTE_ORDER_MARK))


def decode_all(sent: bytes) -> Message | list[Message]:
    """One message, or several in a batch, which is a thing of 2025-03-26 only."""
    return _messages(sent.removeprefix(BYTE_ORDER_MARK))


encode: Final = msgspec.json.Encoder(enc_hook=as_json).encode


def success(request_id: RequestId, said: dict[str, Any]) -> bytes:
    """The answer to a request that went well."""
    return encode({"jsonrpc": "2.0", "id": request_id, "result": said})


def failure(request_id: RequestId | None, error: ErrorData) -> bytes:
    """The answer to a request that did not, or to something that was none."""
    said: dict[str, object] = {"code": error.code, "message": error.message}
    if error.data is not None:
        said["data"] = error.data
    return encode({"jsonrpc": "2.0", "id": request_id, "error": said})


def notification(method: str, params: object) -> bytes:
    """Something told without being asked."""
    return encode({"jsonrpc": "2.0", "method": method, "params": params})
