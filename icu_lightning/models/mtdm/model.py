"""MTDM: diffusion imputation, LSTM mortality prediction and Siamese contrastive learning, trained jointly.

    series -> imputer -> filled series (S draws) -> LSTM -> S risks a stay; their mean is the prediction, their spread is told

Two stages: representation and imputation, then everything (METHODS B.1; what the paper leaves open is decided in B.3).

References: Multi-Task Diffusion Mortality (Buranaburustam et al., APSIPA Trans. SIP 14(1) e15, 2025).
"""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, listed, unknown_name, whole_number
from icu_lightning.models.base import Data, StageTrainer, check_observed, monitored
from icu_lightning.models.mtdm.imputer import Imputer
from icu_lightning.models.mtdm.predictor import MortalityLSTM
from icu_lightning.models.mtdm.samplers import DDIM
from icu_lightning.models.mtdm.stages import Joint, MTDMNetwork, MTDMStage, WarmUp, Weights
from icu_lightning.models.siamese import Siamese
from icu_lightning.models.stage import decay_shares, optimizer_of

HOURS_AT_ONCE = 2**15  # of all draws, in a call of the LSTM: bounds its memory, 4 KB an hour for the gates of 128 units


BEST = {"joint": "val/loss", "mortality": "val/mortality"}  # of validation, least at the epoch that is kept


