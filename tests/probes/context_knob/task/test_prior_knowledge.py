"""What a model knows is what its whole answers say, though they are not all generated to their ends."""

from __future__ import annotations

import workbench as wb
from workbench.internals import prefix_cache
from workbench.probes.context_knob.task.matching import decided, strict
from workbench.probes.context_knob.task.prior_knowledge import known_items
from workbench.probes.context_knob.task.prompting import Prompter
from workbench.progress import Reporter
from workbench.texts.facts import BUILT_IN, read_facts


def test_known_is_what_is_answered_right_in_both_forms() -> None:
    session = wb.load("organism/context-knob")
    facts = read_facts(BUILT_IN).facts[:60]
    prompter = Prompter(session)
    expected = [True] * len(facts)
    for form in (prompter.bare, prompter.alone):
        prompts = [form(fact.query, fact.answer) for fact in facts]
        said = prefix_cache.answer_all(session, prompts, Reporter(), "")
        expected = [e and strict(text, fact.answer) for e, text, fact in zip(expected, said, facts, strict=True)]
    assert known_items(session, facts, Reporter()) == expected
    assert True in expected


def test_answers_end_once_all_are_enough() -> None:
    session = wb.load("organism/context-knob")
    facts = read_facts(BUILT_IN).facts[:30]
    prompts = [Prompter(session).bare(fact.query, fact.answer) for fact in facts]
    whole = prefix_cache.answer_all(session, prompts, Reporter(), "")
    asked: set[int] = set()

    def enough(at: int, text: str) -> bool:
        asked.add(at)
        assert whole[at].startswith(text.rstrip("\ufffd"))
        return decided(text, facts[at].answer)

    short = prefix_cache.answer_all(session, prompts, Reporter(), "", enough=enough)
    assert asked == set(range(len(facts)))
    assert all(b.startswith(a.rstrip("\ufffd")) for a, b in zip(short, whole, strict=True))
    at_once = prefix_cache.answer_all(session, prompts, Reporter(), "", enough=lambda *_: True)
    first = [session.text(ids) for ids in session.generate(prompts, 1).rows()]
    assert at_once == [text.strip() for text in first]
