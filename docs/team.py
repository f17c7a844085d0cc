"""A small project from plan to done: the human Ada and the agents Pia and Ben, each with nothing but the published SDK.

    BATON=http://127.0.0.1:8000 ADA=<key> PIA=<key> BEN=<key> python docs/team.py

All three are members of #launch. Each turn is what an agent does that wakes up with an empty memory: it asks what
waits for it, and acts on that. What is printed is what the server says: the channel as it grows, and remarks on
tasks. docs/team.txt is what comes out; a test runs this and compares.
"""

import json
import os
from collections.abc import Callable
from textwrap import fill, indent
from typing import Any

from reload import ReloadApi
from reload.errors import ConflictError
from reload.types import MentionSummary, Task


class Member:
    """Someone on the team: a client of the SDK, with a key of their own."""

    def __init__(self, handle: str, key: str) -> None:
        self.handle = handle
        self.api = ReloadApi(base_url=os.environ["BATON"], token=key)
        who = self.api.workspace.resolve_identity(handle=handle).data
        self.id, self.name = who.id, who.display_name

    def waiting(self) -> MentionSummary:
        """The latest that waits for my answer."""
        return self.api.messages.get_unread_mentions(limit=1).data.mentions[0]

    def say(self, content: str, *, answer: MentionSummary | None = None) -> None:
        """Say something in the channel, or in the thread of what waits."""
        thread: dict[str, Any] = {"thread_id": answer.parent_id or answer.id} if answer else {}
        self.api.messages.send_message(channel_id=channel.id, content=content, **thread)

    def next_task(self) -> Task:
        """The most urgent of my open tasks."""
        return self.api.tasks.list_my_tasks(status="open", limit=1).data[0]

    def change(self, task: Task, **fields: Any) -> Task:
        """Change a task as I read it; if somebody was faster, as they left it."""
        try:
            return self.api.tasks.update_task(task_id=task.id, version=task.version, **fields).data
        except ConflictError as refused:
            current = refused.body.error.details["current"]
            print(
                f"({self.name} is at version {task.version}, the task at {current['version']}: reads it again.)"
            )
            return self.api.tasks.update_task(task_id=task.id, version=current["version"], **fields).data

    def remark(self, task: Task, body: str) -> None:
        """Leave a remark on a task."""
        told(
            self.name,
            f"on {task.identifier}: {self.api.tasks.comment_on_task(task_id=task.id, body=body).data.body}",
        )


def scene(text: str) -> None:
    """A stage direction."""
    print(f"\n{fill(f'({text})', 96)}\n")


def told(name: str, text: str, margin: str = "") -> None:
    """A line of the conversation."""
    print(indent(fill(f"{name}: {text}", 92 - len(margin)), margin))


def listen() -> None:
    """Print what is new in the channel."""
    global heard
    while True:
        after: dict[str, Any] = {"after": heard} if heard else {}
        page = ada.api.messages.get_messages(channel_id=channel.id, limit=100, **after).data
        for message in page.messages if heard else reversed(page.messages):
            heard = message.id
            if message.sender_type == "system":
                print(f"    * {message.content}")
            else:
                shared = message.metadata.get("artifact")
                text = f"[{shared['name']}] {message.content}" if shared else message.content
                told(names[message.sender_id], text, "    " if message.parent_id else "")
        if not page.has_more:
            return


def turn(direction: str) -> Callable[[Callable[[], None]], None]:
    """Play one turn, then print what came of it."""

    def play(act: Callable[[], None]) -> None:
        scene(direction)
        act()
        listen()

    return play


ada, pia, ben = (Member(handle, os.environ[handle.upper()]) for handle in ("ada", "pia", "ben"))
names = {member.id: member.name for member in (ada, pia, ben)}
channel = next(c for c in ada.api.channels.get_channels().data if c.name == "launch")
heard = ""


@turn("Monday morning. Ada has an idea.")
def _() -> None:
    ada.say("We need a page for the launch on Friday. @pia, can you plan it? Ben can build.")


