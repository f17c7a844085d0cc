"""What callers write down while they work: nothing but what they sent, what they got, and when."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Attempt:
    """One request, and its answer if one came."""

    request_id: str
    sent_at: float
    answered_at: float | None = None
    status: int | None = None  # None: no answer came
    body: bytes = b""
    data: dict[str, Any] | None = None  # of a success
    error: dict[str, Any] | None = None  # of a refusal
    merged_from: int | None = None
    replayed: bool = False

    @property
    def final(self) -> bool:
        """Whether this answer says what became of the call: a 503 does not."""
        return self.status is not None and self.status < 500


@dataclass(slots=True)
class Call:
    """Something a caller wants once, however often it has to ask."""

    operation: str
    task_id: str | None  # None: it makes one
    wanted: dict[str, Any]  # the fields the task shall have after it
    version: int | None = None
    merge: bool = False
    comment: str | None = None  # of a message, what it says
    key: str | None = None  # None: it is sent once
    attempts: list[Attempt] = field(default_factory=list)
    corrected: bool = False  # it was refused, and another call has its key since
    outcome: dict[str, Any] | None = None  # what get-request-outcome said in the end, of a keyed call

    @property
    def began_at(self) -> float:
        """It cannot have had an effect before this."""
        return self.attempts[0].sent_at

    @property
    def answer(self) -> Attempt | None:
        """The first answer that says what became of it."""
        return next((attempt for attempt in self.attempts if attempt.final), None)

    @property
    def ended_at(self) -> float:
        """If it had an effect, then before this."""
        answer = self.answer
        return float("inf") if answer is None or answer.answered_at is None else answer.answered_at

    def __str__(self) -> str:
        told = [
            f"{attempt.request_id} {attempt.status or 'no answer'}{' replayed' if attempt.replayed else ''}"
            for attempt in self.attempts
        ]
        return f"{self.operation} {self.wanted} of version {self.version} key {self.key}: {', '.join(told)}"


@dataclass(slots=True)
class Records:
    """All calls of a run, and what was there at the end: each task's history, oldest first, and what was posted."""

    calls: list[Call] = field(default_factory=list)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)  # what they say; no two calls say the same
