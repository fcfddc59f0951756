"""What training made of the test stays: t-SNE of the raw input and of the embedding as it was at some epochs.

The figure 8 of the MTDM paper, of test stays. For models that keep weights at some epochs (`Examined.earlier`) and have an `embed`;
`snapshots`, if they have that too, are the epochs that were asked for, of which training may have ended before some.

References: Multi-Task Diffusion Mortality (Buranaburustam et al., 2025), figure 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from icu_lightning.examination.embedding import FEWEST, KEY, by_outcome, neighbourhoods, principal_components
from icu_lightning.examination.examined import Examined
from icu_lightning.plots.sheet import Facts, Sheet, sheet

ACROSS = 2  # panels
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """maps: title -> (B, 2), in order. apart: title -> silhouette of the outcomes in the space itself. label: (B)."""

    maps: Mapping[str, Array]
    apart: Mapping[str, float]
    label: Array
    note: str
    facts: Facts


def learnt(it: Examined, most: int, seed: int, facts: Facts) -> Learnt | None:
    """Of up to `most` test stays, by lot; None for a model without snapshots or embedding, or with too few stays."""
    final: Any = it.model
    then = it.earlier if hasattr(final, "embed") else []
    chosen = np.sort(np.random.default_rng(seed).permutation(it.test.height)[:most])
    if not then or len(chosen) < FEWEST:
        return None
    stays, label = it.data.test[torch.from_numpy(chosen)], it.test["label"].to_numpy()[chosen]
    spaces = {"Raw input": stays.values.double().flatten(1).numpy()}
    spaces |= {f"Epoch {epoch}": model.embed(stays).double().numpy() for epoch, model in then}
    spaces["As it is used"] = final.embed(stays).double().numpy()
    both, n = len(np.unique(label)) == 2, it.test.height
    drawn = f"{len(chosen):,} of {n:,} test stays, by lot" if len(chosen) < n else f"All {n:,} test stays"
    missed = [f"epoch {epoch}" for epoch in getattr(final, "snapshots", ()) if epoch not in dict(then)]
    ended = f" Training ended before {' and '.join(missed)}." if missed else ""
    return Learnt(
        maps={title: neighbourhoods(x, principal_components(x)[0], seed) for title, x in spaces.items()},
        apart={title: float(silhouette_score(x, label)) if both else float("nan") for title, x in spaces.items()},
        label=label,
        note=f"{drawn}. Their outcomes were not shown to the model.{ended}",
        facts=facts,
    )


@sheet(14, 19, "What training made of the test stays")
def learnt_figure(page: Sheet, drawn: Learnt) -> None:
    """A panel each, by outcome, with how far the outcomes lie apart before they were pressed into two dimensions."""
    page.note(drawn.note)
    page.note("Silhouette: of the outcomes in the full space; 1 is apart, 0 mixed. Distances in t-SNE mean nothing.")
    rows = -(-len(drawn.maps) // ACROSS)
    page.resize(9 + 17.5 * rows)
    axes = page.panels(rows, ACROSS, left=1.0, right=1.0, above=2.0, below=1.0, hspace=0.16, wspace=0.06)
    for ax, (title, points) in zip(axes, drawn.maps.items(), strict=False):
        by_outcome(ax, points, drawn.label, page.em)
        apart = drawn.apart[title]
        ax.set_title(title if np.isnan(apart) else f"{title}; silhouette {apart:.2f}")
    for ax in axes[len(drawn.maps) :]:
        ax.remove()
    low, high = axes[0].get_ylim()  # room for the key, which covers nobody
    axes[0].set_ylim(low, high + KEY * (high - low))
    axes[0].legend(loc="upper left", ncols=2, columnspacing=1.0, handletextpad=0.1)
