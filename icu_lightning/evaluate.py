"""python -m icu_lightning.evaluate: metrics.json and figures of finished runs anew, from predictions.parquet alone, without torch."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning.errors import UserError, whole_number
from icu_lightning.run import CONF, answer, one_line_errors


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    with one_line_errors(Path(), new=False):
        evaluate_runs(folders(config["run"]), config["bootstrap"], config["smallest"], config["figures"])


def folders(run: object) -> list[Path]:
    """The run folders named by run=A or run=[A,B]. Raises UserError if there is none, or one twice."""
    named = run if isinstance(run, list) else [run]
    if not named or None in named:
        raise UserError("Which run? Name its folder: run=FOLDER, or several: run=[A,B].")
    paths = [Path(str(name)).expanduser() for name in named]
    twice = next((path for i, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:i]}), None)
    if twice is not None:
        raise UserError(f"run names {twice} twice.")
    return paths


def evaluate_runs(paths: list[Path], bootstrap: int | None, smallest: int, figures: str | None = None) -> None:
    """Evaluate, draw and show each; a run that is refused stops the command before anything is written."""
    from icu_lightning import runfolder
    from icu_lightning.evaluation.stored import read, read_imputations
    from icu_lightning.plots.kinds import known_figures
    from icu_lightning.plots.run import draw_run
    from icu_lightning.results import evaluated, finished_metrics, show, stored_digest, write_metrics
    from icu_lightning.terminal import say

    if bootstrap is not None:
        whole_number("bootstrap", bootstrap, 0)
    whole_number("smallest", smallest, 1)
    if figures is not None:
        known_figures(figures)
    with ExitStack() as held:
        runs = []
        for folder in paths:
            config = runfolder.configuration(folder)
            held.enter_context(runfolder.locked(folder))
            finished = finished_metrics(folder)
            known = stored_digest(finished)
            imputations = read_imputations(folder / "imputations.parquet", stored_digest(finished, "imputations"))
            runs.append((folder, config, known, read(folder / "predictions.parquet", known), imputations))
        for folder, config, known, stored, imputations in runs:
            if known is None:
                say(
                    f"{folder}: no digest of predictions.parquet was kept, so a change of it could not have been noticed."
                )
            replicates = config["bootstrap"] if bootstrap is None else bootstrap
            settings = {"bootstrap": replicates, "seed": config["seed"], "smallest": smallest}
            metrics = evaluated(stored.table, stored.sha256, **settings, imputations=imputations)
            write_metrics(folder, metrics)
            draw_run(folder, config, figures)
            show(folder, config, metrics)
            if (folder / "report.html").exists():
                say(f"report.html still tells the numbers of before; anew: python -m icu_lightning.report run={folder}")


if __name__ == "__main__":
    main()
