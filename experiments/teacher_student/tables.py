"""Every table of README.md, made of the JSON files beside it and put between its marks, so that no number is typed.

    python experiments/teacher_student/tables.py            writes README.md; with --check it only says whether that would change it

A mark is `<!-- NAME -->`, and the table goes on to `<!-- end -->`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from icu_lightning.atomic import write_text

HERE = Path(__file__).parent
MODELS = {
    "student": "student",
    "teacher": "teacher",
    "vis_gru": "GRU, 1 x 64 (the student's reader)",
    "vis_lstm": "LSTM, 1 x 64",
    "vis_lstm_searched": "LSTM, its settings searched on validation",
    "lr_sofa_vis": "logistic regression: SOFA; max, last and slope of VIS",
    "saps2": "SAPS II alone",
    "oasis": "OASIS alone",
    "lods": "LODS alone",
    "sofa": "SOFA alone",
    "sirs": "SIRS alone",
    "transformer": "student that reads as a transformer of two layers (`model/reader=transformer`)",
    "no_line": "student, whose pretraining is given no line (`no_line`)",
    "no_pretraining": "student, nothing pretrained (`no_pretraining`)",
}
ABLATIONS = {
    "student": "everything",
    "no_teacher": "no distillation (`no_teacher`)",
    "no_labels": "the student without labels (`no_labels`)",
    "no_soft_labels": "without the teacher's soft labels (`no_soft_labels`)",
    "no_features": "without the teacher's states (`no_features`)",
    "no_severity": "the student predicts no scores (`no_severity`)",
    "no_gaps": "the student is shown every hour (`no_gaps`)",
    "temperature_1": "the teacher's risks are not softened (`temperature_1`)",
    "no_static": "neither knows the person: hours alone (`no_static`)",
    "no_multitask": "no scores, of neither teacher nor student (`no_multitask`)",
    "no_pretraining": "no pretraining (`no_pretraining`)",
    "no_line": "pretraining tells the value and is given no line between visible hours (`no_line`)",
    "equal_hours": "pretraining weighs hours with a drug as others (`equal_hours`)",
    "septic_pretraining": "pretraining on the septic stays alone, for as many steps",
    "mask_25": "pretraining hides 25 % of the hours, of 75 (`mask_25`)",
    "mask_50": "50 % (`mask_50`)",
    "mask_90": "90 % (`mask_90`)",
    "random_masks": "it hides single hours at random (`random_masks`)",
    "span_masks": "spans of hours (`span_masks`)",
}
SCORES = {"sofa": "SOFA", "lods": "LODS", "saps2": "SAPS II", "oasis": "OASIS", "sirs": "SIRS"}
KINDS = {
    "hours": "single hours unknown",
    "spans": "spans of 4 to 8 hours unknown",
    "held": "hours repeat the one before",
}
FEATURES = {
    "sofa": "SOFA",
    "lods": "LODS",
    "marital_status": "marital status (the paper: single)",
    "insurance": "insurance (the paper: Medicaid)",
    "saps2": "SAPS II",
}
TOLD = {
    "vis_mse": "masked autoencoder",
    "no_line": "masked autoencoder without the line (`no_line`)",
    "interpolated_mse": "straight line",
    "carried_forward_mse": "last value",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    path = HERE / "README.md"
    text = path.read_text()
    made = filled(text)
    if parser.parse_args().check:
        sys.exit(0 if made == text else "README.md is not what its JSON files say: run tables.py.")
    write_text(path, made)


def filled(text: str) -> str:
    """The README's text with every table made anew. Raises KeyError for a mark that names no table."""

    def table(mark: re.Match[str]) -> str:
        name = mark[1]
        return f"<!-- {name} -->\n{TABLES[name](read(FILES.get(name, name)))}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def read(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """Without the zero before the point.

    >>> number(0.7461), number(-0.0123, sign=True), number(1.5, 2)
    ('.746', '-.012', '1.50')
    """
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{'+' if sign else ''}.{digits}f}")


def cell(of: Mapping[str, float], digits: int = 3, sign: bool = False) -> str:
    value, low, high = (number(of[end], digits, sign) for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def table(*rows: tuple[str, ...]) -> str:
    """Markdown; the first row is the heading."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def results(content: Mapping[str, Any]) -> str:
    beside = ("against the LSTM (95 %)", "AUPRC against the LSTM (95 %)", "Brier score against the LSTM (95 %)")
    rows = [("model's own risk, test", "AUROC (95 %)", *beside)]
    for name, words in ((name, words) for name, words in MODELS.items() if name in content["runs"]):
        of = content["runs"][name]
        rows.append((words, cell(of["auroc"]), *(["", "", ""] if name == content["against"] else differences(of))))
    for pair, of in content["pairs"].items():
        rows.append(
            (
                pair.replace("vis_gru", "GRU").replace("vis_lstm_searched", "LSTM searched"),
                cell(of["auroc"], sign=True),
                "",
                f"{cell(of['auprc'], sign=True)} (of the pair)",
                f"{cell(of['brier'], 4, sign=True)} (of the pair)",
            )
        )
    return table(*rows)


