"""imputer=pypots: an optional extra that says what to install, and settings that PyPOTS would refuse told before any training."""

import sys

import pytest

from icu_lightning.batch import BatchShape
from icu_lightning.build import built
from icu_lightning.errors import UserError
from icu_lightning.models.imputers.pypots import check_settings
from tests.conftest import composed

SHAPE = BatchShape(6, ("a", "b"), ())


class Peer:
    """As a class of pypots.imputation takes its arguments."""

    def __init__(self, n_steps, n_features, rnn_hidden_size, batch_size=32, epochs=100, alpha=1.0): ...


def of(*words: str):
    return built(composed("model=two_stage", "imputer=pypots", *words).plain["model"], shape=SHAPE)


def test_without_pypots_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypots", None)
    monkeypatch.setitem(sys.modules, "pypots.imputation", None)
    with pytest.raises(UserError, match=r"pip install 'icu-lightning\[pypots\]'"):
        of()


def test_an_argument_that_is_missing_or_unknown_is_told_by_its_name():
    check_settings(Peer, {"rnn_hidden_size": 4})
    with pytest.raises(UserError, match=r"needs rnn_hidden_size: give them, as in '\+model.imputer.settings"):
        check_settings(Peer, {"alpha": 2.0})
    with pytest.raises(UserError, match=r"Unknown argument of PyPOTS' Peer 'alpa'. Did you mean 'alpha'"):
        check_settings(Peer, {"rnn_hidden_size": 4, "alpa": 2.0})


def test_an_unknown_name_is_told_where_pypots_is_installed():
    pytest.importorskip("pypots")
    with pytest.raises(UserError, match=r"Unknown imputer of PyPOTS 'SAIT'. Did you mean 'SAITS'"):
        of("model.imputer.name=SAIT")
