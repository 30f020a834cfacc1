"""The explanation of a renewal, as text and as JSON."""

from __future__ import annotations

from certctl.inspection.explain import Explanation
from certctl.output.certificates import renewal_text
from certctl.output.console import Paragraph
from certctl.output.document import Json
from certctl.output.times import Times, moment


def explanation_lines(found: Explanation, times: Times) -> list[object]:
    """Return the decision, then one line per fact, with its time first."""
    decision = found.decision
    text = renewal_text(decision.at, decision.why, due=decision.due, times=times)
    moments = [times.minute(fact.at) if fact.at else "" for fact in found.facts]
    width = max((len(each) for each in moments), default=0)
    lines = (
        Paragraph(f"  {each.ljust(width)}  {fact.text}")
        for each, fact in zip(moments, found.facts, strict=True)
    )
    return [Paragraph(f"{found.name}: {text}"), *lines]


def explanation_object(found: Explanation) -> dict[str, Json]:
    """Return the explanation as JSON."""
    decision = found.decision
    return {
        "name": found.name,
        "due": decision.due,
        "at": moment(decision.at),
        "reason": decision.reason,
        "why": decision.why,
        "opens": moment(decision.opens),
        "facts": [
            {"key": fact.key, "at": moment(fact.at), "text": fact.text} for fact in found.facts
        ],
    }