def full(content: Mapping[str, Any]) -> str:
    """Of the stays of the timed run."""
    return f"{results(content)}\n\n{content['test_stays']:,} test stays, {content['test_deaths']:,} deaths."


def differences(of: Mapping[str, Any]) -> list[str]:
    """Of AUROC, AUPRC and the Brier score."""
    digits = {"auroc_difference": 3, "auprc_difference": 3, "brier_difference": 4}
    return [cell(of[name], places, sign=True) for name, places in digits.items()]


def robustness(content: Mapping[str, Any]) -> str:
    rows = [("", *(f"{share} %" for share in (0, 20, 40, 60, 80)), "change at 80 % (95 %)")]
    for kind, words in KINDS.items():
        for name, of_kinds in charted_worse(content).items():
            found = of_kinds[kind]
            aurocs = (number(of["auroc"]["value"]) for of in found)
            rows.append((f"{name}, {words}", *aurocs, cell(found[-1]["change"], sign=True)))
    return table(*rows)


def charted_worse(content: Mapping[str, Any]) -> dict[str, Any]:
    """What there is of robustness, by the words for the model."""
    return {
        "student": content["runs"]["student"]["robustness"],
        "student trained without gaps": read("ablations")["runs"]["no_gaps"]["robustness"],
        "LSTM": content["runs"]["vis_lstm"]["robustness"],
    }


def shifted(content: Mapping[str, Any]) -> str:
    rows = [("hours shown too early or too late, at most", "0", "1", "2", "4", "change at 4 (95 %)")]
    for name, of_kinds in charted_worse(content).items():
        found = of_kinds["shifted"]
        aurocs = (number(of["auroc"]["value"]) for of in found)
        rows.append((name, *aurocs, cell(found[-1]["change"], sign=True)))
    return table(*rows)


def pretraining(content: Mapping[str, Any]) -> str:
    rows = [
        (
            "",
            *(
                f"{name.replace('_', ' ')}: {of['stays']:,} stays, {of['hours']:,} hours"
                for name, of in content["stays"].items()
            ),
        )
    ]
    for name, words in TOLD.items():
        rows.append((words, *(cell(of["squared_error"][name]) for of in content["stays"].values())))
    for name, words in list(TOLD.items())[1:]:
        gaps = (cell(of["squared_error"][f"vis_mse minus {name}"], sign=True) for of in content["stays"].values())
        rows.append((f"autoencoder minus {words}", *gaps))
    return table(*rows)


def full_pretraining(content: Mapping[str, Any]) -> str:
    return pretraining(content)


def speed(content: Mapping[str, Any]) -> str:
    rows = [("", "parameters", "stays/s, the network", "stays/s, `predict`")]
    speeds = ("stays_per_second", "predict_stays_per_second")
    for name in ("teacher", "student"):
        of = content[name]
        rows.append((name, f"{of['parameters']:,}", *(f"{of[speed]:,.0f}" for speed in speeds)))
    faster = (f"{content[f'times_faster{how}']:.1f} times as many" for how in ("", "_predict"))
    times = (f"{content['times_smaller']:.1f} times fewer", *faster)
    return table(*rows, ("the student has", *times))


def stage_times(content: Mapping[str, Any]) -> str:
    rows = [("stage", "epochs", "epoch kept", "minutes")]
    rows += [
        (n, str(of["epochs"]), str(of["best_epoch"] + 1), f"{of['seconds'] / 60:.1f}")
        for n, of in content["stages"].items()
    ]
    rows.append(("all", "", "", f"{content['seconds_of_all_stages'] / 60:.1f}"))
    said = f"{content['stays']:,} stays ({content['train_stays']:,} to train on), {content['cores']} cores, beside "
    return f"{table(*rows)}\n\n{said}{content['beside']}."


