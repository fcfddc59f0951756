"""What the model makes of the test stays, in two dimensions: principal components, and t-SNE, by outcome and by risk.

Principal components keep large distances, t-SNE neighbourhoods; sizes of clusters and distances between them mean nothing in
t-SNE. Neither is evidence: it shows whether the model has set the dying apart, and whom it mistakes for whom.

References: Visualizing data using t-SNE (van der Maaten, Hinton, 2008); The art of using t-SNE for single-cell transcriptomics
    (Kobak, Berens, 2019): initialised by principal components.
"""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from icu_lightning.batch import StayBatch
from icu_lightning.examination.examined import Examined

FEWEST = 10  # stays that are worth a picture
PERPLEXITY = 30  # neighbours that t-SNE looks at, van der Maaten's usual number; fewer where there are few stays
DIED, SURVIVED = "#c44e00", "#0072b2"
Array = NDArray[np.float64]


def represented(model: Any, batch: StayBatch) -> tuple[Array, str]:
    """(B, D) what is drawn, and what it is: the model's own `embed`, or summaries of what it is shown, where it has none."""
    if hasattr(model, "embed"):
        return model.embed(batch).double().numpy(), "what the model makes of a stay"
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


def embedding_figure(it: Examined, most: int, seed: int, title: str) -> Figure | None:
    """Both, by outcome and by risk, of all test stays or of `most` drawn from them; None with too few, or if all are alike."""
    n = it.test.height
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:most])
    if len(chosen) < FEWEST:
        return None
    x, what = represented(it.model, it.data.test[torch.from_numpy(chosen)])
    if not np.ptp(x, axis=0).any():
        return None
    components, shares = principal_components(x)
    maps = {
        f"Principal components ({shares[0]:.0%} and {shares[1]:.0%} of the variance)": components,
        "t-SNE": neighbourhoods(x, components, seed),
    }
    label, risk = (it.test[name].to_numpy()[chosen] for name in ("label", "risk"))
    figure = Figure(figsize=(9, 8), layout="constrained")
    for row, (name, points) in zip(figure.subplots(2, 2), maps.items(), strict=True):
        _by_outcome(row[0], points, label)
        _by_risk(row[1], points, risk)
        row[0].set_title(name, loc="left", fontsize=10)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    drawn = f"{len(chosen):,} of {n:,} test stays" if len(chosen) < n else f"{n:,} test stays"
    figure.supxlabel(f"{drawn}; {what}.", fontsize=8.5, color="#5b6670")
    return figure


def _by_outcome(axes: Axes, points: Array, label: Array) -> None:
    for died, (name, colour, marker) in enumerate([("survived", SURVIVED, "o"), ("died", DIED, "^")]):
        x, y = points[label == died].T
        size = 9 + 9 * died
        axes.scatter(x, y, s=size, c=colour, marker=marker, alpha=0.45 + 0.4 * died, lw=0, label=f"{name} ({len(x):,})")
    axes.legend(frameon=False, fontsize=9)
    _bare(axes)


def _by_risk(axes: Axes, points: Array, risk: Array) -> None:
    order = np.argsort(risk, kind="stable")  # the highest on top
    top = max(float(np.quantile(risk, 0.99)), 0.01)
    dots = axes.scatter(
        points[order, 0], points[order, 1], s=12, c=risk[order], cmap="cividis", vmin=0.0, vmax=top, lw=0
    )
    axes.figure.colorbar(dots, ax=axes, label="predicted risk", format=lambda value, _: f"{value:.0%}", extend="max")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#d5dbe1")
