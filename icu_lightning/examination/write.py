"""All that a closer look puts into a run folder: hours_observed.csv, two figures, and the pages of single stays."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from icu_lightning import __version__
from icu_lightning.atomic import atomic_file, atomic_folder
from icu_lightning.disclosure import is_open, may_show_stays
from icu_lightning.examination.cases import cases, chosen
from icu_lightning.examination.choices import choices
from icu_lightning.examination.embedding import embedding, embedding_figure
from icu_lightning.examination.epochs import learnt, learnt_figure
from icu_lightning.examination.examined import Examined
from icu_lightning.examination.hours_observed import HoursSeen, hours_figure, hours_observed
from icu_lightning.examination.pages import pages
from icu_lightning.plots.kinds import figures_asked
from icu_lightning.plots.save import write_figure
from icu_lightning.plots.sheet import Facts


def look_closer(folder: Path, config: Mapping[str, Any], it: Examined, say: Callable[[str], object]) -> None:
    """Write all of them; what cannot be, or may not be shown, is left out with a sentence. Raises UserError for a wrong choice."""
    wanted = choices(config)
    if not it.test.height:
        say("There are no test stays, so there is nothing to look at more closely.")
        return
    facts, png = _facts(config, it), figures_asked(config, None) == "png"
    table = hours_observed(it, wanted.hours, config["bootstrap"], config["seed"])
    with atomic_file(folder / "hours_observed.csv") as path:
        table.write_csv(path)
    if table["auroc"].null_count():
        _not_drawn(folder, "hours_observed", "the test stays all have one outcome", say)
    else:
        alt = "AUROC and observed over expected deaths when the model has seen the first hours only; see hours_observed.csv."
        figure = hours_figure(HoursSeen(table=table, facts=facts))
        write_figure(figure, _plot(folder, "hours_observed"), alt, png=png)
    if wanted.embedding:
        drawn = embedding(it, wanted.embedding, config["seed"] % 2**32, facts)
        if drawn is None:
            _not_drawn(folder, "embedding", "there are too few test stays, or they are all alike", say)
        else:
            alt = "Test stays by principal components and t-SNE of the model's own representation, by outcome and by risk."
            write_figure(embedding_figure(drawn), _plot(folder, "embedding"), alt, png=png)
    _draw_epochs(folder, it, wanted.embedding, config["seed"] % 2**32, facts, png=png)
    if wanted.stays:
        _stay_pages(folder, config, it, wanted.stays, say)


def _draw_epochs(folder: Path, it: Examined, most: int, seed: int, facts: Facts, *, png: bool) -> None:
    """Of a model that kept its weights on the way; nothing is said of one that did not."""
    drawn = learnt(it, most, seed, facts) if most else None
    if drawn is None:
        return _plot(folder, "embedding_epochs").unlink(missing_ok=True)
    alt = f"t-SNE of test stays by outcome: {', '.join(drawn.maps)}."
    write_figure(learnt_figure(drawn), _plot(folder, "embedding_epochs"), alt, png=png)


def _stay_pages(folder: Path, config: Mapping[str, Any], it: Examined, n: int, say: Callable[[str], object]) -> None:
    if not may_show_stays(config, it.data.source):
        say(
            "Single stays are not shown: the data are neither synthetic nor known to be open (report.stay_pages=always)."
        )
        return
    drawn = cases(it, chosen(it.test, n, config["seed"]))
    about = {
        "model": config["names"]["model"],
        "rule": rule_words(config["threshold"]),
        "made": f"made by icu_lightning {__version__}",
    }
    with atomic_folder(folder / "stays") as new:
        for name, content in pages(it, drawn, about, ids=is_open(it.data.source)).items():
            (new / name).write_text(content, encoding="utf-8")


def rule_words(rule: str | Mapping[str, float]) -> str:
    """How the threshold was chosen.

    >>> rule_words("f1"), rule_words({"alert_rate": 0.1})
    ('chosen on validation stays by f1', 'chosen on validation stays by alert rate 0.1')
    """
    words = rule if isinstance(rule, str) else " ".join(f"{name} {value}" for name, value in rule.items())
    return f"chosen on validation stays by {words.replace('_', ' ')}"


def _facts(config: Mapping[str, Any], it: Examined) -> Facts:
    outcome, events = it.data.settings.outcome.replace("_", " "), int(it.test["label"].sum())
    about = f"{config['names']['model']} on {it.data.source.name}, test split: {it.test.height:,} stays, {events:,} {outcome}"
    return Facts(about=about, synthetic=it.data.source.synthetic)


def _plot(folder: Path, name: str) -> Path:
    return folder / "plots" / f"{name}.svg"


def _not_drawn(folder: Path, name: str, why: str, say: Callable[[str], object]) -> None:
    for ending in (".svg", ".png"):
        _plot(folder, name).with_suffix(ending).unlink(missing_ok=True)
    say(f"plots/{name}.svg is not drawn: {why}.")