def severity(content: Mapping[str, Any]) -> str:
    rows = [("score", "stays", "training mean", "teacher", "student", "student minus training mean (95 %)")]
    for name, of in content["scores"].items():
        mae = of["mae"]
        errors = (number(mae[who]["value"], 2) for who in ("training mean", "teacher", "student"))
        rows.append((SCORES[name], f"{of['stays']:,}", *errors, cell(mae["student minus training mean"], 2, sign=True)))
    return table(*rows)


def searched(content: Mapping[str, Any]) -> str:
    rows = [("trial", "units", "dropout", "learning rate", "weight decay", "AUROC, validation")]
    for of in sorted(content["trials"], key=lambda trial: -(trial["val_auroc"] or 0))[:3]:
        words = (f"{of['model.width']}", f"{of['model.dropout']:.2f}", f"{of['model.optimizer.lr']:.5f}")
        decay = f"{of['model.optimizer.weight_decay']:.4f}"
        rows.append((str(of["trial"]), *words, decay, number(of["val_auroc"])))
    ended = [of["state"] for of in content["trials"]]
    return f"{table(*rows)}\n\nThe best three of {len(ended)}, of which {ended.count('pruned')} were stopped early."


def ablations(content: Mapping[str, Any]) -> str:
    rows = [("", "AUROC (95 %)", "against everything (95 %)", "Brier score against everything (95 %)")]
    for name, words in ((name, words) for name, words in ABLATIONS.items() if name in content["runs"]):
        of = content["runs"][name]
        beside = [cell(of["auroc_difference"], sign=True), cell(of["brier_difference"], 4, sign=True)]
        rows.append((words, cell(of["auroc"]), *(["", ""] if name == content["against"] else beside)))
    return table(*rows)


def seeds(content: Mapping[str, Any]) -> str:
    """Student and LSTM of each seed; the last row has means and SDs over seeds, which intervals over patients do not hold."""
    rows = [("seed", "student, AUROC (95 %)", "LSTM, AUROC (95 %)", "student - LSTM (95 %)")]
    found = []
    for pair, of in content["pairs"].items():
        sides = [content["runs"][name]["auroc"] for name in pair.split(" - ")]
        rows.append((pair.rpartition("_")[2], *map(cell, sides), cell(of["auroc"], sign=True)))
        found.append([*(side["value"] for side in sides), of["auroc"]["value"]])
    means, sds = zip(*((mean(column), stdev(column)) for column in zip(*found, strict=True)), strict=True)
    over = [f"{number(m, sign=i == 2)} ± {number(sd)}" for i, (m, sd) in enumerate(zip(means, sds, strict=True))]
    return table(*rows, ("mean ± SD over seeds", *over))


def horizons(content: Mapping[str, Any]) -> str:
    head = (
        "student, AUROC (95 %)",
        "against 48 (95 %)",
        "GRU, AUROC (95 %)",
        "against 48 (95 %)",
        "student - GRU (95 %)",
    )
    rows, student = [("hours shown", *head)], read("horizons_student")
    for pair, gap in student["pairs"].items():
        name, gru = pair.split(" - ")
        if gru not in content["runs"]:  # of two horizons
            continue
        first = name == student["against"]
        cells = [
            (cell(of["auroc"]), "" if first else cell(of["auroc_difference"], sign=True))
            for of in (student["runs"][name], content["runs"][gru])
        ]
        hours = "48" if first else name.rpartition("_")[2]
        rows.append((hours, *cells[0], *cells[1], cell(gap["auroc"], sign=True)))
    for pair in ("student_36 - student_24", "student_24 - student_12"):
        rows.append((pair.replace("_", " "), cell(student["pairs"][pair]["auroc"], sign=True), "", "", "", ""))
    return table(*rows)


def twelve(content: Mapping[str, Any]) -> str:
    rows = [
        (
            "seed",
            "student, 12 hours, AUROC (95 %)",
            "GRU, 12 hours",
            "student - GRU (95 %)",
            "student - age alone (95 %)",
        )
    ]
    for seed in range(3):
        names = [f"{model}_12_{seed}" for model in ("student", "gru")]
        aurocs = (cell(content["runs"][name]["auroc"]) for name in names)
        gaps = (content["pairs"][f"{names[0]} - {other}"]["auroc"] for other in (names[1], "age"))
        rows.append((str(seed), *aurocs, *(cell(gap, sign=True) for gap in gaps)))
    return f"{table(*rows)}\n\nAge alone, by logistic regression: {cell(content['runs']['age']['auroc'])}."


