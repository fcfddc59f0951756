"""What the model makes of the test stays, in two dimensions: principal components, and t-SNE, by outcome and by risk.

Principal components keep large distances, t-SNE neighbourhoods; sizes of clusters and distances between them mean nothing in
t-SNE. Neither is evidence: it shows whether the model has set the dying apart, and whom it mistakes for whom.

References: Visualizing data using t-SNE (van der Maaten, Hinton, 2008); The art of using t-SNE for single-cell transcriptomics
    (Kobak, Berens, 2019): initialised by principal components.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from icu_lightning.batch import StayBatch
from icu_lightning.examination.examined import Examined
from icu_lightning.plots.sheet import DIED, RULE, SURVIVED, Facts, Sheet, sheet

FEWEST = 10  # stays that are worth a picture
PERPLEXITY = 30  # neighbours that t-SNE looks at, van der Maaten's usual number; fewer where there are few stays
KEY = 0.16  # of a panel's height, above the dots
Array = NDArray[np.float64]


def represented(model: Any, batch: StayBatch) -> tuple[Array, str]:
    """(B, D) what is drawn, and what it is: the model's own `embed`, or summaries of what it is shown, where it has none."""
    if hasattr(model, "embed"):
        return model.embed(batch).double().numpy(), "the model's own representation of a stay"
    seen = batch.observed.double()
    mean = batch.values.double().sum(1) / seen.sum(1).clamp(min=1)
    summary = torch.cat([mean, seen.mean(1)], dim=1)  # (B, V), (B, V) -> (B, 2 V)
    return summary.numpy(), "mean of each variable and share of hours with a value: the model has no embedding"


def principal_components(x: Array) -> tuple[Array, Array]:
    """(B, 2) scores and (2) their shares of the variance; a second of zeros where there is only one dimension."""
    pca = PCA(n_components=min(2, *x.shape), svd_solver="full").fit(x)
    missing = 2 - pca.n_components_
    scores = np.pad(pca.transform(x), ((0, 0), (0, missing)))
    return scores, np.pad(pca.explained_variance_ratio_, (0, missing))


def neighbourhoods(x: Array, start: Array, seed: int) -> Array:
    """(B, 2) t-SNE of (B, D), begun at the principal components `start`; on one thread, so that it is the same everywhere."""
    first = start[:, :1].std()
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(x) - 1) / 3), init=(start / first * 1e-4).astype(np.float32), random_state=seed
    )
    with threadpool_limits(1):
        return tsne.fit_transform(x)


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What is drawn.

    maps: title -> (B, 2). label, risk: (B). note: who they are, and what of them is drawn.
    """

    maps: Mapping[str, Array]
    label: Array
    risk: Array
    note: str
    facts: Facts


def embedding(it: Examined, most: int, seed: int, facts: Facts) -> Maps | None:
    """Both maps of all test stays, or of `most` drawn from them; None with too few, or if all are alike."""
    n = it.test.height
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:most])
    if len(chosen) < FEWEST:
        return None
    x, what = represented(it.model, it.data.test[torch.from_numpy(chosen)])
    if not np.ptp(x, axis=0).any():
        return None
    components, shares = principal_components(x)
    linear = f"Principal components: {shares[0]:.0%} + {shares[1]:.0%}"
    drawn = f"{len(chosen):,} of {n:,} test stays, by lot" if len(chosen) < n else f"All {n:,} test stays"
    return Maps(
        maps={linear: components, "t-SNE": neighbourhoods(x, components, seed)},
        label=it.test["label"].to_numpy()[chosen],
        risk=it.test["risk"].to_numpy()[chosen],
        note=f"{drawn}. Drawn is {what}.",
        facts=facts,
    )


@sheet(14, 13.5, "The test stays as the model sees them")
def embedding_figure(page: Sheet, drawn: Maps) -> None:
    """Each map by outcome and by risk."""
    page.note(drawn.note)
    page.note(
        "Percentages are shares of the variance. In t-SNE, distances between clusters and their sizes mean nothing."
    )
    axes = page.panels(2, 2, left=1.0, right=2.2, above=2.0, below=1.0, hspace=0.16, wspace=0.06)
    for i, (title, points) in enumerate(drawn.maps.items()):
        by_outcome(axes[2 * i], points, drawn.label, page.em)
        _by_risk(axes[2 * i + 1], points, drawn.risk, page.em)
        axes[2 * i].set_title(title)
        axes[2 * i + 1].set_title("predicted risk", loc="right")
    for ax in axes[:2]:  # room for the key, which covers nobody
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + KEY * (high - low))
    axes[0].legend(loc="upper left", ncols=2, columnspacing=1.0, handletextpad=0.1)


def by_outcome(ax: Axes, points: Array, label: Array, em: float) -> None:
    for died, (name, colour, mark) in enumerate([("survived", SURVIVED, "o"), ("died", DIED, "^")]):
        x, y = points[label == died].T
        size = (0.35 + 0.25 * died) * em
        label_of = f"{name} ({len(x):,})"
        ax.scatter(x, y, s=size**2, c=colour, marker=mark, alpha=0.5 + 0.4 * died, linewidths=0, label=label_of)
    _bare(ax)


def _by_risk(ax: Axes, points: Array, risk: Array, em: float) -> None:
    order = np.argsort(risk, kind="stable")  # the highest on top
    top = max(float(np.quantile(risk, 0.99)), 0.01)
    dots = ax.scatter(
        points[order, 0],
        points[order, 1],
        s=(0.45 * em) ** 2,
        c=risk[order],
        cmap="cividis",
        vmin=0.0,
        vmax=top,
        linewidths=0,
    )
    bar = ax.figure.colorbar(dots, ax=ax, format=lambda value, _: f"{value:.0%}", extend="max", pad=0.02)
    bar.outline.set_visible(False)
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(RULE)
