"""Each of the 13 features does something that can be measured when it is on, and nothing when it is off (METHODS A.2)."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from icu_lightning.data.synthetic import generate, mortality, observation
from icu_lightning.data.synthetic.generate import simulated
from icu_lightning.data.synthetic.people import visits_of
from icu_lightning.data.synthetic.physiology import PATTERNS, body_of
from icu_lightning.data.synthetic.settings import FEATURES
from icu_lightning.data.synthetic.variables import CHARTED, LABORATORY, SERIES, VITALS
from tests.data.synthetic.conftest import FEW, configured, same

HOURS = np.arange(24)


def charted(block, name):
    """(B, T) values of a variable, NaN where not charted."""
    return block.values[..., CHARTED.index(name)]


def by_clock(block, name):
    """(24,) mean deviation from the stay's own mean at each clock hour of charting."""
    values = charted(block, name)
    clock = (block.visits.start[:, None] + block.bedside) // 60 % 24
    apart = values - np.nanmean(values, axis=1, keepdims=True)
    return np.array([np.nanmean(apart[clock == hour]) for hour in HOURS])


def body(settings, n=400, seed=5):
    visits = visits_of(settings, seed, np.arange(n))
    return visits, body_of(settings, seed, visits)


def test_every_feature_has_its_tests():
    tested = {name for name in FEATURES if any(f"test_{name}_" in test for test in globals())}
    assert tested == set(FEATURES)


@pytest.mark.parametrize(("name", "peak", "trough"), [("heart_rate", 15, 3), ("sbp", 10, 2), ("temperature", 16, 4)])
def test_circadian_rhythm_has_its_peak_and_trough_at_the_true_clock_hours(population, name, peak, trough):
    on, off = by_clock(population(n=1500, circadian=True), name), by_clock(population(n=1500), name)
    assert min(abs(int(on.argmax()) - peak), 24) <= 2
    assert min(abs(int(on.argmin()) - trough), 24) <= 2
    assert np.ptp(on) > 4 * np.ptp(off)


def test_sleep_lowers_heart_rate_and_pressure_between_23_and_6(population):
    for name in ("heart_rate", "sbp"):
        on, off = by_clock(population(n=1500, sleep=True), name), by_clock(population(n=1500), name)
        assert int((on - off).argmin()) in (1, 2, 3)
        assert (on - off)[2] < -4
        assert abs((on - off)[14]) < 3
    same = [by_clock(population(n=1500, **feature), "temperature") for feature in ({"sleep": True}, {})]
    assert same[0] == pytest.approx(same[1], abs=1e-6), "sleep says nothing of temperature"


def test_meals_raise_glucose_for_an_hour_and_a_half():
    plain, fed = (body(configured(meals=on))[1].series for on in (False, True))
    visits = visits_of(configured(), 5, np.arange(400))
    clock = visits.clock(48)
    ratio = (fed / plain)[..., SERIES.index("glucose")]
    eaten = np.zeros(clock.shape, dtype=bool)
    for meal in (7, 12, 18):
        eaten |= (clock >= meal) & (clock < meal + 1.5)
    assert ratio[eaten].max() > 1.3
    assert ratio[~eaten].max() == 1
    assert (fed / plain)[..., SERIES.index("sodium")].max() == 1


def test_measurement_adds_noise_jitter_dropout_and_artifacts(population):
    on, off = population(measurement=True), population()
    planned = off.bedside - off.bedside[:, :1]
    assert (planned == 60 * np.arange(48)).all()
    jitter = np.diff(on.bedside, axis=1) - 60
    assert 0 < np.abs(jitter).max() <= 12
    both = np.isfinite(charted(on, "sodium"))
    assert both.sum() == pytest.approx(0.9 * np.isfinite(charted(off, "sodium")).sum(), rel=0.02), "dropout"
    apart = (charted(on, "heart_rate") / charted(off, "heart_rate") - 1)[np.isfinite(charted(on, "heart_rate"))]
    assert (np.abs(apart) > 0.17).mean() == pytest.approx(0.03, abs=0.006), "artifacts"
    assert np.std(apart[np.abs(apart) < 0.1]) == pytest.approx(0.02, abs=0.004), "noise"


