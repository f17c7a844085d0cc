"""The wire dialects, and where each is spoken."""

from typing import Final

import msgspec


class Family(msgspec.Struct, frozen=True):
    """A wire dialect: where its operations live. How it spells success and errors is in transports/envelope.py."""

    name: str
    prefix: str  # of the paths of its operations
    roots: tuple[str, ...]  # every path at or below one of these is answered in its words
    tools: bool = (
        True  # whether its operations are tools too; not where it only spells the same work otherwise
    )


AGENT: Final = Family(name="agent", prefix="/v1/agent/", roots=("/v1/agent",))
"""camelCase, `{success, data, meta}`, unknown keys ignored (contract section 1)."""

SDK: Final = Family(name="sdk", prefix="/v1/sdk/", roots=("/v1/sdk",))
"""snake_case, unknown keys refused, error codes in capitals; otherwise as AGENT."""

RECORDS: Final = Family(name="record", prefix="/v1/", roots=("/v1/tasks", "/v1/states"), tools=False)
"""What `/v1/tasks` and `/v1/states` speak, whose clients call a run a task: camelCase, results with nothing around them,
errors as `{code, message}`, and paths with parameters (contract section 14)."""

FAMILIES: Final = (AGENT, SDK, RECORDS)


def family_at(path: str) -> Family:
    """Whose words an answer at this path uses, also where no operation is; the agents' where it is nobody's."""
    return next(
        (
            family
            for family in FAMILIES
            if any(path == root or path.startswith(root + "/") for root in family.roots)
        ),
        AGENT,
    )
