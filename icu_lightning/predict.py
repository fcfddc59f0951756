"""python -m icu_lightning.predict: the risks of a trained model for stays of any database, with or without known outcomes.

The checkpoint decides about window, variables and features; the command about the database and the cohort. Risks are those
that the run itself would give: the same scaler, calibrator and threshold, and nothing fitted anew.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from icu_lightning.errors import UserError
from icu_lightning.run import CONF, answer, composed_config, one_line_errors

OF_THE_CHECKPOINT = (
    "outcome", "hours", "variables", "static", "outliers", "severity", "vis", "vis_extended",
)  # fmt: skip


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration, once a job."""
    with one_line_errors(Path(HydraConfig.get().runtime.output_dir)):
        predict(composed_config(cfg), HydraConfig.get().overrides.task)


def predict(config: Mapping[str, Any], typed: Sequence[str]) -> None:
    """Write the predictions to `config['out']`.

    Arguments:
        typed: overrides as typed on the command line.

    Raises UserError for a checkpoint, a database or a setting that cannot be used, or a file that is there already.
    """
    from icu_lightning.terminal import say, steps

    for name in ("checkpoint", "out"):
        if not config[name]:
            raise UserError(
                f"{name}= is missing: python -m icu_lightning.predict checkpoint=RUN data=eicu out=FILE.parquet"
            )
    out = Path(config["out"]).expanduser()
    if out.exists():
        raise UserError(f"{out} is there already, and nothing is overwritten: choose another out=FILE.")
    refuse_settings_of_the_checkpoint(typed)
    checkpoint = Path(config["checkpoint"]).expanduser()
    if not checkpoint.exists():  # told before torch is loaded
        raise UserError(
            f"There is no checkpoint {checkpoint}: checkpoint= names a run folder or its checkpoints/model.ckpt."
        )
    from icu_lightning.data.module import ICUDataModule
    from icu_lightning.data.settings import source_and_settings
    from icu_lightning.disclosure import is_open
    from icu_lightning.evaluation.predictions import MEASURED, write
    from icu_lightning.models.base import draws_of
    from icu_lightning.training.checkpoint import trained

    model = trained(checkpoint)
    conf = at_the_checkpoints_time(config["data"], model.content, typed)
    source, settings = source_and_settings(**chosen(conf, model.content, names_a_cohort(typed)))
    refuse_uncharted(source.name, settings.variables, config["unmeasured"])
    with steps("Data", 4) as step:
        data = ICUDataModule(source, settings, say=say, step=step)
        stays = data.apply(model.content, config["unmeasured"])
    risks = draws_of(model.model, stays)
    table = predictions(data.stays, settings.outcome, risks, stays.n_measured, model, settings.hours)
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"synthetic": source.synthetic, "open_data": is_open(source)}
    write(table, out, outcome=settings.outcome, source=source.name, **about)
    known = table["label"].is_not_null().sum()
    kind = "SYNTHETIC stays (no patients of any hospital)" if source.synthetic else "stays"
    say(
        f"{source.name}: {table.height:,} {kind}, {known:,} with a known {settings.outcome}; {int(table['flagged'].sum()):,} flagged"
    )
    if nothing := int((table[MEASURED] == 0).sum()):
        say(
            f"Stays without a single measurement, whose risk is that of nobody in particular: {nothing:,} ({MEASURED} = 0)"
        )
    say(f"Predictions: {out}")


def refuse_uncharted(database: str, variables: Sequence[str], unmeasured: object) -> None:
    """Raise UserError for variables of the model that the database lacks and that nobody asked to feed as never measured."""
    from icu_lightning.data.concepts import concepts_of, derivable

    if not isinstance(unmeasured, list):
        raise UserError(f"unmeasured must be a list, as in 'unmeasured=[lactate]'; it is {unmeasured}.")
    if strangers := [name for name in unmeasured if name not in variables]:
        raise UserError(
            f"unmeasured names {', '.join(strangers)}, which the model does not use: {', '.join(variables)}."
        )
    if set(unmeasured) >= set(variables):
        raise UserError("unmeasured names every variable of the model: nothing would be left to predict from.")
    concepts = [concept for concept in concepts_of(variables) if concept.name not in unmeasured]
    missing = [c.name for c in concepts if database not in c.charted and not derivable(c, database)]
    if missing:
        raise UserError(
            f"The model uses {', '.join(missing)}, which {database} does not chart (concepts.yaml has no '{database}' entry). "
            f"To feed it as never measured, which the model was not trained for: 'unmeasured=[{','.join([*unmeasured, *missing])}]'."
        )