def test_missingness_is_less_in_the_ill_and_more_at_night(population):
    on, off = population(n=1200, missingness=True), population(n=1200)
    due = np.isfinite(charted(off, "heart_rate"))
    missing = ~np.isfinite(charted(on, "heart_rate"))
    assert np.isfinite(off.values[..., CHARTED.index("heart_rate")][:, :12]).all(), "nothing is missing when it is off"
    settings = configured(missingness=True)
    visits = visits_of(settings, 5, np.arange(1200))
    severity = observation.severity_points(visits, body_of(settings, 5, visits))
    rows = np.isin(visits.patient * 4 + visits.visit, on.visits.patient * 4 + on.visits.visit)
    ill = severity[rows]
    assert missing[due & (ill < 2)].mean() > 1.4 * missing[due & (ill > 5)].mean()
    hour = (on.visits.clock(48)).astype(int)
    night = (hour >= 23) | (hour < 6)
    assert missing[due & night].mean() > 1.1 * missing[due & ~night].mean()
    handing_over = np.isin(hour, observation.HAND_OVERS[:2])
    day = (hour >= 8) & (hour < 22)
    assert missing[due & handing_over].mean() > missing[due & day & ~handing_over].mean()


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_missingness_follows_the_mechanism_that_is_chosen(population, mechanism):
    """MCAR: independent of all. MAR: of severity. MNAR: of the value itself, whatever the severity."""
    shares = tuple(float(name == mechanism) for name in ("mcar", "mar", "mnar"))
    on = population(n=1200, missingness=True, mechanisms=shares)
    off = population(n=1200)
    true, due = charted(off, "heart_rate"), np.isfinite(charted(off, "heart_rate"))
    missing = ~np.isfinite(charted(on, "heart_rate"))
    visits = visits_of(configured(), 5, np.arange(1200))
    keep = np.isin(visits.patient * 4 + visits.visit, on.visits.patient * 4 + on.visits.visit)
    ill = observation.severity_points(visits, body_of(configured(), 5, visits))[keep]
    by_severity = missing[due & (ill < 2)].mean() / missing[due & (ill > 4) & (ill <= 8)].mean()
    middle = due & (ill < 3)
    normal = (true > 60) & (true < 100)
    by_value = missing[middle & normal].mean() / missing[middle & ~normal].mean()
    assert (by_severity > 1.5) == (mechanism == "mar")
    assert (by_value > 1.25) == (mechanism == "mnar")


def test_correlations_tie_changes_together_as_the_configuration_says():
    """Severity moves variables together by itself; what the feature adds has each listed sign, and is less across than within."""
    found = {}
    for on in (True, False):
        visits, made = body(configured(correlations=on), n=600)
        change = np.diff(made.series[(made.strength.max(1) < 1.2) & (visits.condition == 0)], axis=1)
        found[on] = np.corrcoef(change.reshape(-1, len(SERIES)).T)
    added = found[True] - found[False]
    for (i, j), scale, (a, b, r, _) in configured().pairs():
        assert added[i, j] * r > 0.3 * scale * r**2, f"{a} and {b}"
    unlisted = added[SERIES.index("potassium"), SERIES.index("wbc")]
    assert abs(unlisted) < 0.05


def test_stochastic_correlations_differ_between_patients():
    spread = {}
    for on in (True, False):
        _, made = body(configured(correlations=True, stochastic_correlations=on), n=600)
        change = np.diff(made.series, axis=1)
        a, b = change[..., SERIES.index("creatinine")], change[..., SERIES.index("bun")]
        spread[on] = np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]).std()
    assert spread[True] > spread[False] * 1.02


def test_documentation_is_best_by_day_and_worst_at_night(population):
    on, off = population(n=1200, documentation=True), population(n=1200)
    due, kept = np.isfinite(charted(off, "heart_rate")), np.isfinite(charted(on, "heart_rate"))
    hour, weekend = on.visits.clock(48).astype(int), on.visits.weekend(48)
    share = {
        "day": kept[due & ~weekend & (hour >= 7) & (hour < 15)].mean(),
        "evening": kept[due & ~weekend & (hour >= 15) & (hour < 23)].mean(),
        "night": kept[due & ~weekend & ((hour >= 23) | (hour < 7))].mean(),
        "weekend": kept[due & weekend & (hour >= 7) & (hour < 15)].mean(),
    }
    assert share == pytest.approx({"day": 0.95, "evening": 0.90, "night": 0.85, "weekend": 0.87}, abs=0.012)
    error = np.abs(charted(on, "sbp") - charted(off, "sbp"))
    assert np.nanmean(error[(hour >= 23) | (hour < 6)]) > 1.3 * np.nanmean(error[(hour >= 8) & (hour < 15) & ~weekend])