class MTDM(nn.Module):
    """The model of the rest of the package.

    Arguments:
        shape: of the data.
        imputer, predictor: made here, given `shape`; siamese also the embedding's width.
        weights: of the loss terms.
        fill_steps: DDIM steps of the series that the LSTM is trained on, with the gradient of the last.
        samples: imputations, so risks, a stay; one, if more would be the same.
        seed: of the noise of imputations outside training.
        epochs: of the two stages, at most. An imputer that only stage 1 trains (imputation has no weight in stage 2, and no feedback
            reaches it) has both stages' epochs there: as many as one that is trained jointly.
        best: what decides about the best epoch of stage 2: joint, its loss; or mortality, that of the labels alone, of which the joint
            loss can be long past the least when imputing has still to improve. Both of validation.
        patience: epochs of stage 2 without a better one, after which it stops.
        snapshots: numbers of epochs, counted over both stages, after which the weights are kept, to look at what was learnt by then.
        optimizer, decay_at: of both stages.

    Raises UserError for what it or a part refuses, its optimizer too: before any training.
    """

    EARLY = True

    def __init__(
        self,
        *,
        shape: BatchShape,
        imputer: "partial[Imputer]",
        predictor: "partial[MortalityLSTM]",
        siamese: "partial[Siamese]",
        weights: Mapping[str, float],
        fill_steps: int,
        samples: int,
        seed: int,
        epochs: Mapping[str, int],
        patience: int,
        snapshots: "list[int]",
        optimizer: "partial[torch.optim.Optimizer]",
        decay_at: "list[float]",
        best: str = "joint",
    ) -> None:
        super().__init__()
        reader = predictor(shape=shape)
        self.network = MTDMNetwork(
            imputer=imputer(shape=shape),
            predictor=reader,
            siamese=siamese(embedding_width=reader.width),
            fill_steps=whole_number("model.fill_steps", fill_steps, 1),
            seed=whole_number("model.seed", seed, 0),
        )
        DDIM(steps=fill_steps).levels(self.network.imputer.schedule)  # refuses too many
        self.weights = Weights(**weights)  # type: ignore[arg-type]
        check_learning(self.weights)
        whole_number("model.samples", samples, 1)
        self.samples = samples if self.network.imputer.draws_differ else 1
        self.epochs = {name: whole_number(f"model.epochs.{name}", epochs[name], 0) for name in ("stage1", "stage2")}
        whole_number("model.epochs.stage2", epochs["stage2"], 1)
        after = listed("model.snapshots", snapshots, "[0,50,100]")
        self.snapshots = [whole_number("an epoch in model.snapshots", epoch, 0) for epoch in after]
        self.patience = whole_number("model.patience", patience, 1)
        decays = decay_shares("model.decay_at", decay_at, "a stage's epochs")
        if best not in BEST:
            raise unknown_name("loss in model.best", best, BEST)
        self.best = best
        optimizer_of(optimizer, self.network)  # else told when training begins
        self.optimisation = {"optimizer": optimizer, "decay_at": decays}

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """stage1, unless it has no epochs; then stage2, from its best weights."""
        check_observed(data.train)
        common: dict[str, Any] = {"network": self.network, "weights": self.weights, **self.optimisation}
        alone = self.weights.by_stage1_alone
        epochs = self.epochs["stage1"] + (self.epochs["stage2"] if alone else 0)
        cap = getattr(trainer, "max_epochs", None)
        epochs = epochs if cap is None else min(epochs, cap)
        if epochs:
            of_stage1 = [
                epoch for epoch in self.snapshots if epoch < epochs
            ]  # stage 2 begins with the next, and keeps it
            # A warm-up is not stopped early; what stage 1 alone trains is, as what is trained jointly
            patience = self.patience if alone else epochs
            stage: MTDMStage = WarmUp(snapshots=of_stage1, **common)
            trainer.fit(
                stage, data, stage="stage1", monitor="val/loss", mode="min", max_epochs=epochs, patience=patience
            )
        rankable = monitored(data.val)[0] == "val/auroc"
        stage = Joint(
            rankable=rankable,
            survivor_weight=data.prior_odds or 1.0,
            snapshots=[epoch - epochs for epoch in self.snapshots if epoch >= epochs],
            **common,
        )
        until: dict[str, Any] = {"max_epochs": self.epochs["stage2"], "patience": self.patience}
        # A loss, not AUROC: of a few validation deaths an early epoch has the highest by chance, before the imputer has learnt
        trainer.fit(stage, data, stage="stage2", monitor=BEST[self.best], mode="min", **until)
        trainer.keep(self, name="imputer", beside={"prior_odds": data.prior_odds})  # for imputer=mtdm of these settings

    @property
    def most_draws(self) -> int | None:
        """1, if more draws of a cell would be the same number; else None."""
        return None if self.network.imputer.draws_differ else 1

    @torch.no_grad()
    def predict(self, batch: StayBatch) -> Tensor:
        """(B, S): a risk an imputation. Batches of one stay or many give a stay the same."""
        logit, _ = self._read_draws(batch)
        return torch.sigmoid(logit).cpu()

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, 64): the second LSTM's last state, averaged over the imputations."""
        _, embedding = self._read_draws(batch)
        return embedding.mean(1).float().cpu()

    @torch.no_grad()
    def impute(self, batch: StayBatch, n_samples: int) -> Tensor:
        """(B, S, T, V) z-scores, observed cells unchanged. A stay with nothing observed is drawn from the prior."""
        return self.network.imputer.eval().impute(batch, n_samples, self.network.seed).cpu()

    def _read_draws(self, batch: StayBatch) -> tuple[Tensor, Tensor]:
        """Logits (B, S) and embeddings (B, S, 64), of the LSTM in double precision: see `RiskModule.predict`."""
        draws = self.network.imputer.eval().impute(batch, self.samples, self.network.seed)  # (B, S, T, V)
        device, series = draws.device, draws.flatten(0, 1)  # (B, S, T, V) -> (B S, T, V)
        observed, static = batch.observed.to(device), batch.static.to(device).double()
        reader = copy.deepcopy(self.network.predictor).double().eval()
        parts = []
        for rows in torch.arange(len(series), device=device).split(max(1, HOURS_AT_ONCE // series.shape[1])):
            stays = rows // self.samples
            parts.append(reader(series[rows].double(), observed[stays], static[stays]))
        logit, embedding = map(torch.cat, zip(*parts, strict=True))
        return logit.view(len(batch), -1), embedding.view(len(batch), self.samples, -1)


def check_learning(weights: Weights) -> None:
    """Raise UserError for weights with which no label would reach the risks: they would be those of an untrained head."""
    if not weights.mortality:
        raise UserError("model.weights.mortality is 0: nothing would teach the LSTM a risk. Give it a weight.")
    if not weights.bce and not weights.mse:
        raise UserError(
            "model.weights.bce and model.weights.mse are both 0: nothing would teach the LSTM a risk. Give one of them a weight."
        )