def refuse_settings_of_the_checkpoint(typed: Sequence[str]) -> None:
    """Raise UserError for an override of what the model was made with."""
    for override in typed:
        key = override.split("=", 1)[0].lstrip("+~")
        if key.removeprefix("data.") in OF_THE_CHECKPOINT and key != "data":
            raise UserError(f"{key} is decided by the checkpoint; leave '{override}' out.")


def names_a_cohort(typed: Sequence[str]) -> bool:
    return any(override.split("=", 1)[0] in ("cohort", "data.cohort") for override in typed)


def at_the_checkpoints_time(
    data: Mapping[str, Any], content: Mapping[str, Any], typed: Sequence[str]
) -> Mapping[str, Any]:
    """The data settings; conf/cohort's `${data.hours}` and `${data.outcome}` in a cohort typed by name become the checkpoint's."""
    if not any(override.startswith("cohort=") for override in typed):
        return data
    stored = content["data"]["settings"]
    ours = {"in_icu_at_prediction": "hours", "outcome_known": "outcome"}
    cohort = [
        {
            name: stored[ours[name]] if name in ours and value == data[ours[name]] else value
            for name, value in step.items()
        }
        if isinstance(step, Mapping)
        else step
        for step in data["cohort"]
    ]
    return {**data, "cohort": cohort}


def chosen(data: Mapping[str, Any], content: Mapping[str, Any], own_cohort: bool) -> dict[str, Any]:
    """The data settings: the source's own from the command, the model's from the checkpoint.

    Arguments:
        own_cohort: the command names a cohort; otherwise it is that of the training, without asking for a known outcome.
    """
    stored = content["data"]["settings"]
    merged = dict(data) | {name: stored[name] for name in OF_THE_CHECKPOINT}
    if not own_cohort:
        merged["cohort"] = [step for step in stored["cohort"] if "outcome_known" not in step]
    return merged


def predictions(stays: Any, outcome: str, draws: Any, n_measured: Any, model: Any, hours: int) -> Any:
    """One row a stay: the columns of predictions.parquet (without a split), `flagged`, and those of the MEDS evaluation schema.

    MEDS wants an integer subject and a moment: the subject is the patient where its id is a number, else the stay; the moment
    counts from 1970-01-01 00:00 as admission to the unit, because no frame of ours has dates.
    """
    import polars as pl

    from icu_lightning.evaluation.predictions import MEASURED, SUBGROUPS, raw_predictions, spread_of

    raw = raw_predictions(stays.with_columns(split=pl.lit("none")), outcome, draws, n_measured)
    risk = model.calibrator.transform(raw["risk_raw"].to_numpy())
    spread = spread_of(draws, model.calibrator)
    table = raw.with_columns(spread, risk=pl.Series(risk), threshold=pl.lit(model.threshold))
    return table.select(
        subject_id=pl.coalesce(pl.col("patient_id").cast(pl.Int64, strict=False), "stay_id"),
        prediction_time=pl.lit(datetime(1970, 1, 1) + timedelta(hours=hours)),
        boolean_value=pl.col("label") == 1,
        predicted_boolean_value=pl.col("risk") >= pl.col("threshold"),
        predicted_boolean_probability="risk",
        flagged=pl.col("risk") >= pl.col("threshold"),
        **{
            name: name
            for name in (
                "stay_id",
                "patient_id",
                "hospital_id",
                "label",
                "risk_raw",
                "risk",
                "risk_sd",
                "threshold",
                MEASURED,
                *SUBGROUPS,
            )
        },
    )


if __name__ == "__main__":
    main()
