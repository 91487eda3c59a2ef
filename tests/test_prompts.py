"""Prompts: every name given or an error, digests that follow the wording, sets, and prompts of the user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jinja2
import pytest

from making import demo_line
from reasoningrec import prompts
from reasoningrec.errors import ConfigError
from reasoningrec.llm.client import ItemMaterial, Past, ReasonMaterial, UserMaterial
from reasoningrec.prompts import NAMES, SETS, PromptSet
from reasoningrec.records import Item, Rationale
from reasoningrec.teacher import describe, judge, profile, reason
from reasoningrec.teacher.wording import Wording

FOLDER = Path(prompts.__file__).parent
SHARED = sorted(path.stem for path in FOLDER.glob("*.md"))
PROFILE = {"item_word": "film", "items_word": "films", "user_word": "viewer", "past": [], "words": 100}
CITED = PromptSet("cited")


def test_there_is_a_prompt_for_every_text() -> None:
    assert SHARED == ["answer", "as-published", "model-card", "reason-first", "recommend", "repair", "zero-shot"]
    for name in NAMES:
        assert (FOLDER / "cited" / f"{name}.md").is_file()
    assert {path.stem for path in (FOLDER / "paper").glob("*.md")} == {*NAMES, "history"} - {"judge"}


@pytest.mark.parametrize("name", [name for name in SHARED if name != "reason-first"])  # has no names to fill in
def test_a_name_not_given_is_an_error_and_never_a_blank(name: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        prompts.render(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chosen", SETS)
def test_a_name_not_given_to_a_set_is_an_error(name: str, chosen: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        PromptSet(chosen).render(name)


def test_every_single_name_is_needed() -> None:
    assert "at most 100 words" in CITED.render("profile", **PROFILE)
    for gone in PROFILE.keys() - {"item_word", "past"}:
        with pytest.raises(jinja2.UndefinedError, match=gone):
            CITED.render("profile", **{name: value for name, value in PROFILE.items() if name != gone})


def test_text_is_taken_as_it_is() -> None:
    shown = CITED.render("profile", **{**PROFILE, "items_word": "<b>{{ 1 }} & {% x %}"})
    assert "<b>{{ 1 }} & {% x %}" in shown


def test_an_unknown_prompt_is_an_error() -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        prompts.render("nothing")


@pytest.mark.parametrize("name", SHARED)
def test_a_digest_is_that_of_the_file(name: str) -> None:
    assert prompts.digest(name) == hashlib.sha256((FOLDER / f"{name}.md").read_bytes()).hexdigest()
    assert len({prompts.digest(other) for other in SHARED}) == len(SHARED)


def test_every_prompt_of_every_set_has_its_own_digest() -> None:
    found = {PromptSet(chosen).digest(name) for chosen in SETS for name in NAMES}
    assert len(found) == len(SETS) * len(NAMES) - 1  # both sets judge alike


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "profile.md").write_text("{% include 'more.md' %}Who likes {{ items_word }}? {{ words }}", "utf-8")
    (folder / "more.md").write_text("Think. ", "utf-8")
    return folder


def test_own_prompts_stand_in_for_those_of_the_cited_set(own: Path) -> None:
    mine = PromptSet(str(own))
    assert mine.render("profile", **PROFILE) == "Think. Who likes films? 100"
    assert mine.digest("describe") == CITED.digest("describe")
    assert mine.cites


def test_a_digest_follows_the_files_that_a_prompt_includes(own: Path) -> None:
    before = PromptSet(str(own)).digest("profile")
    (own / "more.md").write_text("Think well. ", "utf-8")
    after = PromptSet(str(own)).digest("profile")
    assert before != after
    (own / "describe.md").write_text("x", "utf-8")
    assert PromptSet(str(own)).digest("profile") == after


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Line\n{{ nobody }}", "'nobody' is undefined"),
        ("Line\n{% if %}", "profile.md:2"),
        ("{{ words.__class__.__mro__ }}", "unsafe"),
        ("{{ words / 0 }}", "cannot be filled in"),
        ("{% include 'gone.md' %}", "gone.md"),
        ("Line\n{% include 'profile.md' %}", "profile.md:2"),
        ("Line\n{% for n in range(10 ** 9) %}{% endfor %}", "profile.md:2"),
    ],
)
def test_a_wrong_prompt_of_the_users_is_told_by_file_and_line(own: Path, text: str, problem: str) -> None:
    (own / "profile.md").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as raised:
        PromptSet(str(own)).render("profile", **PROFILE)
    message = str(raised.value)
    assert "profile.md" in message
    assert problem in message


def test_a_folder_without_prompts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        PromptSet(str(tmp_path / "gone")).digest("profile")
    with pytest.raises(ConfigError, match=r"holds none of describe\.md"):
        PromptSet(str(tmp_path)).digest("profile")


CASE = next(case for case in demo_line(60).cases if case.profile and case.description and case.query.history)


def asked(chosen: str) -> dict[str, str]:
    """Every prompt of a set, filled in."""
    words = Wording(PromptSet(chosen), "film", "films", "viewer")
    lamp = Item("i1", "Lamp", "Alder", 12.5, ("lamp",))
    material = ReasonMaterial(CASE, False, "film", 60, 80, 3)
    requests = {
        "describe": describe.request("i1@1", ItemMaterial(lamp, "film", "", ("Great.",), 25), words),
        "profile": profile.request("u@1", UserMaterial("u", "film", (Past(lamp, True, ""),), 100), words),
        "reason": reason.request(material, words),
        "reason-unhinted": reason.request(material, words, hinted=False),
        "judge": judge.request(Rationale("q", True, "Lamps.", "You will like it [U1].", ("U1",), "x"), words),
    }
    return {name: request.messages[0].text for name, request in requests.items()}


@pytest.mark.parametrize("chosen", SETS)
def test_the_words_of_the_domain_come_from_the_configuration(chosen: str) -> None:
    for name, text in asked(chosen).items():
        assert "film" in text, name
        plain = text.replace("second person", "").replace(CASE.profile, "").replace(CASE.description, "")
        for fact in CASE.evidence.facts:
            plain = plain.replace(fact.text, "")
        assert not [word for word in ("product", "item ", "movie", "shopper", "person") if word in plain], name


@pytest.mark.parametrize("chosen", SETS)
def test_only_the_hinted_prompt_tells_the_label(chosen: str) -> None:
    words = Wording(PromptSet(chosen))
    for hinted in (True, False):
        yes, no = (
            reason.request(ReasonMaterial(CASE, label, "film", 60, 80, 3), words, hinted=hinted)
            for label in (True, False)
        )
        assert (yes.messages == no.messages) is not hinted
        assert hinted or yes.material == no.material


def test_the_papers_set_follows_the_published_method() -> None:
    text = asked("paper")
    assert "in 25 words" in text["describe"]
    assert "in at most 100 words" in text["profile"]
    assert "will DISLIKE the next film" in text["reason"]
    assert "[H" not in text["reason"]
    for reaction in CASE.query.history:
        assert f"{CASE.items[reaction.item].title}: {'LIKED' if reaction.liked else 'DISLIKED'}" in text["reason"]


def test_the_judge_does_not_see_the_decision() -> None:
    assert "You ____ it [U1]." in asked("cited")["judge"]