def test_individuality_spreads_baselines_and_gives_five_patterns(population):
    on, off = population(n=1500, individuality=True), population(n=1500)
    healthy = off.visits.condition == 0
    spread = [np.nanmean(charted(b, "glucose")[b.visits.condition == 0], axis=1).std() for b in (on, off)]
    assert spread[0] > 1.2 * spread[1]
    assert healthy.any()
    assert set(on.truth["progression"].unique()) == set(PATTERNS)
    assert off.truth["progression"].null_count() == len(off)
    shares = on.truth["progression"].value_counts(normalize=True)
    assert dict(shares.iter_rows()) == pytest.approx(PATTERNS, abs=0.04)


def test_individuality_belongs_to_the_person_over_all_visits():
    visits, made = body(configured(individuality=True), n=1500)
    mean = made.series[..., SERIES.index("hemoglobin")].mean(1)
    second = np.flatnonzero(visits.visit == 1)
    assert np.corrcoef(mean[second], mean[second - 1])[0, 1] > 0.4


def test_mortality_follows_the_formula_and_without_it_everybody_has_one_risk(population):
    on, off = population(n=1500, mortality=True), population(n=1500)
    assert off.truth["true_risk"].std() < 1e-9
    assert off.truth["true_risk"][0] == pytest.approx(0.208, abs=1e-4)
    assert roc_auc_score(on.truth["died"], on.truth["true_risk"]) > 0.9
    assert roc_auc_score(on.truth["died"], on.visits.age) < 0.75, "physiology, not age, carries most of the risk"


def test_label_noise_changes_records_and_not_the_truth(population):
    on, off = population(n=2500, mortality=True, label_noise=True), population(n=2500, mortality=True)
    assert off.truth["died"].equals(off.truth["recorded_death"].alias("died"))
    truth = on.truth
    censored = truth["outcome"] != "observed"
    assert censored.mean() == pytest.approx(0.08, abs=0.012)
    assert not truth["recorded_death"].filter(censored).any()
    assert truth["ambiguity"].is_not_null().mean() == pytest.approx(0.08, abs=0.03)
    assert truth["flipped"].mean() == pytest.approx(0.0125, abs=0.006)
    assert truth["recorded_death"].mean() == pytest.approx(0.208, abs=0.02), "the prevalence is that of the records"
    assert truth["died"].mean() > truth["recorded_death"].mean()


def test_domain_shift_moves_some_patients_only(population):
    on, off = population(n=2500, domain_shift=True), population(n=2500)
    moved = on.visits.shift > 0
    assert moved.mean() == pytest.approx(0.15, abs=0.03)
    assert not off.visits.shift.any()
    assert on.visits.age[moved].mean() - on.visits.age[~moved].mean() > 2
    fewer = [np.isfinite(on.values[rows][:, :12]).mean() for rows in (moved, ~moved)]
    assert fewer[0] < 0.95 * fewer[1]
    hospitals = [set(on.visits.hospital[rows]) for rows in (moved, ~moved)]
    assert not hospitals[0] & hospitals[1], "another domain is other hospitals"


def test_diversity_draws_ages_and_conditions_by_strata(population):
    on, off = population(n=2500, diversity=True), population(n=2500)
    first = on.visits.visit == 0
    ages = on.visits.age[first]
    strata = ((18, 45), (45, 65), (65, 80), (80, 96))
    shares = [((ages >= low) & (ages < high)).mean() for low, high in strata]
    assert shares == pytest.approx([0.15, 0.30, 0.40, 0.15], abs=0.03)
    assert set(on.truth["condition"]) - set(off.truth["condition"]) == {"respiratory", "multi_organ"}


@pytest.mark.parametrize("feature", ["circadian", "sleep", "meals", "measurement", "missingness", "documentation"])
def test_a_feature_of_the_chart_changes_nobody_who_is_ill_or_who_comes(population, feature):
    """Every feature draws from streams of its own."""
    on, off = population(n=200, **{feature: True}), population(n=200)
    assert np.array_equal(on.visits.condition, off.visits.condition)
    assert np.array_equal(on.visits.length, off.visits.length)
    assert on.truth.equals(off.truth)


