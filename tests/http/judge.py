"""A judge of answers: whatever comes over HTTP has to be what the served document and the published client expect.

    client = httpx.AsyncClient(event_hooks={"response": [judge]})

Independent of the code under test: the document comes over the wire, the schemas are read by `jsonschema`.
"""

import re
import sys
from datetime import datetime
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker
from reload.core.pydantic_utilities import parse_obj_as
from reload.types import ReloadError

formats = FormatChecker()

CALLS_DEEP_MAX = 20_000  # jsonschema takes several for each bracket, and values may have a thousand

# What a wrong verb or an unknown path may get: no operation of the document describes these.
STRANGERS = {
    401: "UnauthenticatedError",
    404: "NotFoundError",
    405: "NotFoundError",
    429: "RateLimitedError",
    503: "UnavailableError",
}


@formats.checks("date-time", raises=ValueError)
def is_moment(value: object) -> bool:
    """Whether text is RFC 3339 with an offset."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


class Judge:
    """Knows the served document, and holds every answer against it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    async def __call__(self, response: httpx.Response) -> None:
        """Refuse an answer that is not documented."""
        await response.aread()
        self.judge(response)

    def judge(self, response: httpx.Response) -> None:
        """Refuse an answer that is not documented. Its body has been read."""
        assert response.headers["content-type"] == "application/json"
        if response.request.method == "HEAD":
            assert response.headers["x-request-id"] and not response.content
            return
        described = self.described(response)
        for name, reference in described["headers"].items():
            header = self.resolved(reference)
            if name in response.headers or header.get("required"):
                self.validate(header["schema"], _header(response.headers[name]))
        body = response.json()
        self.validate(described["content"]["application/json"]["schema"], body)
        if (
            isinstance(body, dict) and "meta" in body and "idempotency-replayed" not in response.headers
        ):  # else it is that of the first time
            assert body["meta"]["requestId"] == response.headers["x-request-id"]
        if response.is_error and not _of_records(response):
            parse_obj_as(ReloadError, body)

    def described(self, response: httpx.Response) -> dict[str, Any]:
        """What the document says of an answer with this status to this request."""
        path = self._path(response.request.url.path)
        method = response.request.method.lower()
        status = response.status_code
        if method not in path:
            family = "Sdk" if response.request.url.path.startswith("/v1/sdk/") else ""
            name = "RecordError" if _of_records(response) else f"{family}{STRANGERS[status]}"
            schema = {"$ref": f"#/components/schemas/{name}"}
            return {
                "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
                "content": {"application/json": {"schema": schema}},
            }
        assert str(status) in path[method]["responses"], f"{status} is not documented: {response.text}"
        return self.resolved(path[method]["responses"][str(status)])

    def _path(self, sent: str) -> dict[str, Any]:
        """What the document says of a path: one without parameters counts before one with them."""
        paths = self.document["paths"]
        fits = (
            known for known in paths if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(known)), sent)
        )
        return paths.get(sent) or paths.get(next(fits, ""), {})

    def resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value, or what it refers to."""
        if "$ref" not in value:
            return value
        found: dict[str, Any] = self.document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return found

    def validate(self, schema: dict[str, Any], value: object) -> None:
        """Refuse a value that does not fit a schema of the document."""
        whole = {**schema, "components": self.document["components"]}
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(CALLS_DEEP_MAX)
        try:
            Draft202012Validator(whole, format_checker=formats).validate(value)
        finally:
            sys.setrecursionlimit(limit)


def _of_records(response: httpx.Response) -> bool:
    """Whether an answer is in the words of records."""
    return re.match(r"/v1/(tasks|states)(/|$)", response.request.url.path) is not None


def _header(value: str) -> object:
    return int(value) if value.isdigit() else value
