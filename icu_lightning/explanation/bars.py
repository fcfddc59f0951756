"""How much each feature moves the predicted risk on average: one bar of a variable's values, one of its missingness."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from icu_lightning.description.words import DATABASES
from icu_lightning.explanation.summary import NOTHING

MOST = 15  # features shown
INK, PALE = "#333333", "#888888"
PARTS = {  # key of a feature in explanation.json, its interval's keys, label, colour (Okabe, Ito 2008)
    "values": ("values_low", "values_high", "measured values", "#0072B2"),
    "missingness": ("missingness_low", "missingness_high", "when it was measured", "#E69F00"),
    "mean_absolute": ("low", "high", "static feature", "#009E73"),
}


def bars(content: Mapping[str, Any]) -> Figure:
    """The largest features of explanation.json, with 95 % intervals over patients."""
    shown = [feature for feature in content["features"] if feature["mean_absolute"] > NOTHING][:MOST]
    figure = Figure(figsize=(7, 1.4 + 0.36 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    drawn = set()
    for row, feature in enumerate(shown):
        series = feature["kind"] == "series"
        for j, key in enumerate(("values", "missingness") if series else ("mean_absolute",)):
            low, high, label, colour = PARTS[key]
            y = row + (0.38 * j - 0.19 if series else 0)
            axes.barh(y, 100 * feature[key], 0.36, color=colour, label=None if key in drawn else label)
            drawn.add(key)
            if feature[low] is not None:
                axes.plot([100 * feature[low], 100 * feature[high]], [y, y], color=INK, lw=1)
    axes.set_yticks(range(len(shown)), [feature["label"] for feature in shown])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("mean change of the predicted risk, up or down, in percentage points")
    if drawn:
        axes.legend(frameon=False, loc="lower right")
    else:
        axes.text(0.5, 0.5, "no feature moves it", ha="center", transform=axes.transAxes)
    figure.suptitle("What moves the predicted risk", x=0.01, ha="left", fontweight="bold", fontsize=11)
    axes.set_title(note(content), fontsize=8, fontweight="normal", color=INK)
    return figure


def note(content: Mapping[str, Any]) -> str:
    """Whose stays, which risk, against what: under the heading of each figure over many stays."""
    kind = (
        "SYNTHETIC stays, no patients" if content["synthetic"] else DATABASES.get(content["source"], content["source"])
    )
    risk = "uncalibrated risk" if content["risk"] == "raw" else "calibrated risk"
    return (
        f"{kind} · {content['n']} test stays ({content['events']} deaths), {risk},\n"
        f"against the {100 * content['base_value']:.0f} % that {content['background']} training stays have on average"
    )