def test_values_persist_from_hour_to_hour(population):
    """METHODS A.2: the public generator draws every hour anew."""
    off = population(n=400)
    for name, least in (("heart_rate", 0.8), ("temperature", 0.8)):
        values = charted(off, name)[:, :12]
        apart = values - values.mean(1, keepdims=True)
        assert np.corrcoef(charted(off, name)[:, 0], charted(off, name)[:, 1])[0, 1] > least
        assert apart.any()
    lactate = body(configured())[1].series[..., SERIES.index("lactate")]
    assert np.corrcoef(lactate[:, 10], lactate[:, 15])[0, 1] > 0.5


OWN_SETTINGS = {
    "measurement": {"dropout": 0.5, "artifacts": 0.2, "jitter_hours": [0.3, 0.3]},
    "missingness": {"mechanisms": [1.0, 0.0, 0.0]},
    "correlations": {"correlated": [["heart_rate", "sbp", 0.9, 0]]},
    "stochastic_correlations": {"correlated": [["creatinine", "bun", 0.80, 0.5]]},
    "mortality": {"physiology_weight": 9.0},
    "label_noise": {"flipped": [0.3, 0.3], "censored": [0.2, 0.1, 0.1], "ambiguous": 0.5},
    "domain_shift": {"shifted": 0.6},
}  # what belongs to a feature alone, far from its default


@pytest.mark.parametrize("feature", OWN_SETTINGS)
def test_a_features_settings_count_when_it_is_on_and_do_nothing_when_it_is_off(feature, population):
    together = {"correlations": True} if feature == "stochastic_correlations" else {}
    if (
        feature == "stochastic_correlations"
    ):  # the correlation itself is the other feature's; here only its SD between stays differs
        together["correlated"] = (("creatinine", "bun", 0.80, 0.0),)
    changed = {name: _frozen(value) for name, value in OWN_SETTINGS[feature].items()}
    on = [population(n=60, **{feature: True} | together | more) for more in ({}, changed)]
    off = [population(n=60, **{feature: False} | together | more) for more in ({}, changed)]
    assert not same(*on)
    assert same(*off)


def _frozen(value):
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list) else value


@pytest.mark.parametrize("feature", FEATURES)
def test_no_switch_is_dead(feature, monkeypatch):
    """With all the others on, each one changes what is charted or recorded."""
    monkeypatch.setattr(generate, "REFERENCE", FEW)
    on, off = (simulated(configured("icu", **{feature: here}), 5, np.arange(40)) for here in (True, False))
    assert not same(on, off)


def test_survivors_are_ill_too(population):
    truth = population("icu", n=2500).truth
    ill = truth.filter(~truth["died"])["condition"] != "none"
    assert 0.25 < ill.mean() < 0.50


def test_only_outcomes_depend_on_the_outcome(monkeypatch):
    """With every death turned round, the chart is the same to the bit: nothing leaks."""
    settings = configured("icu")
    honest = simulated(settings, 3, np.arange(60))
    real = mortality.outcomes

    def turned_round(*arguments):
        outcome = real(*arguments)
        nobody = np.zeros_like(outcome.died)
        return mortality.Outcome(**{**outcome.__dict__, "died": nobody, "recorded": nobody})

    monkeypatch.setattr(mortality, "outcomes", turned_round)
    other = simulated(settings, 3, np.arange(60))
    places = {(p, v): i for i, (p, v) in enumerate(zip(other.visits.patient, other.visits.visit, strict=True))}
    rows = [places[p, v] for p, v in zip(honest.visits.patient, honest.visits.visit, strict=True)]
    assert np.array_equal(honest.values, other.values[rows], equal_nan=True)
    assert np.array_equal(honest.visits.length, other.visits.length[rows])
    assert honest.died.any()
    assert not other.died.any()


def test_every_variable_is_charted_within_its_limits(population):
    block = population("icu", n=400)
    for name in (*VITALS, *LABORATORY):
        values = charted(block, name)
        assert np.isfinite(values).any(), name
        assert np.nanstd(values) > 0
