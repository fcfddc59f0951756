"""Pictures: the densities integrate, no bar stands for a handful of stays, the axes hold what they say."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from icu_lightning.data.concepts import concepts_of
from icu_lightning.description.figures import distribution, heat_map, joined_bins, limits, nice_ticks
from icu_lightning.description.groups import Group, stay_means
from icu_lightning.description.measurement import measured


@pytest.mark.parametrize("seed", range(30))
def test_bars_integrate_to_the_share_in_sight_and_stand_for_enough(seed):
    rng = np.random.default_rng(seed)
    x, edges = rng.normal(0, 2, rng.integers(1, 200)), np.linspace(-3, 3, 25)
    bins = joined_bins(x, edges, least=5)
    inside = ((x >= -3) & (x <= 3)).sum()
    if inside < 5:
        assert bins == []
        return
    counts = [density * (right - left) * len(x) for left, right, density in bins]
    assert sum(counts) == pytest.approx(inside)
    assert all(n == pytest.approx(0) or n > 4.999 for n in counts)
    assert all(one[1] == other[0] for one, other in pairwise(bins))
    assert (bins[0][0], bins[-1][1]) == (-3, 3)


def test_with_nothing_to_hide_it_is_numpys_histogram():
    x, edges = np.random.default_rng(0).normal(0, 1, 500), np.linspace(-4, 4, 17)
    bins = joined_bins(x, edges, least=1)
    assert [density for *_, density in bins] == pytest.approx(np.histogram(x, edges, density=True)[0])


@pytest.mark.parametrize("span", [(0.02, 0.09), (-4, 311), (95, 100), (7.31, 7.33), (0, 12345), (5, 5), (0, 0)])
def test_ticks_are_round_even_and_cover_the_limits(span):
    ticks = nice_ticks(*span)
    assert ticks[0] <= span[0]
    assert ticks[-1] >= span[1]
    assert 2 <= len(ticks) <= 8
    assert np.ptp(np.diff(ticks)) == pytest.approx(0, abs=1e-9)


def test_a_few_extreme_values_do_not_stretch_the_axis():
    x = np.concatenate([np.random.default_rng(0).normal(30, 5, 900), np.full(100, 5000.0)])
    low, high = limits(x)
    assert 10 < low < 25
    assert 40 < high < 100
    assert limits(np.full(9, 3.0)) == (3.0, 3.0)


def two_groups(n: int, died: int) -> list[Group]:
    rows = np.arange(n) < died
    return [Group("Alive", ~rows), Group("Dead", rows)]


def test_both_groups_are_drawn_and_told_apart_without_colour():
    means = np.random.default_rng(0).normal(80, 10, 300)
    plot = distribution(concepts_of(["heart_rate"])[0], means, two_groups(300, 60), 5)
    root = ElementTree.fromstring(plot.svg)
    curves = [p.get("class") for p in root.iter() if (p.get("class") or "").startswith("curve ")]
    assert curves == ["curve curve-0", "curve curve-1"]
    assert root.get("aria-label").startswith("Heart rate, bpm")
    assert "Alive and Dead" in root.get("aria-label")


def test_a_group_too_small_is_not_drawn_but_said():
    means = np.random.default_rng(0).normal(80, 10, 300)
    plot = distribution(concepts_of(["heart_rate"])[0], means, two_groups(300, 3), 5)
    assert "curve-1" not in plot.svg
    assert "dead: too few stays" in plot.note


@pytest.mark.parametrize(("known", "note"), [(0, "no stay has a value"), (3, "fewer than 5 stays have a value")])
def test_nothing_to_draw_is_said(known, note):
    means = np.full(50, np.nan)
    means[:known] = 7.4
    plot = distribution(concepts_of(["ph"])[0], means, two_groups(50, 10), 5)
    assert (plot.svg, plot.note) == ("", note)


def test_equal_values_are_said_and_not_drawn():
    plot = distribution(concepts_of(["heart_rate"])[0], np.full(50, 80.0), two_groups(50, 10), 5)
    assert (plot.svg, plot.note) == ("", "80 in every stay that has a value")


def test_every_cell_of_the_heat_map_is_painted_once(cohort, concepts):
    _, values = cohort
    table, block = measured(values, concepts)
    svg = heat_map(table, block, len(values), 6, 5)
    paths = {
        p.get("class"): p.get("d") for p in ElementTree.fromstring(svg).iter() if "heat-" in (p.get("class") or "")
    }
    corners = [corner for path in paths.values() for corner in re.findall(r"M([\d.]+ \d+)", path)]
    assert len(corners) == len(set(corners)) == 6 * 3
    assert paths["heat-none"].count("M") == 6, "temperature, that nobody has"
    assert set(paths) <= {"heat-none", "heat-few", *(f"heat-{i}" for i in range(1, 11))}


def test_means_are_of_measured_hours_only():
    values = np.full((3, 4, 1), np.nan, np.float32)
    values[0, :2, 0], values[1, 3, 0] = [10, 20], 7
    assert stay_means(values, 0)[:2].tolist() == [15.0, 7.0]
    assert np.isnan(stay_means(values, 0)[2])
