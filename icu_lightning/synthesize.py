"""python -m icu_lightning.synthesize: a synthetic ICU as raw tables of a real database's schema, on disk."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from icu_lightning.atomic import write_text
from icu_lightning.errors import UserError
from icu_lightning.run import CONF, answer, one_line_errors

if TYPE_CHECKING:
    from icu_lightning.data.synthetic.settings import GeneratorSettings

ERRORS = Path(tempfile.gettempdir()) / "icu_lightning-synthesize"  # where the traceback of an unforeseen error is kept


def main() -> None:
    """The command. A user's mistake is one message and exit code 1, never a traceback."""
    answer(command)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="synthesize")
def command(cfg: DictConfig) -> None:
    """What Hydra calls with the composed configuration, once a job."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    with one_line_errors(ERRORS):
        synthesize({str(name): value for name, value in plain.items()})


def synthesize(config: dict[str, Any]) -> None:
    """Write the tables and say what they are. Raises UserError."""
    from icu_lightning.data.synthetic.settings import check_stays, settings_of
    from icu_lightning.data.synthetic.writers.write import write
    from icu_lightning.errors import true_or_false, whole_number
    from icu_lightning.terminal import bar, say

    if not config["out"]:
        raise UserError("Say where the tables shall go: out=FOLDER.")
    settings = settings_of(config["generator"])
    check_stays(config["stays"], settings)
    true_or_false("look", config["look"])
    out = Path(config["out"]).expanduser()
    workers = whole_number("workers", config["workers"], 1)
    try:
        with bar(f"{config['schema']} tables", config["stays"]) as step:
            write(out, config["schema"], settings, config["stays"], config["seed"], workers=workers, step=step)
    except OSError as error:
        raise UserError(f"Cannot write {out}: {error.strerror or error}. No half table is left there.") from error
    say(told(out, config["schema"], config["stays"]))
    if config["look"]:
        _look(out / "look.html", settings, config)
        say(f"What it looks like: {out / 'look.html'}")


def _look(page: Path, settings: "GeneratorSettings", config: dict[str, Any]) -> None:
    """The page of plots, beside the tables. Raises UserError if it cannot be written; the tables are whole then."""
    from icu_lightning.description.look import look, real_root

    text = look(settings, config["stays"], config["seed"], real_root())
    try:
        write_text(page, text)
    except OSError as error:
        raise UserError(f"The tables are whole, but {page} cannot be written: {error.strerror or error}.") from error


def told(out: Path, schema: str, asked: int) -> str:
    """What was made of `asked` stays, in a few lines, and how to go on."""
    import polars as pl

    from icu_lightning.data.synthetic.writers.columns import ORACLE

    oracle = pl.read_ipc(out / ORACLE)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    deaths = int(oracle["recorded_death"].sum())
    shorter = asked - oracle.height
    left_out = f"{shorter:,} of {asked:,} stays are shorter than the benchmark's 48 hours and have no file.\n"
    return (
        f"{oracle.height:,} SYNTHETIC stays (no patients of any hospital), {oracle['patient_id'].n_unique():,} patients, "
        f"{deaths:,} recorded deaths ({deaths / oracle.height:.1%}); {size / 1e6:,.0f} MB in {out}\n"
        f"{left_out if shorter else ''}"
        f"Now: python -m icu_lightning.run model=focal_lstm data={schema} data.root={out}"
    )


if __name__ == "__main__":
    main()
