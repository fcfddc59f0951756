"""Populations to compare: one feature on, and off, everything else drawn alike."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from icu_lightning.data.synthetic import generate
from icu_lightning.data.synthetic.generate import Block
from icu_lightning.data.synthetic.settings import GeneratorSettings, settings_of
from tests.conftest import generator_conf

FEW = 1500  # patients of the reference population where the prevalence need not be exact


@cache
def block_of(option: str, n: int, changes: tuple[tuple[str, Any], ...], seed: int = 5) -> Block:
    with pytest.MonkeyPatch.context() as patch:
        if option == "plain":
            patch.setattr(generate, "REFERENCE", FEW)
        return generate.simulated(configured(option, **dict(changes)), seed, np.arange(n))


def configured(option: str = "plain", **changes: Any) -> GeneratorSettings:
    """conf/generator/<option>.yaml with changes; a feature by its name."""
    return settings_of(generator_conf(option, **changes))


def same(one: Block, other: Block) -> bool:
    """Whether two blocks are equal to the last bit."""
    arrays = ("died", "died_in_unit", "left", "values", "bedside", "laboratory")
    frames = ("infusions", "coded", "truth")
    visits = all(
        np.array_equal(getattr(one.visits, f.name), getattr(other.visits, f.name))
        for f in dataclasses.fields(one.visits)
    )
    return (
        visits
        and all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=n == "values") for n in arrays)
        and all(getattr(one, n).equals(getattr(other, n)) for n in frames)
    )


@pytest.fixture(scope="session")
def population() -> Callable[..., Block]:
    """A function: (option, number of patients, changes) -> all of their stays; plain has every feature off."""

    def make(option: str = "plain", n: int = 400, **changes: Any) -> Block:
        return block_of(option, n, tuple(sorted(changes.items())))

    return make