@turn("Pia wakes up and asks what waits for her. She plans, and tells everyone at once.")
def _() -> None:
    asked = pia.waiting()
    plan = [
        {"title": "Write the words", "assigneeAgentId": pia.id, "priority": "high"},
        {"title": "Build the page", "assigneeAgentId": ben.id, "priority": "high"},
        {"title": "Put it online", "assigneeUserId": ada.id},
    ]
    tasks = [{**task, "channelId": channel.id} for task in plan]
    pia.api.tasks.create_tasks_bulk(tasks=json.dumps(tasks), summary_channel_id=channel.id)
    pia.say("Three steps: words, page, online. The words will be ready today.", answer=asked)


@turn("Ben wakes up. The summary named him; he has a question before he begins.")
def _() -> None:
    ben.say("Got it. @pia, do you want the words in the page, or from a file?", answer=ben.waiting())


@turn("Pia answers, and shares what she has.")
def _() -> None:
    asked = pia.waiting()
    words = pia.next_task()
    pia.change(words, status="in_progress")
    pia.api.messages.create_artifact(
        channel_id=channel.id, name="words.md", type="markdown", content="# Lift-off\n\nFriday, nine o'clock."
    )
    pia.say("From a file: words.md, just above. I only touch that, you only touch the page.", answer=asked)
    pia.api.tasks.complete_task(task_id=words.id)


@turn("Ben builds, until he needs something that only Ada has.")
def _() -> None:
    task = ben.change(ben.next_task(), status="in_progress")
    reason = "@ada, which domain will it be? I cannot set the links without it."
    ben.api.tasks.block_task(task_id=task.id, reason=reason)
    told("Ben", f"on {task.identifier}: {ada.waiting().content}")


@turn("Ada looks in at lunch. What waits for her is a remark on a task.")
def _() -> None:
    asked = ada.waiting()
    [task] = ada.api.tasks.list_tasks(query=asked.channel_name).data
    ada.remark(task, "launch.example, Ben. The certificate is on its way.")


@turn("Ben goes on, and hands the page over to Pia for review. Pia has meanwhile raised its priority.")
def _() -> None:
    task = ben.next_task()
    [same] = pia.api.tasks.list_tasks(query=task.identifier).data
    pia.change(same, priority="urgent")
    task = ben.change(task, status="in_review", assignee_agent_id=pia.id)
    ben.remark(task, "Built. @pia, please look at it on a phone; I have none.")


@turn("Pia reviews. One thing a machine should not decide.")
def _() -> None:
    asked = pia.waiting()
    task = pia.next_task()
    pia.remark(task, f"Looks good on a phone. {asked.channel_name} is done as far as I can see.")
    pia.api.tasks.complete_task(task_id=task.id)
    sent = pia.api.messages.post_message(
        channel_id=channel.id,
        content="@ada, the page says nine o'clock but not where. Which time zone do we mean?",
        kind="question",
        metadata={"task": task.identifier},
    )
    pia.api.messages.flag_needs_human(message_id=sent.data.id, reason="Customers will read it.")


@turn("Ada decides, and puts it online.")
def _() -> None:
    ada.say("Berlin. I have added it. Thank you both, it is online!", answer=ada.waiting())
    ada.api.tasks.complete_task(task_id=ada.next_task().id)


@turn("Friday. Ben wonders what was said of the time zone, and whether anything is left.")
def _() -> None:
    found = ben.api.messages.search_messages(query='"time zone" or berlin').data.messages
    open_tasks = [t for t in ben.api.tasks.list_tasks(channel_id=channel.id).data if t.status != "done"]
    waiting = [member.api.messages.get_unread_mentions().data.count for member in (ada, ben)]
    for message in found:
        told(f"found, {names[message.sender_id]}", message.content)
    print(
        f"Tasks still open: {len(open_tasks)}. Threads that others spoke last in: Ada {waiting[0]}, Ben {waiting[1]}."
    )
