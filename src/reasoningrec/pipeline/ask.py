"""Hold many conversations with one client at once, and keep what comes of each as it comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from reasoningrec.errors import TeacherError
from reasoningrec.journal import Journal
from reasoningrec.llm.client import Client, Request
from reasoningrec.llm.remember import Remembering
from reasoningrec.pipeline.stage import Desk
from reasoningrec.rows import Row
from reasoningrec.teacher.conversation import Conversation, Result, finished

AGAIN: Final = "When the server is well, the same command goes on from here."
Begun = tuple[str, Callable[[], Conversation[Any]]]
"""A text's id, and how its conversation begins."""
Keep = Callable[[Result[Any]], Row]


def hold(desk: Desk, journal: Journal, client: Client, work: Sequence[Begun], keep: Keep = Result.row) -> None:
    """Bring every conversation without a row in the journal to its end.

    Requests are made as the client takes them, so that what is not asked yet takes no memory. A conversation that goes
    on is taken up when the others have had their turn. Texts that got no answer are written last: where the client
    stops before, they are asked again at the next start.

    Args:
        desk: whom to tell how it goes, and where to note what was spent.
        journal: of the stage.
        client: who answers.
        work: the conversations, by id.
        keep: what the journal keeps of a result.

    Raises:
        TeacherError: the client could not go on; what came until then is in the journal.
    """
    unanswered: list[Result[Any]] = []
    live: dict[str, Conversation[Any]] = {}

    def first() -> Iterator[Request]:
        for id, begin in work:
            if id not in journal.done:
                conversation = begin()
                request = finished(conversation)
                assert isinstance(request, Request)
                live[request.id] = conversation
                yield request

    try:
        requests: Iterable[Request] = first()
        while True:
            further = []
            for reply in client.answer(requests):
                conversation = live.pop(reply.request_id)
                state = finished(conversation, reply)
                if isinstance(state, Request):
                    live[state.id] = conversation
                    further.append(state)
                elif state.answered:
                    journal.append(reply.request_id, keep(state))
                    desk.tell(len(journal.done), len(work))
                else:
                    unanswered.append(state)
            if not further:
                break
            requests = further
        if unanswered and len(unanswered) == len(work):
            raise TeacherError(f"not one request was answered: {unanswered[0].error}", hint=AGAIN)
        journal.extend((result.request.id, keep(result)) for result in unanswered)
    finally:
        note_spending(desk, client)


def note_spending(desk: Desk, client: Client) -> None:
    """What this sitting asked, beside the stage's times: it differs from sitting to sitting."""
    if isinstance(client, Remembering):
        spent = client.spending
        desk.run.note_sitting(
            desk.stage,
            {
                "asked": spent.asked,
                "cached": spent.cached,
                "input_tokens": spent.usage.input_tokens,
                "output_tokens": spent.usage.output_tokens,
            },
        )


def counts_of(rows: Iterable[Row]) -> dict[str, int]:
    """Counts of a text stage: texts, how they ended, and what the answers they are made of used."""
    found: Counter[str] = Counter({"texts": 0, "done": 0, "failed": 0, "calls": 0})
    for row in rows:
        found["texts"] += 1
        found[row.get("status", "failed")] += 1
        found["unanswered"] += not row.get("answered", True)
        for name in ("calls", "input_tokens", "output_tokens"):
            found[name] += row.get(name, 0)
    return dict(found)
