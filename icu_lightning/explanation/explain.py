"""The explanation of one model on one data module: sample stays, attribute their risks, write table, summary and figures."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icu_lightning.atomic import atomic_file, write_text
from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.data.module import ICUDataModule
from icu_lightning.errors import UserError
from icu_lightning.evaluation.calibration import Calibrator
from icu_lightning.explanation.figures import draw
from icu_lightning.explanation.game import affordable, feature_of
from icu_lightning.explanation.owen import OwenExplainer, Risk
from icu_lightning.explanation.sample import background_stays, explained_stays
from icu_lightning.explanation.settings import Settings
from icu_lightning.explanation.summary import NOTHING, summary
from icu_lightning.explanation.table import attribution_table, readings
from icu_lightning.explanation.words import short
from icu_lightning.terminal import bar, say


def risk_of(model: Any, calibrator: Calibrator | None) -> Risk:
    """What is explained: the mean of the model's draws, calibrated or as it is."""

    def risk(batch: StayBatch) -> Any:
        raw = model.predict(batch).double().mean(1).numpy()
        return raw if calibrator is None else np.asarray(calibrator.transform(raw))

    return risk


def explain(
    folder: Path,
    data: ICUDataModule,
    model: Any,
    settings: Settings,
    *,
    calibrator: Calibrator | None,
    bootstrap: int,
    seed: int,
    show_stays: bool,
    png: bool = False,
) -> None:
    """Write explanation.json, attributions.parquet and plots/shap_*.svg into the run folder, and say in a line what came of it.

    Arguments:
        calibrator: the run's, if calibrated risks are to be explained.
        show_stays: single stays may be drawn.
        png: figures also as PNG of 300 dpi.

    Raises UserError if the evaluations are too few, or there is no test stay.
    """
    if not len(data.test):
        raise UserError("The test split is empty: there is no stay to explain.")
    risk = risk_of(model, calibrator)
    players, n_background = affordable(data.shape, settings.evaluations, settings.background, settings.drugs)
    rows, weight = explained_stays(data.test, settings.stays, seed)
    stays = data.test[torch.from_numpy(rows)]
    absent = background_stays(risk, data.train, n_background, pool=settings.evaluations, seed=seed)
    with bar("Explaining", len(stays)) as advance:
        explainer = OwenExplainer(
            risk=risk,
            players=players,
            stays=stays,
            background=data.train[torch.from_numpy(absent)],
            seed=seed,
            advance=advance,
        )
        found = explainer(np.arange(len(stays))[:, None], silent=True)
    table = attribution_table(
        found.values, found.base_values, risk(stays), weight, stays, players, readings(data, stays)
    )
    facts = {
        "source": data.source.name,
        "synthetic": data.source.synthetic,
        "outcome": data.settings.outcome,
        "split": "test",
        "risk": settings.risk,
        "hours": data.shape.hours,
        "block_hours": players.block,
        "drugs": settings.drugs if data.shape.vis else None,
        "players": len(players),
        "background": len(absent),
        "evaluations": settings.evaluations,
        "evaluations_spent": explainer.evaluations,
        "seed": seed,
        "not_charted": not_charted(data.shape, (data.train, data.test)),
    }
    content = summary(table, facts, bootstrap=bootstrap, seed=seed)
    metadata = {"source": data.source.name, "synthetic": str(data.source.synthetic).lower()}
    with atomic_file(folder / "attributions.parquet") as path:
        table.write_parquet(path, metadata=metadata)
    write_text(folder / "explanation.json", json.dumps(content, indent=2) + "\n")
    draw(folder / "plots", table, content, single=settings.single if show_stays else 0, png=png)
    say(explanation_line(content))


def not_charted(shape: BatchShape, splits: Iterable[StayBatch]) -> list[str]:
    """Static features with categories that are unknown of every stay: the database does not chart them, and their 0 is no finding."""
    columns = [i for i, name in enumerate(shape.static) if "=" in name and not name.endswith("=unknown")]
    known = torch.stack([(split.static[:, columns] != 0).any(0) for split in splits]).any(0)  # (columns)
    charted = {feature_of(shape.static[i]) for i, there in zip(columns, known.tolist(), strict=True) if there}
    return [name for name in dict.fromkeys(feature_of(c) for c in shape.static if "=" in c) if name not in charted]


def explanation_line(content: Mapping[str, Any]) -> str:
    """What drives the risk, and whether it adds up; a warning where it does not."""
    moving = [f for f in content["features"][:5] if f["mean_absolute"] > NOTHING]
    leading = ", ".join(f"{short(f['feature'])} {100 * f['mean_absolute']:.1f}" for f in moving) or "nothing"
    error = max(content["largest_error"], 1e-16)  # a double says no less
    line = (
        f"explanation ({content['risk']} risk, {content['n']} test stays against {content['background']} training stays, "
        f"{content['evaluations_spent']:,} evaluations, blocks of {content['block_hours']} h): moved most, in percentage points: "
        f"{leading}; base value + attributions = risk within {error:.0e} (tolerance {content['tolerance']:.0e})"
    )  # fmt: skip
    return line if content["adds_up"] else f"WARNING: {content['warning']}"