def shap(content: Mapping[str, Any]) -> str:
    found = content["shap"]
    rows = [("feature", "SYNTHETIC, here", "real, the paper's abstract")]
    for row in found["rows"]:
        here = row["here"]
        ours = here if isinstance(here, str) else cell({"value": here["mean_absolute"], **here})
        if isinstance(of := row.get("of_stays_in_that_category"), dict):
            ours += f"; of the {of['n']} such stays {number(of['mean_absolute'])}"
        rows.append((FEATURES[row["feature"]], ours, number(row["paper"])))
    ranking = sorted(found["ranking"].items(), key=lambda item: -item[1])
    order = ", ".join(f"{name.replace('_', ' ')} {number(size)}" for name, size in ranking)
    said = (
        f"{found['stays']} test stays against {found['background']} training stays, at most {found['evaluations']:,} "
    )
    said += f"evaluations a stay, hours in blocks of {found['block_hours']}, vasoactive drugs {found['drugs']} with their score."
    return f"{table(*rows)}\n\n{said} All of it, in order: {order}."


def inputs(content: Mapping[str, Any], calibrated: str = "inputs_calibrated") -> str:
    of_calibrated = read(calibrated)["left_out"]
    rows = [
        (
            "left out",
            "AUROC",
            "Brier score",
            "slope, own risk",
            "in the large, own risk",
            "slope, calibrated risk",
            "in the large, calibrated risk",
        )
    ]
    for name, of in content["left_out"].items():
        own, given = of["overall"], of_calibrated[name]["overall"]
        cells = [
            own["auroc"],
            own["brier"],
            own["calibration_slope"],
            own["calibration_in_the_large"],
            given["calibration_slope"],
            given["calibration_in_the_large"],
        ]
        rows.append((name.replace("_", " "), *(cell(part["difference"], sign=True) for part in cells)))
    return table(*rows)


def inputs_student(content: Mapping[str, Any]) -> str:
    return inputs(content, "inputs_student_calibrated")


def groups(content: Mapping[str, Any], calibrated: str = "inputs_calibrated") -> str:
    of_calibrated = read(calibrated)["left_out"]
    rows = [
        (
            "group of the feature left out",
            "stays (deaths)",
            "AUROC with",
            "without minus with",
            "in the large, calibrated, with",
            "without minus with",
        )
    ]
    sides = ("with", "difference")
    for feature, of in content["left_out"].items():
        for name, group in of["groups"].items():
            large = of_calibrated[feature]["groups"][name]["calibration_in_the_large"]
            aurocs = (cell(group["auroc"][s], 3 if s == "difference" else 2, sign=s == "difference") for s in sides)
            larges = (cell(large[s], 2, sign=True) for s in sides)
            rows.append(
                (f"{feature.replace('_', ' ')}: {name}", f"{group['stays']} ({group['deaths']})", *aurocs, *larges)
            )
    small = {
        feature.replace("_", " "): of["too_small"] for feature, of in content["left_out"].items() if of["too_small"]
    }
    said = "; ".join(f"{feature} {', '.join(names)}" for feature, names in small.items())
    return f"{table(*rows)}\n\nUnder {content.get('smallest', 50)} test stays, so not scored: {said}."


def groups_student(content: Mapping[str, Any]) -> str:
    return groups(content, "inputs_student_calibrated")


def demos(content: Mapping[str, Any]) -> str:
    took = content["vis_and_scores_of_the_mimic4_demo"]
    head = ("stays to train on / validate on / test on", "test deaths", "epochs of mae / teacher / student", "seconds")
    rows = [("SMOKE, real stays of an open demo", *head)]
    for name, of in content["runs"].items():
        sides = " / ".join(str(of["stays"][side]) for side in ("train", "val", "test"))
        stages = (" / ".join(f"{stage[of_a]:.0f}" for stage in of["stages"].values()) for of_a in ("epochs", "seconds"))
        rows.append((name, sides, str(of["test_deaths"]), *stages))
    said = f"VIS and the five scores of all {took['stays']} stays of the MIMIC-IV demo took {took['seconds']:.1f} s "
    said += f"({took['processor_seconds']:.1f} s of the processor; {took['stays_with_a_drug']} stays had a drug)."
    return f"{table(*rows)}\n\n{said}"


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    of.__name__: of
    for of in (
        results,
        full,
        full_pretraining,
        robustness,
        shifted,
        pretraining,
        speed,
        stage_times,
        severity,
        searched,
        ablations,
        seeds,
        horizons,
        twelve,
        shap,
        inputs,
        inputs_student,
        groups,
        groups_student,
        demos,
    )
}
FILES = {
    "searched": "lstm_search",
    "robustness": "results",
    "shifted": "results",
    "groups": "inputs",
    "groups_student": "inputs_student",
}

if __name__ == "__main__":
    main()
