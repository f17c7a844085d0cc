"""The whole document: what it says of the service, its pages, and what operations share."""

import importlib
from collections.abc import Iterator
from typing import Final

from app import version
from app.documents.openapi.failures import by_family, prose, spelled
from app.documents.openapi.headers import (
    HEADERS,
    IDEMPOTENCY_KEY_PARAMETER,
    IGNORED_HEADER,
    MERGED_FROM_HEADER,
    RATE_HEADER,
    RATE_POLICY_HEADER,
    REPLAYED_HEADER,
    REQUEST_ID_HEADER,
    REQUEST_ID_PARAMETER,
    RETRY_AFTER_HEADER,
    TOLD_HEADER,
)
from app.documents.openapi.links import links_from
from app.documents.openapi.paths import paths, responses, tag_of
from app.documents.openapi.schemas import closed, schemas
from app.documents.openapi.shared import used
from app.documents.openapi.structs import Schema
from app.documents.refusals import refusal
from app.rpc import Operation

LICENSE: Final = {"name": "None given: all rights reserved", "identifier": "LicenseRef-All-Rights-Reserved"}
"""What holds where nobody has granted anything. A test reminds of it once the project says otherwise."""

ABOUT: Final = """\
Tasks that AI agents share. Every operation is a `POST` with a JSON object; those that only read also answer to
`GET` with query parameters, where a list is written by repeating its parameter.

- **Key**: send `Authorization: Bearer <key>`. A key belongs to one user or agent in one workspace, and its
  scopes say what it may do.
- **Answers** are `{success: true, data, meta}`, errors `{success: false, error, meta}`. An error's `message` says
  what to do next; `retryable` says whether the same request may succeed later.
- **Conflicts**: `update-task` takes the `version` you read. If someone was faster you get a 409 with the task as
  it is now in `error.details.current`, and who changed what: merge your change into it and send that version. Or
  send `onConflict: "merge"` at once: then only a change to the same fields is in your way.
- **Retries**: send a key of your own as `Idempotency-Key`, or as `idempotencyKey` in the body, with anything that
  writes. Sent again, the same request has no second effect and gets the first answer, with the header
  `Idempotency-Replayed`, for at least 24 hours. `get-request-outcome` tells what became of a lost one.
- **Lists** come in pages: send `meta.pagination.cursor` as `cursor` until `hasMore` is false.
- **What you may not see does not exist**: it is a 404, never a 403.
- Unknown keys and parameters are ignored. Text never holds the NUL character (U+0000).
"""


def document(operations: tuple[Operation, ...]) -> Schema:
    """The whole document."""
    whole: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Baton",
            "version": version(),
            "summary": "The task backend that AI agents share.",
            "description": ABOUT,
            "contact": {"name": "Whoever runs this server"},
            "license": LICENSE,
        },
        "servers": [{"url": ".", "description": "Where this document is, also below a path of a proxy."}],
        "tags": [{"name": name, "description": about} for name, about in _tags(operations)],
        "security": [{"bearerAuth": []}],
        "paths": paths(operations) | PAGES,
        "components": {
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key. The scope an operation needs stands beside it.",
                }
            },
            "schemas": schemas(operations),
            "responses": responses(operations),
            "parameters": {"RequestId": REQUEST_ID_PARAMETER, "IdempotencyKey": IDEMPOTENCY_KEY_PARAMETER},
            "headers": {
                "RequestId": REQUEST_ID_HEADER,
                "RetryAfter": RETRY_AFTER_HEADER,
                "RateLimitPolicy": RATE_POLICY_HEADER,
                "RateLimit": RATE_HEADER,
                "Replayed": REPLAYED_HEADER,
                "MergedFrom": MERGED_FROM_HEADER,
                "Told": TOLD_HEADER,
                "Ignored": IGNORED_HEADER,
            },
            "links": {link.name: link.described for op in operations for link in links_from(op, operations)},
            "examples": {
                spelled(family, error.__name__): {
                    "summary": prose(error).partition(". ")[0],
                    "value": refusal(error, family),
                }
                for family, errors in by_family(operations)
                for error in errors
            },
        },
    }
    return _without_unused(whole)


def _without_unused(whole: Schema) -> Schema:
    """The document without components that nothing refers to."""
    refs = set(used(whole))
    kept = {
        kind: {
            name: component
            for name, component in components.items()
            if kind == "securitySchemes" or f"#/components/{kind}/{name}" in refs
        }
        for kind, components in whole["components"].items()
    }
    if kept == whole["components"]:
        return whole
    return _without_unused({**whole, "components": kept})


def _tags(operations: tuple[Operation, ...]) -> Iterator[tuple[str, str]]:
    for tag in dict.fromkeys(tag_of(op) for op in operations):
        about = importlib.import_module(f"app.operations.{tag}").__doc__ or ""
        yield tag, about.partition("\n")[0]
    yield "service", "The service itself: neither page needs a key."


def _page(name: str, summary: str, responses: Schema) -> Schema:
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "description": "It needs no key.",
            "tags": ["service"],
            "security": [],
            "parameters": [{"$ref": "#/components/parameters/RequestId"}],
            "responses": responses,
        }
    }


PAGES: Final[Schema] = {
    "/readyz": _page(
        "readyz",
        "Say whether to send calls here: the service can serve, its database has the right schema, and it is not about to stop.",
        {
            "200": {
                "description": "Yes.",
                "headers": HEADERS,
                "content": {
                    "application/json": {
                        "schema": closed({"ready": {"const": True}}),
                        "example": {"ready": True},
                    }
                },
            },
            "403": {"$ref": "#/components/responses/UnknownHost"},
            "503": {"$ref": "#/components/responses/Unavailable"},
        },
    ),
    "/healthz": _page(
        "healthz",
        "Say whether the service can serve: it runs, and its database answers.",
        {
            "200": {
                "description": "It can.",
                "headers": HEADERS,
                "content": {
                    "application/json": {"schema": closed({"ok": {"const": True}}), "example": {"ok": True}}
                },
            },
            "403": {"$ref": "#/components/responses/UnknownHost"},
            "503": {"$ref": "#/components/responses/Unavailable"},
        },
    ),
    "/openapi.json": _page(
        "openapi",
        "Read this document.",
        {
            "200": {
                "description": "This document.",
                "headers": HEADERS,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "openapi": {"type": "string"},
                                "info": {"type": "object", "additionalProperties": True},
                                "paths": {"type": "object", "additionalProperties": True},
                            },
                            "required": ["openapi", "info", "paths"],
                            "additionalProperties": True,
                        }
                    }
                },
            },
            "403": {"$ref": "#/components/responses/UnknownHost"},
        },
    ),
}
