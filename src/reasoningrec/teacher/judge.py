"""Self-verification: whether a model recovers the label from a rationale alone, where the text says it blanked out.

A rationale from which nobody can tell the decision gives no reasons for it; one whose reasons point the other way would
teach the wrong thing. The judge may be another model than the writer.
"""

from __future__ import annotations

from reasoningrec.llm.client import Reply, Request
from reasoningrec.llm.stance import mask
from reasoningrec.records import Rationale
from reasoningrec.teacher.answers import decision, read
from reasoningrec.teacher.conversation import Conversation, ask
from reasoningrec.teacher.wording import Wording

FIELDS = ("Prediction",)
GATE = "judge"
"""Its name among the gates that a verdict counts."""
SAYS = "a judge tells the label from the reasons alone, with the decision blanked out"


def request(rationale: Rationale, wording: Wording) -> Request:
    """Ask which decision a rationale argues for."""
    messages = wording.ask("judge", taste=mask(rationale.taste), why=mask(rationale.why))
    return Request(rationale.query_id, messages, FIELDS, words=2)


def parse(reply: Reply) -> bool:
    """What the judge says. Raises TeacherError when it is neither Yes nor No."""
    return decision(read(reply.text, FIELDS)["Prediction"])


def conversation(rationale: Rationale, wording: Wording) -> Conversation[bool]:
    """Ask until the judge decides."""
    return ask(request(rationale, wording), parse)
