"""From a model's scores to risks that mean what they say: fitted on validation stays, kept as plain numbers.

A calibrator has `fit(label, risk)`, `transform(risk)` and `state()`; all arrays are (n,). With one class only there is
nothing to fit, and every calibrator becomes the identity.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from icu_lightning.evaluation.reliability import EDGE, in_the_large, logit, slope_and_intercept

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


class Beta:
    """Beta calibration: logit p' = c + a log p - b log(1 - p), a and b not negative, so that the order stays.

    With a = b = 1 and c = 0 it is the identity; a = b makes it Platt's, c = 0 beside it temperature scaling. Fitted by maximum
    likelihood; risks are kept within [EDGE, 1 - EDGE] where a logarithm is taken.

    Arguments:
        a, b, c: None until fitted.

    References: Beta calibration: a well-founded and easily implemented improvement on logistic calibration for binary
        classifiers (Kull, Silva Filho, Flach, 2017).
    """

    kind = "beta"

    def __init__(self, a: float | None = None, b: float | None = None, c: float | None = None) -> None:
        self.a, self.b, self.c = a, b, c

    def fit(self, label: Array, risk: Array) -> "Beta":
        self.a, self.b, self.c = (1.0, 1.0, 0.0) if len(np.unique(label)) < 2 else self._fitted(label, risk)
        return self

    def _fitted(self, label: Array, risk: Array) -> tuple[float, float, float]:
        inside = np.clip(risk, EDGE, 1 - EDGE)
        features = np.stack([np.log(inside), -np.log1p(-inside), np.ones_like(inside)])  # (3, n)

        def loss(parameters: Array) -> tuple[float, Array]:
            z = parameters @ features
            return float(np.mean(np.logaddexp(0, z) - label * z)), features @ (expit(z) - label) / len(label)

        found = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, bounds=[(0, 1e3), (0, 1e3), (-1e3, 1e3)])
        a, b, c = (float(parameter) for parameter in found.x)
        return a, b, c

    def transform(self, risk: Array) -> Array:
        if self.a is None or self.b is None or self.c is None:
            raise RuntimeError("the calibrator has not seen validation data")
        inside = np.clip(risk, EDGE, 1 - EDGE)
        return expit(self.a * np.log(inside) - self.b * np.log1p(-inside) + self.c)

    def state(self) -> dict[str, object]:
        return {"kind": self.kind, "a": self.a, "b": self.b, "c": self.c}


class Platt(Beta):
    """Platt scaling on logits: logit p' = c + a logit p with a >= 0, by maximum likelihood.

    Validation stays that their risks separate have no finite answer; the identity is kept then. Risks that rank the wrong way round
    (a < 0) become the death rate for everybody: a calibrator is no place to turn a model upside down.

    References: Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods (Platt, 1999).
    """

    kind = "platt"

    def _fitted(self, label: Array, risk: Array) -> tuple[float, float, float]:
        slope, intercept = (float(x) for x in slope_and_intercept(label, risk, np.ones(len(label))))
        if slope < 0:
            return 0.0, 0.0, float(logit(label.mean()))
        return (slope, slope, intercept) if np.isfinite([slope, intercept]).all() else (1.0, 1.0, 0.0)


class Intercept:
    """Intercept only: logit p' = c + logit p, by maximum likelihood; no two risks become one, so every ranking stays what it is.

    Stays that all lived, or all died, have no finite answer; the identity is kept then. Risks beyond EDGE, 0 and 1 among them, are
    squeezed to within it, in their order, because nothing can be added to the logit of 0.

    References: Validation and updating of predictive logistic regression models: a study on sample size and shrinkage
        (Steyerberg, Borsboom, van Houwelingen, Eijkemans, Habbema, 2004), its method 2.
    """

    def __init__(self, c: float | None = None) -> None:
        self.c = c

    def fit(self, label: Array, risk: Array) -> "Intercept":
        both = len(np.unique(label)) == 2
        c = float(in_the_large(label, _squeezed(risk), np.ones(len(label)))) if both else 0.0
        self.c = c if np.isfinite(c) else 0.0
        return self

    def transform(self, risk: Array) -> Array:
        if self.c is None:
            raise RuntimeError("the calibrator has not seen validation data")
        return expit(self.c + logit(_squeezed(risk))) if self.c else np.asarray(risk, float)

    def state(self) -> dict[str, object]:
        return {"kind": "intercept", "c": self.c}


def _squeezed(risk: Array) -> Array:
    """The risks, those within 2 EDGE of 0 or 1 moved to half of that distance from EDGE: all different ones stay different."""
    return np.minimum(np.maximum(risk, EDGE + risk / 2), 1 - EDGE - (1 - risk) / 2)


class Temperature(Beta):
    """Temperature scaling: logit p' = logit p / T, by maximum likelihood; it cannot change the mean risk much.

    References: On calibration of modern neural networks (Guo, Pleiss, Sun, Weinberger, 2017).
    """

    kind = "temperature"

    def _fitted(self, label: Array, risk: Array) -> tuple[float, float, float]:
        x = logit(risk)

        def loss(parameter: Array) -> tuple[float, Array]:
            z = parameter[0] * x
            return float(np.mean(np.logaddexp(0, z) - label * z)), np.array([np.mean((expit(z) - label) * x)])

        slope = float(minimize(loss, np.ones(1), jac=True, bounds=[(0, 1e3)]).x[0])
        return slope, slope, 0.0


class AfterPrior:
    """Prior correction for undersampled training, then another calibrator.

        p / (1 - p) is multiplied by the share of the survivors that training has seen

    which is the ratio of the prior odds of all training stays to those of the ones that were kept, and needs no validation stay.
    The order of the risks stays. What else bends a risk is left to the calibrator behind it, which is fitted on corrected risks.

    Arguments:
        odds: in (0, 1]; 1 changes nothing.
        then: the calibrator of what comes out.

    Raises ValueError for other odds.

    References: The foundations of cost-sensitive learning (Elkan, 2001); Adjusting the outputs of a classifier to new a priori
        probabilities: a simple procedure (Saerens, Latinne, Decaestecker, 2002).
    """

    def __init__(self, odds: float, then: Calibrator) -> None:
        if not isinstance(odds, int | float) or not 0 < odds <= 1:
            raise ValueError(f"a share of survivors is above 0 and at most 1, not {odds}")
        self.odds, self.then = odds, then

    def fit(self, label: Array, risk: Array) -> "AfterPrior":
        self.then.fit(label, self.prior(risk))
        return self

    def transform(self, risk: Array) -> Array:
        return self.then.transform(self.prior(risk))

    def prior(self, risk: Array) -> Array:
        """The prior-corrected risks, before the calibrator."""
        return prior_corrected(risk, self.odds)

    def state(self) -> dict[str, object]:
        return {"kind": "after_prior", "odds": self.odds, "then": self.then.state()}


def prior_corrected(risk: Array, odds: float) -> Array:
    """Risks in [0, 1] whose odds are multiplied; 0 and 1 stay, and with `odds` 1 so does everything.

    >>> prior_corrected(np.array([0.0, 0.5, 1.0]), 0.25).tolist()
    [0.0, 0.2, 1.0]
    """
    risk = np.asarray(risk, float)
    return risk if odds == 1 else odds * risk / (odds * risk + (1 - risk))


class Identity:
    """No calibration: the risk is the model's score."""

    def fit(self, label: Array, risk: Array) -> "Identity":
        return self

    def transform(self, risk: Array) -> Array:
        return np.asarray(risk, float)

    def state(self) -> dict[str, object]:
        return {"kind": "none"}


KINDS: dict[str, Callable[..., Calibrator]] = {
    "isotonic": Isotonic,
    "platt": Platt,
    "intercept": Intercept,
    "temperature": Temperature,
    "beta": Beta,
    "none": Identity,
    "after_prior": AfterPrior,
}


def load(state: dict[str, object]) -> Calibrator:
    """The calibrator of a `state()`. Raises KeyError for a kind that is not in KINDS, TypeError for values that are not its own."""
    values = {
        name: load(value) if isinstance(value, dict) else value for name, value in state.items() if name != "kind"
    }
    return KINDS[str(state["kind"])](**values)
