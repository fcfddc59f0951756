"""Who shares a stay's risk: the players of the game, and what the model sees when some of them are absent.

A stay is taken for what was the case (values, static features) and what was looked at (which hours of a variable were measured).
Each is a player, so that "the lactate was high" and "a lactate was measured at all" are told apart:

    value (variable, block of hours)   the stay's values of these hours, or those of a background stay b of the training split
    missingness (variable)             in which hours it was measured: the stay's pattern, or b's
    static (feature)                   age, or all one-hot columns of a category together
    in_icu                             the hours in the unit

With the set S of players present, stay x and background stay b, the model is shown the one batch h(S, x, b), in cell (t, v):

    observed  o = o_x if missingness(v) in S else o_b, and never where x's value is held out
    latent    u = last value of x up to t  if value(v, t) in S and there is one,  else last value of b up to t, else 0 (the mean)
    values      = u if o else 0;  hours_since = hours since the last o

so that every batch is one that could have been: no value without a measurement, hours_since that fit the mask. h(all, x, b) is x
and h(none, x, b) is b but for its ids, hence a stay keeps its own noise in a model that draws. A value that nobody measured moves
nothing: of a variable that the stay never had, all attribution is its missingness.

Drugs' rates and their score (`vis`) are one feature, unless told apart, and what is shown of them at an hour was so in one hour of
one stay, so that score and drugs agree in every mixture:

    hours     t is shown if any channel was known in it, of x if missingness in S, else of b, and t is in the unit
    channels  = all of the last hour up to t in which any was known, of x if value(t) in S and there is one, else of b: the rates,
                and which of them were known

Hence in which hours any drug was known is their missingness, and which of an hour's were known goes with their values: one stay's
rates with another's gaps need not agree. An hour that x shows and b fills, before b has had any, shows nothing: 0, which a variable
shows there, is a mean channel by channel and no hour of anybody.

The worth of S is v(S) = mean over the background of f(h(S, x, b)), f the risk: what is explained is the model, not the disease.
The players are grouped (variable: its values, block by block, and its missingness), and the attributions are Owen values, the
Shapley values of a game whose groups arrive together: what a variable gets does not depend on how its hours are cut into blocks.

References: A Unified Approach to Interpreting Model Predictions (Lundberg, Lee, 2017); Values of Games with a Priori Unions (Owen,
1977); Feature relevance quantification in explainable AI: a causal problem (Janzing, Minorics, Blöbaum, 2020), for v(S);
Recurrent Neural Networks for Multivariate Time Series with Missing Values (Che et al., 2018), for patterns that inform.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icu_lightning.batch import BatchShape
from icu_lightning.errors import UserError

Tree = int | list["Tree"]  # a player, or a group of groups
DRUGS = "vasoactive_drugs"  # the feature that all channels of `shape.vis` are together
WAYS = ("together", "apart")


@dataclass(frozen=True)
class Player:
    """kind: value, missingness, static or in_icu. first, end: its hours are first..end - 1."""

    feature: str
    kind: str
    first: int
    end: int


class Players:
    """All players of one shape of data, in the order: variables, drugs, static features, hours in the unit.

    Arguments:
        shape: of the data.
        block: hours that are one value player; the last block may be shorter.
        drugs: of WAYS: the vasoactive drugs and their score are one feature, or one each.

    `all` (M) are the players, `tree` their groups. Which player a cell belongs to: `value` (T, V + C) for the V variables and C
    drug channels, `missingness` (V + C), `static` (S), `in_icu`. together: there are drugs, and they are one feature.
    """

    def __init__(self, shape: BatchShape, block: int, drugs: str = "together") -> None:
        self.shape, self.block = shape, block
        self.all: list[Player] = []
        self.tree: list[Tree] = []
        series = (*shape.variables, *shape.vis)
        self.value = np.empty((shape.hours, len(series)), dtype=np.int64)
        self.missingness = np.empty(len(series), dtype=np.int64)
        self.together = drugs == "together" and bool(shape.vis)
        first_drug = len(shape.variables) if self.together else len(series)
        for v, name in enumerate(series[:first_drug]):
            self._add_series([v], name)
        if series[first_drug:]:
            self._add_series(list(range(first_drug, len(series))), DRUGS)
        of_feature = {name: self._add(name, "static") for name in dict.fromkeys(map(feature_of, shape.static))}
        self.static = np.array([of_feature[feature_of(column)] for column in shape.static], dtype=np.int64)
        self.in_icu = self._add("in_icu", "in_icu")
        self.tree += [*of_feature.values(), self.in_icu]

    def __len__(self) -> int:
        return len(self.all)

    def _add_series(self, v: list[int], name: str) -> None:
        """Players of the channels v, which are one feature."""
        blocks: list[Tree] = []
        for first in range(0, self.shape.hours, self.block):
            end = min(first + self.block, self.shape.hours)
            self.value[first:end, v] = player = self._add(name, "value", first, end)
            blocks.append(player)
        self.missingness[v] = player = self._add(name, "missingness")
        self.tree.append([blocks, player])

    def _add(self, feature: str, kind: str, first: int = 0, end: int | None = None) -> int:
        self.all.append(Player(feature, kind, first, self.shape.hours if end is None else end))
        return len(self.all) - 1


def feature_of(column: str) -> str:
    """The static feature of a column: sex of sex=female."""
    return column.split("=", 1)[0]


def random_order(tree: Sequence[Tree], random: np.random.Generator) -> NDArray[np.int64]:
    """All players, every group's together, its members in random order: the orders whose mean is the Owen value."""

    def walk(node: Tree) -> Iterator[int]:
        if isinstance(node, int):
            yield node
        else:
            for i in random.permutation(len(node)):
                yield from walk(node[i])

    return np.fromiter(walk(list(tree)), dtype=np.int64)


def affordable(shape: BatchShape, evaluations: int, background: int, drugs: str = "together") -> tuple[Players, int]:
    """What a stay's evaluations pay for: the players with the shortest blocks among the divisors of the window, and background stays.

    One random order there and back costs 2 M evaluations, and each background stay has one. If even one block as long as the
    window is too dear for all of them, there are fewer.

    Raises UserError if it is for one.
    """
    for block in (hours for hours in range(1, shape.hours + 1) if shape.hours % hours == 0):
        players = Players(shape, block, drugs)
        if 2 * len(players) * background <= evaluations:
            return players, background
    each = 2 * len(players)
    if each > evaluations:
        raise UserError(
            f"{evaluations} evaluations a stay are too few to explain {len(players.tree)} features: one background "
            f"stay alone costs {each}, {background} cost {each * background}. Give report.explanation.evaluations a higher number."
        )
    return players, evaluations // each
