"""What the figures of an explanation are drawn from, and what each states below its heading."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from icu_lightning.description.words import DATABASES, OUTCOMES
from icu_lightning.plots.sheet import Facts


@dataclass(frozen=True, kw_only=True)
class Many:
    """Many stays. content, table: of explanation.json and attributions.parquet."""

    content: Mapping[str, Any]
    table: pl.DataFrame

    @property
    def facts(self) -> Facts:
        """Whose stays, which risk, against what."""
        of = self.content
        about = f"{DATABASES.get(of['source'], of['source'])}: {of['n']} test stays ({of['events']} deaths), {which(of)} risk, "
        about += f"against the {100 * of['base_value']:.0f} % that {of['background']} training stays have on average"
        return Facts(about=about, synthetic=of["synthetic"])


@dataclass(frozen=True, kw_only=True)
class One:
    """One stay. rows: its of attributions.parquet. content: of explanation.json. why: this stay is shown."""

    rows: pl.DataFrame
    content: Mapping[str, Any]
    why: str

    @property
    def title(self) -> str:
        return f"Stay {self.rows['stay_id'][0]}: a predicted risk of {100 * self.rows['risk'][0]:.1f} %"

    @property
    def facts(self) -> Facts:
        risk, base = 100 * self.rows["risk"][0], 100 * self.rows["base_value"][0]
        side = "above" if risk >= base else "below"
        lived, died = OUTCOMES.get(self.content["outcome"], ("", "without the outcome", "with the outcome"))[1:]
        about = f"{which(self.content).capitalize()} risk, {abs(risk - base):.1f} points {side} the average of {base:.1f} %. "
        about += f"{died if self.rows['label'][0] == 1 else lived}. Shown for {self.why}."
        return Facts(about=about, synthetic=self.content["synthetic"])


def which(content: Mapping[str, Any]) -> str:
    return "uncalibrated" if content["risk"] == "raw" else "calibrated"
