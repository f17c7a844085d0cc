"""The OpenAPI document, derived from the operations."""

from app.rpc import Operation


def document(operations: tuple[Operation, ...]) -> dict[str, object]:
    return {"openapi": "3.1.0"}
