"""How much each feature moves the predicted risk on average: one bar of a variable's values, one of its missingness."""

import textwrap

from matplotlib.axes import Axes

from icu_lightning.explanation.subjects import Many
from icu_lightning.explanation.summary import NOTHING
from icu_lightning.plots.sheet import BLUE, GREEN, INK, PURPLE, Sheet, sentence, sheet

MOST = 15  # features shown
ROW = 2.3  # em
NAME, ROOM = 29, 14.5  # letters on a line of a feature's name, of which there are two at most; em for them
PARTS = {  # key of a feature in explanation.json, its interval's keys, label, colour
    "values": ("values_low", "values_high", "measured values", BLUE),
    "missingness": ("missingness_low", "missingness_high", "when it was measured", PURPLE),
    "mean_absolute": ("low", "high", "static feature", GREEN),
}


@sheet(10, 8, "What moves the predicted risk")
def bars(page: Sheet, it: Many) -> None:
    """The largest features of explanation.json, with 95 % intervals over patients."""
    shown = [feature for feature in it.content["features"] if feature["mean_absolute"] > NOTHING][:MOST]
    page.note(
        "Mean over the stays of how far each moves the risk, up or down alike. Lines: 95 % over resamples of patients."
    )
    page.fit(max(8.0, ROW * len(shown)), below=3.0)
    (axes,) = page.panels(left=ROOM, below=3.0)
    drawn: set[str] = set()
    for y, feature in enumerate(shown):
        series = feature["kind"] == "series"
        for j, key in enumerate(("values", "missingness") if series else ("mean_absolute",)):
            low, high, label, colour = PARTS[key]
            at = y + (0.38 * j - 0.19 if series else 0)
            axes.barh(at, 100 * feature[key], 0.36, color=colour, label=None if key in drawn else label)
            drawn.add(key)
            if feature[low] is not None:
                axes.plot([100 * feature[low], 100 * feature[high]], [at, at], color=INK, linewidth=0.09 * page.em)
    name_rows(axes, [feature["label"] for feature in shown])
    axes.set_xlim(left=0)
    axes.set_xlabel("percentage points of risk")
    if drawn:
        axes.legend(loc="lower right")
    else:
        sentence(axes, "No feature moves it.")


def name_rows(axes: Axes, names: list[str]) -> None:
    """Rows from the top down, named to their left."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, NAME, max_lines=2, placeholder="…") for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
    axes.grid(False, axis="y")
