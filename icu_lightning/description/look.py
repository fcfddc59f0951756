"""A page that shows what the synthetic ICU made, beside the same statistics of the real eICU demo where there is one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from icu_lightning.data.concepts import all_concepts, concepts_of
from icu_lightning.data.extract import extract
from icu_lightning.data.sources.eicu import EICU
from icu_lightning.data.sources.tables import MADE_UP, RawTables
from icu_lightning.data.synthetic.generate import Block, in_blocks
from icu_lightning.data.synthetic.observation import severity_points
from icu_lightning.data.synthetic.people import MINUTES_A_DAY, visits_of
from icu_lightning.data.synthetic.physiology import PATTERNS, body_of
from icu_lightning.data.synthetic.settings import GeneratorSettings
from icu_lightning.data.synthetic.variables import CHARTED, CONDITIONS, DECIMALS, SERIES, VITALS
from icu_lightning.description import realism
from icu_lightning.description.figures import nice_ticks
from icu_lightning.description.realism import Doubles, Hours
from icu_lightning.description.templates import rendered
from icu_lightning.description.words import number, percent, plain
from icu_lightning.errors import UserError

SAMPLE = 2000  # stays that are looked at
PLOT = 300.0, 130.0
MADE, REAL = "made up", "real (eICU demo)"
CIRCADIAN = ("heart_rate", "sbp", "temperature", "respiratory_rate")
PERSISTENT = ("heart_rate", "sbp", "spo2", "temperature", "lactate", "creatinine")
ONE_HOUR = ("heart_rate", "respiratory_rate", "spo2", "sbp", "dbp")
SHIFTS = {"day, 7 to 15 h": (7, 15), "evening, 15 to 23 h": (15, 23), "night, 23 to 7 h": (23, 7)}
MATRIX, LABEL = 360.0, 110.0


@dataclass(frozen=True)
class Line:
    """One curve: values at x = 0, 1, ... (or `x`), NaN left out."""

    name: str
    y: Doubles
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    title: str
    svg: str
    key: list[tuple[str, int, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    title: str
    note: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


def look(settings: GeneratorSettings, stays: int, seed: int, real_root: str | None) -> str:
    """The page as HTML text, about the first stays of the population (SAMPLE at most).

    Arguments:
        real_root: a folder with the eICU tables in it; None, or one without them, shows the made-up hours alone.
    """
    blocks = [block for _, block in in_blocks(settings, seed, min(stays, SAMPLE), lambda block: block)]
    made, real = _made(blocks), real_hours(real_root)
    kinds = [(MADE, made, False)] + ([(REAL, real, True)] if real else [])
    truth = pl.concat([block.truth for block in blocks])
    return rendered(
        "realism.html",
        about=f"{truth.height:,} of {stays:,} stays, seed {seed}; {percent(int(truth['recorded_death'].sum()), truth.height)} "
        f"recorded as died in hospital.",
        beside=f"Beside them: {len(real.values):,} stays of the eICU demo."
        if real
        else "No real stays beside them: set ICU_DATA_ROOT to a folder with the eICU demo.",
        sections=[
            _realism(made, real),
            _circadian(kinds),
            _persistence(kinds),
            _correlations(kinds),
            _missing(kinds, blocks, settings, seed),
            _survival(blocks, truth),
            _conditions(truth),
        ],
    )


def _made(blocks: Sequence[Block]) -> Hours:
    places = [CHARTED.index(name) for name in SERIES]
    visits = [block.visits for block in blocks]
    length = np.concatenate([v.length for v in visits])
    start = np.concatenate([v.start for v in visits])
    values = np.concatenate([block.values[..., places] for block in blocks]).astype(np.float64)
    inside = np.arange(values.shape[1]) < length[:, None] / 60
    return Hours(SERIES, values, start % MINUTES_A_DAY / 60, inside)


def real_hours(root: str | None) -> Hours | None:
    """The first 48 hours of the adult stays of the real eICU tables below `root`; None if there are none."""
    if not root or not Path(root).is_dir():
        return None
    try:
        source = EICU(root)
        found = extract(source, 48, SERIES, ["age_known", {"stay_at_least": 24}], "died_in_hospital")
    except UserError:  # other data, or tables that lack one of the variables: there is nothing to set beside
        return None
    if (source.tables.folder / MADE_UP).exists():
        return None
    clock = found.stays.select("stay_id").join(
        _admission_clock(source.tables), on="stay_id", how="left", maintain_order="left"
    )
    inside = np.arange(48) < found.stays["los_hours"].to_numpy()[:, None]
    return Hours(SERIES, found.values.astype(np.float64), clock["clock"].fill_null(np.nan).to_numpy(), inside)


def _admission_clock(tables: RawTables) -> pl.DataFrame:
    """stay_id and the hour of the day at admission to the unit."""
    at = pl.col("unitadmittime24").str.split(":")
    clock = at.list.get(0).cast(pl.Float64, strict=False) + at.list.get(1).cast(pl.Float64, strict=False) / 60
    rows = tables.scan("patient", ["patientunitstayid", "unitadmittime24"])
    return tables.collect(rows.select(stay_id=pl.col("patientunitstayid").cast(pl.Int64, strict=False), clock=clock))


def _realism(made: Hours, real: Hours | None) -> Section:
    title = "Can they be told apart?"
    if real is None:
        return Section(title, "Without real hours, nothing can be said.")
    note = (
        "Boosted trees that see the values of single hours, cross-validated with stays kept together: an AUROC of 0.5 would mean that "
        "nobody can tell, 1 that everybody can. Distributed alike: each made-up variable with the real one's distribution, so that "
        "only how variables go together tells. Distance: the largest difference of the shares of hours below a value "
        "(Kolmogorov-Smirnov), 0 for equal distributions."
    )
    told = [_told("five vital signs", real, made, ONE_HOUR), _told("all 15 variables", real, made, SERIES)]
    by = Table(["Told apart by", "AUROC", "distributed alike", "hours of each", "real stays"], told)
    rows = [
        [
            concept.label,
            *(_quantiles(hours.of(concept.name), DECIMALS[concept.name]) for hours in (made, real)),
            _distance(made.of(concept.name), real.of(concept.name)),
        ]
        for concept in concepts_of(SERIES)
    ]
    columns = ["Hourly values: median (5 % to 95 %)", MADE, REAL, "distance"]
    return Section(title, note, tables=[by, Table(columns, rows)])


def _told(what: str, real: Hours, made: Hours, names: Sequence[str]) -> list[str]:
    """A row of the table of the classifier."""
    found, alike = (realism.told_apart(real, made, names, DECIMALS, mapped=mapped) for mapped in (False, True))
    if found is None or alike is None:
        return [what, "too few hours", "", "", ""]
    return [what, f"{found.auroc:.3f}", f"{alike.auroc:.3f}", f"{found.hours:,}", f"{found.real_stays:,}"]


def _distance(made: Doubles, real: Doubles) -> str:
    enough = min(np.isfinite(made).sum(), np.isfinite(real).sum()) >= realism.FEWEST
    return number(realism.distance(made.ravel(), real.ravel()), 2) if enough else ""


def _quantiles(values: Doubles, digits: int) -> str:
    x = values[np.isfinite(values)]
    if len(x) < realism.FEWEST:
        return ""
    low, middle, high = (number(float(q), digits) for q in np.percentile(x, [5, 50, 95]))
    return f"{middle} ({low}\u00a0to\u00a0{high})"


def _circadian(kinds: Sequence[tuple[str, Hours, bool]]) -> Section:
    figures = []
    for name in CIRCADIAN:
        lines = [Line(kind, realism.by_hour_of_day(hours, name), 0, dashed) for kind, hours, dashed in kinds]
        figures.append(chart(_label(name), "hour of the day", np.arange(24), lines))
    note = (
        "Mean deviation of each stay from its own mean, by the clock. Amplitudes, sleep and meals are the public generator's, "
        "and greater than a real unit's."
    )
    return Section("Over the day", note, figures)


def _persistence(kinds: Sequence[tuple[str, Hours, bool]]) -> Section:
    figures = []
    for name in PERSISTENT:
        lines = [Line(kind, realism.autocorrelation(hours, name), 0, dashed) for kind, hours, dashed in kinds]
        figures.append(chart(_label(name), "hours apart", np.arange(1, realism.LAGS + 1), lines))
    note = "Correlation of two values of one stay, by the hours between them. Where there are too few pairs, no curve is drawn."
    return Section("Persistence", note, figures)


def _correlations(kinds: Sequence[tuple[str, Hours, bool]]) -> Section:
    figures = [Figure(kind, matrix(kind, realism.correlations(hours), SERIES)) for kind, hours, _ in kinds]
    return Section(
        "Correlation",
        "Of the last known values at every sixth hour, over all stays. Blue is positive, orange negative.",
        figures,
    )


def _missing(
    kinds: Sequence[tuple[str, Hours, bool]], blocks: Sequence[Block], settings: GeneratorSettings, seed: int
) -> Section:
    lines = [Line(kind, realism.missing_by_hour_of_day(hours, VITALS), 0, dashed) for kind, hours, dashed in kinds]
    by_clock = chart("Vital signs, by the clock", "hour of the day", np.arange(24), lines)
    empty, ill = [], []
    for block in blocks:
        patients = np.unique(block.visits.patient)
        visits = visits_of(settings, seed, patients)
        here = np.isin(visits.patient * 8 + visits.visit, block.visits.patient * 8 + block.visits.visit)
        rows = visits[here]
        ill.append(severity_points(rows, body_of(settings, seed, rows)))
        empty.append(~np.isfinite(block.values[..., CHARTED.index("heart_rate")]) | ~_inside(block))
    points, lost = np.concatenate(ill).round().astype(int), np.concatenate(empty)
    inside = np.concatenate([_inside(block) for block in blocks])
    share = [_share(lost[inside & (points == p)]) for p in range(11)]
    by_severity = chart("Heart rate, by severity", "severity points", np.arange(11), [Line(MADE, np.array(share), 0)])
    shares = [[shift, *(_share_of_shift(line.y, span) for line in lines)] for shift, span in SHIFTS.items()]
    by_shift = Table(["Vital signs, by shift", *(kind for kind, *_ in kinds)], shares)
    note = "Share of hours in the unit without a value. Sicker patients are charted more completely."
    return Section("What is missing", note, [by_clock, by_severity], [by_shift])


def _share_of_shift(by_hour: Doubles, span: tuple[int, int]) -> str:
    """Mean over the shift's hours, "" where one of them is unknown."""
    mean = np.roll(by_hour, -span[0])[: (span[1] - span[0]) % 24].mean()
    return percent(mean, 1) if np.isfinite(mean) else ""


