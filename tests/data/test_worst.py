"""Worst values: windows, pairing and carrying on made-up events, and hourly SOFA against a slow loop over every window."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from icu_lightning.data.worst import (
    FirstDay,
    coma_scale,
    gases,
    highest_rates,
    history,
    hourly_sofa,
    scores_and_components,
    severity_scores,
)
from icu_lightning.errors import UserError
from tests.data import plain_scores as plain
from tests.data.in_memory import Event, InMemory, infusion, stays

WORST = {
    "heart_rate": 90,
    "sbp": 120,
    "map": 80,
    "respiratory_rate": 20,
    "temperature": 37,
    "wbc": 9,
    "potassium": 4,
    "sodium": 140,
}


def day(events: Sequence[Event], start: float = -6, end: float = 24, infusions: Sequence[dict] = (), **columns) -> dict:
    """The worst values of stay 1."""
    source = InMemory([(1, *event[-3:]) for event in events], infusions)
    return FirstDay.read(source, stays(1, **columns), end).worst(start).row(0, named=True)


def moments(*rows: tuple) -> pl.DataFrame:
    """(hours, variable, value[, preference]) of stay 1."""
    full = [(1, float(row[0]), row[1], float(row[2]), row[3] if len(row) > 3 else 0) for row in rows]
    return pl.DataFrame(full, schema=["stay_id", "hours", "variable", "value", "preference"], orient="row")


@pytest.mark.parametrize("variable", WORST)
def test_the_first_day_is_six_hours_before_admission_to_twenty_four_after_it(variable):
    usual = WORST[variable]
    rows = [(1, -6.1, variable, usual * 1.2), (1, -6.0, variable, usual * 1.1), (1, 23.9, variable, usual)]
    rows += [(1, 24.0, variable, usual * 0.9)]
    found = day(rows)
    assert (found[f"{variable}_min"], found[f"{variable}_max"]) == (usual, usual * 1.1)
    without_before = day(rows, start=0)
    assert without_before[f"{variable}_min"] == without_before[f"{variable}_max"] == usual


def test_saps2_alone_begins_at_admission():
    before = severity_scores(InMemory([(1, -1.0, "bun", 90.0), (1, -1.0, "heart_rate", 170.0)]), stays(1), 24).row(
        0, named=True
    )
    after = severity_scores(InMemory([(1, 1.0, "bun", 90.0), (1, 1.0, "heart_rate", 170.0)]), stays(1), 24).row(
        0, named=True
    )
    assert after["saps2"] - before["saps2"] == 10 + 7
    assert [before[name] - after[name] for name in ("lods", "oasis", "sirs")] == [0, 0, 0]


def test_nothing_after_the_prediction_time_is_looked_at():
    known: list[Event] = [
        (1, 1.0, "creatinine", 2.0),
        (1, 2.0, "gcs", 14.0),
        (1, 3.0, "map", 80.0),
        (1, 1.0, "surgical", 0.0),
    ]
    later: list[Event] = [
        (1, 12.0, "creatinine", 9.0),
        (1, 12.0, "gcs", 3.0),
        (1, 13.0, "map", 40.0),
        (1, 13.0, "surgical", 1.0),
    ]
    later += [(1, 12.5, "pao2", 60.0), (1, 12.4, "fio2", 1.0), (1, 12.0, "bun", 99.0), (1, 20.0, "temperature", 41.0)]
    runs = infusion(1, "norepinephrine", 12.0, 20.0, 0.5)
    everything, alone = InMemory([*known, *later], [runs]), InMemory(known)
    assert severity_scores(everything, stays(1), 12).equals(severity_scores(alone, stays(1), 12))
    assert not severity_scores(everything, stays(1), 24).equals(severity_scores(alone, stays(1), 24))
    assert hourly_sofa(everything, stays(1), 12).equals(hourly_sofa(alone, stays(1), 12))


def test_a_score_of_a_stay_without_events_is_null_and_the_order_of_stays_is_kept():
    scores = severity_scores(InMemory([(3, 1.0, "map", 60.0)]), stays(7, 3, 5), 24)
    assert scores["stay_id"].to_list() == [7, 3, 5]
    assert scores["sofa"].to_list() == [None, 1, None]
    assert scores.null_count().row(0) == (0, 2, 2, 2, 2, 3), "of SIRS nothing was measured in any"
    outside = severity_scores(InMemory([(1, 30.0, "map", 60.0), (1, -8.0, "map", 60.0)]), stays(1), 24)
    assert outside.row(0)[1:] == (None,) * 5


def test_a_component_of_which_nothing_was_measured_counts_nothing_and_is_counted():
    """Of three stays: a MAP alone; a MAP and platelets; nothing at all, which has no score and is not counted."""
    events: list[Event] = [(3, 1.0, "map", 60.0), (5, 1.0, "map", 90.0), (5, 1.0, "platelets", 30.0)]
    points, components = scores_and_components(InMemory(events), stays(7, 3, 5), 24)
    assert points["sofa"].to_list() == [None, 1, 3]
    sofa = {name: (n, m) for score, name, n, m in components.rows() if score == "sofa"}
    assert sofa == {
        "respiration": (2, 2),
        "coagulation": (2, 1),
        "liver": (2, 2),
        "cardiovascular": (2, 0),
        "cns": (2, 2),
        "renal": (2, 2),
    }
    assert list(dict.fromkeys(components["score"])) == ["sofa", "lods", "saps2", "oasis", "sirs"]
    assert points.equals(severity_scores(InMemory(events), stays(7, 3, 5), 24))


def test_a_database_without_any_of_it_is_refused():
    with pytest.raises(UserError, match=r"data=elsewhere charts nothing that severity scores"):
        severity_scores(InMemory(name="elsewhere"), stays(1), 24)


# Blood gases

FOUR_HOURS = (4.3, 8.3)  # and a bit more in floating point


@pytest.mark.parametrize(
    ("fio2_at", "pao2_at", "ratio"),
    [(1.0, 5.0, 160), (*FOUR_HOURS, 160), (1.0, 5.01, None), (5.0, 5.0, 160), (5.1, 5.0, None), (-7.5, -5.5, 160)],
)
def test_a_gas_takes_the_latest_fio2_of_four_hours(fio2_at, pao2_at, ratio):
    found = day([(1, fio2_at, "fio2", 0.5), (1, pao2_at, "pao2", 80.0)])
    assert found["pf_unventilated_min"] == ratio


def test_of_two_fio2_the_later_counts_and_of_two_at_one_time_the_preferred_place():
    assert gases(moments((0, "fio2", 0.4), (1, "fio2", 0.8), (2, "pao2", 80)))["pf"].to_list() == [100]
    assert gases(moments((1, "fio2", 0.4, 0), (1, "fio2", 0.8, 1), (2, "pao2", 80)))["pf"].to_list() == [200]


def test_the_worst_gas_of_each_kind_of_support_stands_apart():
    rows = [(0, 0.0, "fio2", 0.5), (0, 3.9, "fio2", 0.5), (0, 7.8, "fio2", 0.5)]
    rows += [(0, 0.5, "pao2", 100.0), (0, 1.5, "pao2", 80.0), (0, 2.5, "pao2", 60.0), (0, 4.5, "pao2", 90.0)]
    rows += [(0, 1.0, "ventilation", 1.0), (0, 2.0, "ventilation", 2.0), (0, 4.0, "ventilation", 0.0)]
    found = day(rows)
    assert (found["pf_invasive_min"], found["pf_spontaneous_min"]) == (120, 160)
    assert (found["pf_ventilated_min"], found["pf_unventilated_min"]) == (120, 180)
    assert (found["ventilated"], found["invasive"]) == (True, True)
    on_mask = [(0, h, name, value) for _, h, name, value in rows if (name, value) != ("ventilation", 2.0)]
    assert (day(on_mask)["ventilated"], day(on_mask)["invasive"]) == (True, False)


def test_sofa_and_oasis_want_invasive_ventilation_and_the_others_take_cpap():
    def scores(kind: float) -> dict:
        rows = [(1, 1.0, "ventilation", kind), (1, 1.0, "fio2", 1.0), (1, 2.0, "pao2", 80.0)]
        return severity_scores(InMemory(rows), stays(1), 24).row(0, named=True)

    alone, mask, tube = (scores(kind) for kind in (0.0, 1.0, 2.0))
    assert (alone["sofa"], mask["sofa"], tube["sofa"]) == (2, 2, 4)
    assert (mask["oasis"] - alone["oasis"], tube["oasis"] - alone["oasis"]) == (0, 9)
    assert mask["lods"] == tube["lods"] == alone["lods"] + 3
    assert mask["saps2"] == tube["saps2"] == alone["saps2"] + 11


@pytest.mark.parametrize(("charted", "support"), [(-9.0, 2), (-10.0, 2), (-10.01, 0), (4.0, 2), (4.1, 0)])
def test_ventilation_lasts_at_most_fourteen_hours(charted, support):
    found = gases(moments((charted, "ventilation", 2), (3, "fio2", 1), (4, "pao2", 80)))
    assert found["support"].to_list() == [support]


def test_a_tube_says_more_than_the_cannula_charted_at_the_same_time_in_a_preferred_place():
    rows = moments((0, "ventilation", 0, 0), (0, "ventilation", 2, 1), (0, "fio2", 1), (1, "pao2", 80))
    assert gases(rows)["support"].to_list() == [2]
    assert gases(pl.concat([rows, moments((0.5, "ventilation", 0, 0))]))["support"].to_list() == [0]


# Coma scale


@pytest.mark.parametrize(
    ("rows", "totals"),
    [
        ([(0, "gcs_motor", 4)], [13]),
        ([(0, "gcs_eyes", 1), (6, "gcs_verbal", 2), (12.1, "gcs_motor", 3)], [12, 9, 12]),
        ([(0, "gcs_eyes", 1), (0.1, "gcs_verbal", 1), (6.1, "gcs_motor", 6)], [12, 8, 11]),
        ([(0, "gcs_verbal", 1), (0, "gcs_tube", 1), (0, "gcs_eyes", 1), (0, "gcs_motor", 1)], [15]),
        ([(0, "gcs_verbal", 1), (0, "gcs_tube", 1), (5, "gcs_motor", 1), (6.5, "gcs_motor", 1)], [15, 15, 10]),
        ([(0, "gcs_verbal", 1), (0, "gcs_tube", 1), (2, "gcs_verbal", 2), (2, "gcs_tube", 0)], [15, 12]),
        ([(0, "gcs", 7), (1, "gcs_eyes", 3)], [7, 14]),
        ([(0, "gcs_eyes", 2, 0), (0, "gcs_eyes", 1, 1)], [13]),
    ],
)
def test_components_hold_six_hours_missing_ones_are_normal_and_a_tube_scores_fifteen(rows, totals):
    assert coma_scale(moments(*rows))["value"].to_list() == totals


def test_the_worst_coma_scale_of_the_window_with_components_charted_before_it():
    rows = [(1, -8.0, "gcs_eyes", 1.0), (1, -5.0, "gcs_motor", 5.0), (1, 5.0, "gcs_motor", 6.0)]
    assert day(rows)["gcs_min"] == 11, "the eyes of two hours before the window are three hours old"
    assert day(rows, start=0)["gcs_min"] == 15


# Urine and drugs


@pytest.mark.parametrize(
    ("los", "end", "known"), [(72.0, 24, True), (22.0, 24, True), (21.9, 24, False), (72.0, 21, False)]
)
def test_urine_counts_where_twenty_two_hours_are_covered(los, end, known):
    rows = [(1, -1.0, "urine", 900.0), (1, 0.0, "urine", 100.5), (1, 20.0, "urine", 200.25)]
    assert day(rows, end=end, los_hours=los)["urine_24h"] == (300.75 if known else None)


def test_irrigation_is_taken_off_the_urine_and_never_leaves_less_than_nothing():
    source = InMemory([(1, 3.0, "urine", 700.0), (1, 3.0, "urine", 500.0)])
    into = pl.col("value") == 500
    source.rows = source.rows.with_columns(unit=pl.when(into).then(pl.lit("mL in")).otherwise("unit"))
    assert FirstDay.read(source, stays(1), 24).worst(0)["urine_24h"].to_list() == [200]
    source.rows = source.rows.filter(into)
    assert FirstDay.read(source, stays(1), 24).worst(0)["urine_24h"].to_list() == [0]


def test_no_urine_charted_is_unknown_and_none_made_is_zero():
    assert day([(1, 1.0, "map", 80.0)])["urine_24h"] is None
    assert day([(1, 1.0, "urine", 0.0)])["urine_24h"] == 0


def test_the_highest_rate_of_a_drug_is_that_of_all_its_infusions_together():
    rows = [infusion(1, "norepinephrine", 1.0, 3.0, 0.05), infusion(1, "norepinephrine", 2.0, 2.5, 0.04)]
    rows += [infusion(1, "dopamine", 23.0, 30.0, 4.0), infusion(1, "dopamine", 24.0, 30.0, 20.0)]
    rows += [infusion(1, "epinephrine", 5.0, 6.0, None), infusion(1, "dobutamine", 5.0, 6.0, 0.0)]
    found = day([(1, 1.0, "map", 80.0)], infusions=rows)
    assert found["norepinephrine_max"] == pytest.approx(0.09)
    assert (found["dopamine_max"], found["epinephrine_max"], found["dobutamine_max"]) == (4, None, 0)


def test_drugs_of_other_stays_and_of_databases_without_any_are_nobodys():
    source = InMemory(infusions=[infusion(1, "dopamine", 0.0, 3.0, 4.0)])
    assert highest_rates(source, stays(2), 24).is_empty()
    assert highest_rates(InMemory(name="physionet2012"), stays(1), 24).is_empty()


# History


def test_the_kind_of_admission():
    rows: list[Event] = [(i, -1.0, "surgical", float(i in (1, 2, 4))) for i in (1, 2, 3, 5)]
    rows += [
        (4, 24.0, "surgical", 1.0),
        (4, 1.0, "surgical", 0.0),
        (1, -9.0, "elective", 1.0),
        (3, -9.0, "elective", 1.0),
    ]
    rows += [(2, -9.0, "elective", 0.0), (5, 23.9, "surgical", 1.0), (3, 400.0, "aids", 1.0)]
    table = history(InMemory(rows), stays(1, 2, 3, 4, 5, 6)).sort("stay_id")
    kinds = ["elective_surgery", "emergency_surgery", "medical", "medical", "emergency_surgery", None]
    assert table["admission_type"].to_list() == kinds
    assert table["aids"].to_list() == [False, False, True, False, False, False]
    unknown = history(InMemory(name="physionet2012"), stays(1))
    assert unknown.row(0) == (1, None, None, None, None)


# Hourly SOFA


@pytest.fixture(scope="module")
def made_up() -> dict[int, plain.Charted]:
    """Twelve stays of random events around admission, on a half-hour grid so that edges are met."""
    rng = np.random.default_rng(7)
    usual = {"map": (40, 100), "platelets": (5, 300), "bilirubin": (0.3, 15), "creatinine": (0.4, 7), "pao2": (50, 200)}
    usual |= {"fio2": (0.21, 1.0), "urine": (0, 90)}
    codes = {"ventilation": (0, 3), "gcs_eyes": (1, 5), "gcs_verbal": (1, 6), "gcs_motor": (1, 7), "gcs_tube": (0, 2)}
    charted = {}
    for i in range(1, 13):
        stay = plain.Charted(los=7.5 if i == 1 else float(rng.integers(24, 60)) + 0.5)
        for name, (low, high) in usual.items():
            times = rng.choice(
                np.arange(-70, 110), int(rng.integers(0, 40 if name in ("urine", "fio2") else 12)), replace=False
            )
            stay.events[name] = [(float(t) / 2, 0, round(float(rng.uniform(low, high)), 2)) for t in times]
        for name, (low, high) in codes.items():
            times = rng.choice(np.arange(-20, 110), int(rng.integers(0, 12)), replace=False)
            stay.events[name] = [(float(t) / 2, 0, float(rng.integers(low, high))) for t in times]
        for drug in rng.choice(["dopamine", "dobutamine", "epinephrine", "norepinephrine"], int(rng.integers(0, 4))):
            start = float(rng.uniform(-3, 50))
            rate = round(float(rng.uniform(0, 0.2)), 3)
            stay.rates[str(drug)].append((start, start + float(rng.uniform(0, 8)), rate))
        charted[i] = stay
    return charted


def source_of(charted: dict[int, plain.Charted], shuffled: bool = False) -> tuple[InMemory, pl.DataFrame]:
    rows = [(i, h, name, v) for i, stay in charted.items() for name, found in stay.events.items() for h, _, v in found]
    runs = [infusion(i, drug, *piece) for i, stay in charted.items() for drug, of in stay.rates.items() for piece in of]
    frame = stays(*charted, los_hours=[stay.los for stay in charted.values()])
    if shuffled:
        rng = np.random.default_rng(1)
        rows, runs = [rows[j] for j in rng.permutation(len(rows))], [runs[j] for j in rng.permutation(len(runs))]
    return InMemory(rows, runs), frame


def slow_hourly(stay: plain.Charted, hours: int) -> list[int | None]:
    """SOFA of [end - 24, end) anew for every end of an hour in the unit, from nothing but the events themselves."""
    totals: list[int | None] = []
    for end in range(1, min(hours, int(np.ceil(stay.los))) + 1):
        found = plain.worst(stay, end - 24, end)
        inputs = [
            found["platelets"][0],
            found["bilirubin"][1],
            found["creatinine"][1],
            found["map"][0],
            found["urine"],
            found["gcs"],
        ]
        inputs += [
            *found["pf"].values(),
            *(found[d] for d in ("dopamine", "dobutamine", "epinephrine", "norepinephrine")),
        ]
        totals.append(sum(plain.sofa(found).values()) if any(value is not None for value in inputs) else None)
    return totals


def test_hourly_sofa_is_that_of_every_trailing_day_computed_anew(made_up):
    source, frame = source_of(made_up)
    fast = hourly_sofa(source, frame, 48)
    for i, stay in made_up.items():
        of = fast.filter(pl.col("stay_id") == i).sort("hour")
        assert of["hour"].to_list() == list(range(1, len(of) + 1))
        assert of["sofa"].to_list() == slow_hourly(stay, 48), i
    assert fast["sofa"].n_unique() > 10


def test_first_day_scores_are_those_of_the_plain_loops(made_up):
    source, frame = source_of(made_up)
    fast = {row["stay_id"]: row for row in severity_scores(source, frame, 24).to_dicts()}
    for i, stay in made_up.items():
        assert fast[i] == {"stay_id": i, **plain.first_day(stay), "sirs": None}, "nothing of SIRS is made up here"


def test_the_order_of_rows_changes_nothing(made_up):
    source, frame = source_of(made_up)
    shuffled, _ = source_of(made_up, shuffled=True)
    assert hourly_sofa(source, frame, 48).equals(hourly_sofa(shuffled, frame, 48))
    assert severity_scores(source, frame, 24).equals(severity_scores(shuffled, frame, 24))
    turned = frame.reverse()
    assert hourly_sofa(source, turned, 48).sort("stay_id", "hour").equals(hourly_sofa(source, frame, 48))


def test_hours_that_are_computed_in_pieces_are_the_same(made_up, monkeypatch):
    source, frame = source_of(made_up)
    whole = hourly_sofa(source, frame, 48)
    monkeypatch.setattr("icu_lightning.data.worst.CHUNK", 5)
    assert hourly_sofa(source, frame, 48).equals(whole)


def test_what_was_charted_before_the_first_trailing_day_still_holds_in_it():
    rows: list[Event] = [(1, -24.5, "fio2", 0.5), (1, -22.5, "pao2", 80.0), (1, -33.0, "ventilation", 2.0)]
    assert hourly_sofa(InMemory(rows), stays(1), 2)["sofa"].to_list() == [3, None]


def test_a_day_of_urine_begins_with_the_stay_and_is_known_after_twenty_two_hours():
    rows: list[Event] = [
        (1, -1.0, "urine", 900.0),
        (1, 5.5, "urine", 100.0),
        (1, 29.5, "urine", 300.0),
        (1, 40.0, "urine", 900.0),
    ]
    found = hourly_sofa(InMemory(rows), stays(1), 48)["sofa"].to_list()
    assert found == [None] * 21 + [4] * 8 + [3] * 11 + [0] * 8, "100 mL at the ends of hours 22 to 29, 300 mL until 40"


def test_hourly_sofa_of_nothing_is_null_and_of_nobody_empty():
    assert hourly_sofa(InMemory(), stays(1, los_hours=3.0), 24).rows() == [(1, 1, None), (1, 2, None), (1, 3, None)]
    assert hourly_sofa(InMemory(), stays(), 24).is_empty()
