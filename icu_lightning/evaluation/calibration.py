"""From a model's scores to risks that mean what they say: fitted on validation stays, kept as plain numbers.

A calibrator has `fit(label, risk)`, `transform(risk)` and `state()`; all arrays are (n,).
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

Array = NDArray[np.float64]


class Calibrator(Protocol):
    def fit(self, label: Array, risk: Array) -> "Calibrator":
        """Fit on validation stays; returns itself."""

    def transform(self, risk: Array) -> Array:
        """Calibrated risks in [0, 1]."""

    def state(self) -> dict[str, object]:
        """Plain values that `load` rebuilds it from."""


class Isotonic:
    """The monotone step-free curve nearest to the outcomes: isotonic regression, linear between its knots.

    Deviation: the original drops its calibrator when validation AUROC or AUPRC falls by more than 5 % (and then crashes on
    saving it); here it is never dropped, and metrics.json tells the numbers before and after.

    `knots` is (x, y), both rising; risks outside of x get the nearest end's y.

    References: Transforming classifier scores into accurate multiclass probability estimates (Zadrozny, Elkan, 2002).
    """

    def __init__(self, x: list[float] | None = None, y: list[float] | None = None) -> None:
        self.x, self.y = x, y

    def fit(self, label: Array, risk: Array) -> "Isotonic":
        """With one class only there is nothing to fit: the calibrator becomes the identity."""
        if len(np.unique(label)) < 2:
            self.x, self.y = [0.0, 1.0], [0.0, 1.0]
            return self
        regression = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(risk, label)
        self.x, self.y = regression.X_thresholds_.tolist(), regression.y_thresholds_.tolist()
        return self

    def transform(self, risk: Array) -> Array:
        if self.x is None or self.y is None:
            raise RuntimeError("the calibrator has not seen validation data")
        return np.interp(risk, self.x, self.y)

    def state(self) -> dict[str, object]:
        return {"kind": "isotonic", "x": self.x, "y": self.y}


class Identity:
    """No calibration: the risk is the model's score."""

    def fit(self, label: Array, risk: Array) -> "Identity":
        return self

    def transform(self, risk: Array) -> Array:
        return np.asarray(risk, float)

    def state(self) -> dict[str, object]:
        return {"kind": "none"}


def load(state: dict[str, object]) -> Calibrator:
    """The calibrator of a `state()`."""
    facts = {name: value for name, value in state.items() if name != "kind"}
    kinds = {"isotonic": Isotonic, "none": Identity}
    return kinds[str(state["kind"])](**facts)
