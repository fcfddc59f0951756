"""The honest baseline: its features, and scikit-learn's numbers from its tensors."""

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icu_lightning.build import built
from icu_lightning.models.summaries import summaries
from tests.conftest import composed

CONF = composed("model=logistic_regression").plain["model"]


@pytest.mark.parametrize("static", [False, True])
def test_it_equals_a_scikit_learn_pipeline(synthetic_data, static):
    data = synthetic_data(600, variables=["lactate", "map", "bun"])
    model = built(CONF | {"static": static}, shape=data.shape)
    model.fit(data, None)
    features = [
        torch.cat([summaries(part.values, part.observed), *([part.static] if static else [])], 1).double().numpy()
        for part in (data.train, data.test)
    ]
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Reference(C=1.0, max_iter=5000))
    pipeline.fit(features[0], data.train.label.numpy())
    reference = pipeline.predict_proba(features[1])[:, 1]
    # torch's median of an even number is the lower of the two middle values, scikit-learn's their mean
    assert np.abs(model.predict(data.test)[:, 0].numpy() - reference).max() < 5e-3
