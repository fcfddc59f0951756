"""The first screen: what a clinician wants to know before anything else, in whole sentences with their numbers."""

from dataclasses import dataclass
from typing import Any

from icu_lightning.description.words import number, percent
from icu_lightning.report import words
from icu_lightning.report.alarms import Alarms, alarms, icon_array, said
from icu_lightning.report.folder import Run
from icu_lightning.report.numbers import estimate, points, value_of
from icu_lightning.report.thirds import drawing, thirds
from icu_lightning.report.words import Status

RULES = {  # of thresholds.py; {} is its value
    "f1": "it has the highest F1 on validation stays, which weighs missed deaths and false alarms alike",
    "youden": "it has the highest sum of sensitivity and specificity on validation stays",
    "sensitivity": "on validation stays it finds {:.0%} of the deaths",
    "alert_rate": "on validation stays it flags {:.0%} of the stays",
    "net_benefit": "an alarm is held to be worth its cost from a risk of {:.0%} on",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of the first screen, its status, the sentences behind it, and perhaps a drawing."""

    question: str
    status: Status
    sentences: tuple[str, ...]
    svg: str = ""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """title, verdict: what it is, and the answer in one sentence. who: the stays. answers: can it, may it be believed.

    failed: what the leakage audit found; doubts: why the numbers are uncertain. icons: SVG, "" where there is no alarm.
    """

    title: str
    verdict: str
    who: tuple[str, ...]
    answers: tuple[Answer, ...]
    alarms: Alarms | None
    icons: str
    alarm_sentences: tuple[str, ...]
    failed: tuple[str, ...]
    doubts: tuple[str, ...]


def summary(run: Run) -> Summary:
    apart = words.discrimination(run.test.get("auroc"))
    believed = words.calibration(run.test, run.chance_ece)
    of = alarms(run.test)
    return Summary(
        title=f"{run.outcome.capitalize()}, predicted after {run.hours} hours of intensive care",
        verdict=verdict(run, apart, believed),
        who=_who(run),
        answers=(_apart(run, apart), _believed(run, believed)),
        alarms=of,
        icons=icon_array(of) if of else "",
        alarm_sentences=(said(of), *_threshold(run)) if of else ("Alarms are undefined on these stays.",),
        failed=tuple(f"{check['name']}: {check['said']}" for check in run.failed_checks),
        doubts=_doubts(run),
    )


def verdict(run: Run, apart: Status, believed: Status) -> str:
    """The answer in one sentence; a failed audit leaves none."""
    if run.failed_checks:
        return "The leakage audit failed, so that these numbers may be too good: do not rely on them."
    if apart.tone == "unknown":
        return "On these test stays it cannot be said whether the model foresees anything."
    if "chance" in apart.word:
        return f"These test stays do not show that the model foresees {run.outcome} any better than chance."
    tells = f"The model tells who is in danger with {apart.word} accuracy"
    if believed.tone == "good":
        return f"{tells}, and the risks that it states can be taken at their word on stays like these."
    if believed.tone == "middling":
        return f"{tells}; the risks that it states are right on the whole."
    if believed.tone == "unknown":
        return f"{tells}; whether the risks that it states are right, these stays cannot tell."
    return f"{tells}, but the risks that it states are not right: read them as an order, not as a probability."


def _who(run: Run) -> tuple[str, ...]:
    test, stays = run.test, run.predictions
    died = (
        f"{test['events']:,} of them ({percent(test['events'], test['n'])}) ended in {run.outcome}" if test["n"] else ""
    )
    tested = f"Tested on {test['n']:,} stays of {test['patients']:,} patients of {run.database}; {died}."
    train = stays.filter(stays["split"] == "train")
    if run.folds:
        learnt = f"Each of {len(run.folds['n'])} models was tested on patients that it had never seen; their answers are pooled."
    else:
        learnt = (
            f"It had learnt from {train.height:,} stays ({int(train['label'].sum()):,} deaths), all of other patients."
        )
    variables = len(run.data["variables"])
    drugs = " and the vasoactive drugs" if run.data.get("vis") else ""  # of which a model may read a part
    seen = f"It is given {variables} measured variables{drugs} of the first {run.hours} hours"
    before = "in_icu_at_prediction" in str(run.data["cohort"])
    return (
        tested,
        learnt,
        f"{seen}, and nothing later." + (" Whoever had died or left the unit by then is not in it." if before else ""),
    )


def _apart(run: Run, status: Status) -> Answer:
    auroc = run.test.get("auroc") or {}
    value, low, high = (auroc.get(name) for name in ("value", "low", "high"))
    sentences: tuple[str, ...] = ()
    if value is not None:
        between = (
            f" (95 % interval {100 * low:.0f} to {100 * high:.0f})" if low is not None and high is not None else ""
        )
        sentences = (
            f"Of one patient who died and one who lived, the model gives the higher risk to the one who died in "
            f"{100 * value:.0f} of 100 such pairs{between}; tossing a coin does so in 50.",
            f"AUROC {estimate(auroc)}.",
        )
    return Answer(question="Does it tell who is in danger?", status=status, sentences=_with(status, sentences))


def _believed(run: Run, status: Status) -> Answer:
    ece, ratio = value_of(run.test.get("ece")), value_of(run.test.get("observed_to_expected"))
    sentences = []
    if ratio:
        expected = run.test["events"] / ratio
        sentences.append(f"The risks add up to {expected:,.0f} deaths; {run.test['events']:,} died.")
    if ece is not None:
        chance = (
            f"; perfect risks would seem off by up to {points(run.chance_ece)} on as many stays"
            if run.chance_ece
            else ""
        )
        sentences.append(f"In groups of like risk, they are off by {points(ece)} percentage points on average{chance}.")
        sentences.append(f"Brier score {estimate(run.test.get('brier'))}, ECE {estimate(run.test.get('ece'))}.")
    groups = thirds(run.test_stays["label"].to_numpy(), run.test_stays["risk"].to_numpy())
    return Answer(
        question="Is the risk to be believed?",
        status=status,
        sentences=_with(status, tuple(sentences)),
        svg=drawing(groups),
    )


def _with(status: Status, sentences: tuple[str, ...]) -> tuple[str, ...]:
    return (status.why, *sentences) if status.why else sentences


def _threshold(run: Run) -> tuple[str, ...]:
    """Where the alarm is set, by which rule, and whether it pays."""
    rule = rule_words(run.config["threshold"])
    threshold = run.test.get("threshold")
    if threshold is None:
        return (f"Each fold has a threshold of its own: {rule}.",)
    where = f"An alarm is a risk of {100 * threshold:.1f} % or more, the stored threshold: {rule}."
    return (where, *_worth(run.test, threshold))


def _worth(test: dict[str, Any], threshold: float) -> tuple[str, ...]:
    """Net benefit at the threshold, against acting on everybody and on nobody."""
    gained = value_of(test.get("net_benefit"))
    if gained is None or not 0 < threshold < 1:
        return ()
    rate, odds = test["events"] / test["n"], threshold / (1 - threshold)
    everybody = rate - (1 - rate) * odds
    if gained > max(0.0, everybody):
        said = "acting on these alarms is worth more than acting on everybody or on nobody"
    elif everybody > 0:
        said = "acting on everybody would be worth at least as much: the alarms gain nothing"
    else:
        said = "acting on nobody would be worth at least as much: the alarms gain nothing"
    times = number(1 / odds, 0 if odds < 0.2 else 1)
    return (
        f"If missing a death is {times} times as bad as a false alarm, as this threshold implies, {said} "
        f"(net benefit {estimate(test['net_benefit'])}).",
    )


def rule_words(rule: Any) -> str:
    """
    >>> rule_words({"sensitivity": 0.8}), rule_words("my_rule")
    ('on validation stays it finds 80% of the deaths', 'by the rule my_rule')
    """
    name, value = next(iter(rule.items())) if isinstance(rule, dict) else (rule, 0)
    return RULES[name].format(value) if name in RULES else f"by the rule {name}"


def _doubts(run: Run) -> tuple[str, ...]:
    test = run.test
    few = min(test["events"], test["n"] - test["events"])
    doubts = []
    if few < words.FEW:
        kind = "deaths" if few == test["events"] else "survivors"
        doubts.append(f"Only {few} {kind} among the test stays: every number here is uncertain. Read its interval.")
    if "note" in test:
        doubts.append(f"Of the test stays: {test['note']}.")
    if run.audit is None:
        doubts.append("There is no leakage audit in the run folder.")
    return tuple(doubts)