def _inside(block: Block) -> NDArray[np.bool_]:
    return block.bedside < block.visits.length[:, None]


def _share(lost: NDArray[np.bool_]) -> float:
    return float(lost.mean()) if len(lost) >= realism.FEWEST else np.nan


def _survival(blocks: Sequence[Block], truth: pl.DataFrame) -> Section:
    left = np.concatenate([block.left for block in blocks]) / MINUTES_A_DAY
    died, days = truth["recorded_death"].to_numpy(), np.arange(31)
    lines = []
    for colour, pattern in enumerate(PATTERNS):
        own = (truth["progression"] == pattern).fill_null(False).to_numpy()
        if own.any():
            lines.append(Line(pattern, np.array([1 - (died & (left <= day))[own].mean() for day in days]), colour))
    figure = [chart("Not yet dead in hospital", "days after admission to the unit", days, lines)] if lines else []
    return Section(
        "The five patterns of progression", "Share of stays that have not died in hospital by each day.", figure
    )


def _conditions(truth: pl.DataFrame) -> Section:
    rows = []
    for condition in CONDITIONS:
        own = truth.filter(pl.col("condition") == condition)
        if own.height:
            deaths = int(own["recorded_death"].sum())
            rows.append(
                [plain(condition), f"{own.height:,}", percent(own.height, truth.height), percent(deaths, own.height)]
            )
    columns = ["Condition", "stays", "share", "recorded deaths"]
    return Section("Conditions", "Survivors are ill too.", tables=[Table(columns, rows)])


def _label(name: str) -> str:
    concept = all_concepts()[name]
    return f"{concept.label}, {concept.unit}"


def chart(title: str, x_label: str, x: NDArray[Any], lines: Sequence[Line]) -> Figure:
    """Curves over x; what is NaN is left out, and a curve of NaN alone is not there."""
    drawn = [line for line in lines if np.isfinite(line.y).any()]
    if not drawn:
        return Figure(title, "")
    width, height = PLOT
    low, high = (float(f([f(line.y[np.isfinite(line.y)]) for line in drawn])) for f in (np.min, np.max))
    ticks = nice_ticks(low, high, 3)
    across, up = width / (x[-1] - x[0]), height / (ticks[-1] - ticks[0])

    def path(y: Doubles) -> str:
        points = [
            f"{(a - x[0]) * across:.1f} {height - (b - ticks[0]) * up:.1f}"
            for a, b in zip(x, y, strict=True)
            if np.isfinite(b)
        ]
        return "M" + "L".join(points)

    digits = max(0, -int(np.floor(np.log10(ticks[1] - ticks[0]) + 1e-9)))
    every = max(1, len(x) // 6)
    svg = rendered(
        "line_chart.svg",
        title=title,
        x_label=x_label,
        width=width,
        height=height,
        lines=[{"name": l.name, "colour": l.colour, "dashed": l.dashed, "path": path(l.y)} for l in drawn],  # noqa: E741
        x_ticks=[((a - x[0]) * across, f"{a:g}") for a in x[::every]],
        y_ticks=[(height - (tick - ticks[0]) * up, number(tick, digits)) for tick in ticks],
    )
    return Figure(title, svg, [(line.name, line.colour, line.dashed) for line in drawn])


def matrix(title: str, values: Doubles, names: Sequence[str]) -> str:
    """A square a pair: blue positive, orange negative, the fuller the stronger; nothing where nothing is known."""
    side = (MATRIX - LABEL) / len(names)
    cells = [
        (LABEL + j * side, i * side, "plus" if values[i, j] >= 0 else "minus", abs(values[i, j]),
         f"{plain(names[i])} and {plain(names[j])}: {values[i, j]:.2f}")
        for i in range(len(names)) for j in range(len(names)) if np.isfinite(values[i, j])
    ]  # fmt: skip
    labels = [((i + 0.7) * side, plain(name)) for i, name in enumerate(names)]
    return rendered("matrix.svg", title=title, size=MATRIX, side=side, left=LABEL, cells=cells, names=labels)


def real_root() -> str | None:
    """Where real tables may lie."""
    return os.environ.get("ICU_DATA_ROOT")
