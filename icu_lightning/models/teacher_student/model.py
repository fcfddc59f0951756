"""Teacher and student for mortality in sepsis, from 48 hourly rates of vasoactive drugs and their score (VIS).

    hours -> masked autoencoder (mae) -> its encoder, with static features: the teacher -> the student, whose risk it is

Only the paper's abstract is public; every choice beyond it is METHODS C.5's, stands in conf, and can be switched off.
Severity scores are predicted (variant A) or inputs (variant B), and a score that is both is refused.

References: A Novel Multi-Task Teacher-Student Architecture with Self-Supervised Pretraining for 48-Hour Vasoactive-Inotropic Trend
Analysis in Sepsis Mortality Prediction (Jin et al., arXiv 2502.16834, 2025).
"""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from icu_lightning.batch import BatchShape, StayBatch
from icu_lightning.errors import UserError, share, unknown_name, whole_number
from icu_lightning.models.base import Data, StageTrainer, monitored, settings_of
from icu_lightning.models.teacher_student.masked_autoencoder import Encoder, MaskedAutoencoder
from icu_lightning.models.teacher_student.stages import STAGES, Budget, Learning, Pretraining, Teaching, Weights
from icu_lightning.models.teacher_student.student import Lessons, check_learning
from icu_lightning.models.teacher_student.teacher import MultitaskNetwork, Reader
from icu_lightning.models.vis import check_drugs, check_vis, checked_horizon, until

RISKS = ("student", "teacher")
PRETRAINED, TEACHER_SEVERITY = "an encoder that is pretrained", "model.weights.teacher_severity"


class TeacherStudent(nn.Module):
    """The model of the rest of the package.

    Arguments:
        shape: of the data.
        encoder: of the masked autoencoder and the teacher; made here, given `shape`.
        autoencoder: given `shape` and an encoder.
        teacher: given `shape` and, for its reader, an encoder, which begins with the pretrained weights.
        student: its reader, static, dropout, temperature and gaps; see `MultitaskNetwork` and `Learning`.
        weights: of the loss terms.
        stages: a budget a stage, by name.
        risk: whose it is, the student's or the teacher's; then there is no student.
        seed: of the hours that validation of the pretraining hides.
        optimizer, warm_up: of all stages.
        pretraining_dropout: of the encoder while it is pretrained, in place of its own.
        horizon: hours that all stages and both networks are shown, see `vis.checked_horizon`.

    Raises UserError for data without drugs, for a score that is an input and to be predicted, and for weights of a stage that is off.
    """

    EARLY = True

    def __init__(
        self,
        *,
        shape: BatchShape,
        encoder: "partial[Encoder]",
        autoencoder: "partial[MaskedAutoencoder]",
        teacher: "partial[MultitaskNetwork]",
        student: Mapping[str, Any],
        weights: Mapping[str, float],
        stages: Mapping[str, Mapping[str, Any]],
        risk: str,
        seed: int,
        optimizer: "partial[torch.optim.Optimizer]",
        warm_up: float,
        pretraining_dropout: float,
        horizon: int | None,
    ) -> None:
        super().__init__()
        self.weights, self.shape = Weights(**weights).checked(risk), shape
        check_roles(shape, self.weights)
        if risk not in RISKS:
            raise unknown_name("model.risk", risk, RISKS)
        seen: dict[str, Any] = {"shape": shape, "horizon": checked_horizon(horizon, shape)}
        self.horizon = horizon
        self.risk, self.seed = risk, whole_number("model.seed", seed, 0)
        self.stages = {name: Budget(**stages[name]).checked(name) for name in STAGES}
        check_pretraining(self.stages["mae"])
        self.notes: list[str] = []
        share("model.pretraining_dropout", pretraining_dropout)
        with settings_of("model.encoder"):
            pretrained = encoder(shape=shape, dropout=pretraining_dropout)
        self.autoencoder = autoencoder(**seen, encoder=pretrained)
        with settings_of("model.encoder"):
            tuned = encoder(shape=shape)
        with settings_of("model.teacher"):
            self.teacher = teacher(**seen, reader=tuned)
        options = dict(student)
        with settings_of("model.student.reader"):
            reader: Reader = options.pop("reader")(shape=shape)
        self.learning = {name: options.pop(name) for name in ("temperature", "gaps")}
        check_learning(**self.learning)
        with settings_of("model.student"):
            self.student = MultitaskNetwork(**seen, reader=reader, **options)
        self.projection = nn.Linear(reader.width, self.teacher.width)
        self.optimizer, self.warm_up = optimizer, share("model.warm_up", warm_up)

    def fit(self, data: Data, trainer: StageTrainer) -> None:
        """The stages, one after another, each from the best weights of the one before."""
        check_drugs(until(data.train, self.horizon))
        shown = self._shown(data.state()) | self._pretrained()
        mae, taken = self.stages["mae"], self.stages["teacher"].checkpoint
        if taken and not mae.checkpoint:
            self.notes = [
                f"The teacher was taken from {taken}, with what that run pretrained: nothing was pretrained here."
            ]
        elif mae.epochs or mae.checkpoint:
            self.autoencoder.fit_nothing(data.train)
            wider = data if data.pretraining is None else data.pretraining
            measured: dict[str, Any] = {
                "seed": self.seed,
                "all_stays": not bool(self.autoencoder.running(wider.val).any()),
            }
            module = Pretraining(autoencoder=self.autoencoder, **measured, **self._common("mae"))
            self._train(module, wider, trainer, "mae", "val/loss", shown)
            self.teacher.reader.load_state_dict(self.autoencoder.encoder.state_dict())
        shown = shown | self._shown_beside(data.state()) | {TEACHER_SEVERITY: self.weights.teacher_severity}
        supervised: dict[str, Any] = {
            "weights": self.weights,
            "rankable": monitored(data.val)[0] == "val/auroc",
            "survivor_weight": data.prior_odds or 1.0,
        }
        teaching = Teaching(teacher=self.teacher, **supervised, **self._common("teacher"))
        # BCE, not AUROC, which a few validation deaths decide by chance
        self._train(teaching, data, trainer, "teacher", "val/mortality", shown)
        self.teacher.requires_grad_(False).eval()
        if self.risk == "student":
            lessons = Lessons.of(self.teacher, [data.train, data.val])
            common = {**self.learning, **supervised, **self._common("student")}
            learning = Learning(student=self.student, projection=self.projection, lessons=lessons, **common)
            self._train(learning, data, trainer, "student", "val/mortality", shown | self._taught())

    def _common(self, stage: str) -> dict[str, Any]:
        return {"optimizer": partial(self.optimizer, lr=self.stages[stage].lr), "warm_up": self.warm_up}

    def _shown(self, fitted: Mapping[str, Any]) -> dict[str, Any]:
        """What decides which numbers the hours are, by setting, for the trainer to keep. Arguments: fitted: `Data.state()`."""
        return {
            "data.hours": self.shape.hours,
            "columns of data.vis": list(self.shape.vis),
            "model.horizon": self.horizon or self.shape.hours,
            "scale of data.vis": [fitted["vis_scaler"], fitted["usual_weight"]],
        }

    def _pretrained(self) -> dict[str, Any]:
        """What sets one pretraining apart from another, by setting; None where this run has none."""
        of, masking = self.autoencoder, self.autoencoder.masking
        said = {
            "masking.ratio": masking.ratio,
            "masking.spans": masking.spans,
            "masking.span_hours": [masking.shortest, masking.longest],
            "running_weight": of.running_weight,
            "line": of.line,
        }
        there = bool(self.stages["mae"].epochs or self.stages["mae"].checkpoint)
        return {PRETRAINED: there} | {f"model.autoencoder.{name}": of if there else None for name, of in said.items()}

    def _taught(self) -> dict[str, Any]:
        """What sets one student's lessons apart from another's, by setting."""
        terms = {f"model.weights.{name}": of for name, of in vars(self.weights).items()}
        return terms | {f"model.student.{name}": of for name, of in self.learning.items()}

    def _shown_beside(self, fitted: Mapping[str, Any]) -> dict[str, Any]:
        """The same of static features and of scores to be predicted, which pretraining does not see."""
        shown = {
            "columns of data.static": list(self.shape.static),
            "scale of data.static": fitted["static_encoder"],
        }
        if not self.shape.severity:
            return shown
        return shown | {"data.severity": list(self.shape.severity), "scale of data.severity": fitted["severity_scaler"]}

    def _train(
        self, module: Any, data: Data, trainer: StageTrainer, stage: str, monitor: str, shown: Mapping[str, Any]
    ) -> None:
        budget = self.stages[stage]
        until: dict[str, Any] = {
            "max_epochs": max(1, budget.epochs),
            "patience": budget.patience,
            "checkpoint": budget.checkpoint,
            "shown": shown,
        }
        trainer.fit(module, data, stage=stage, monitor=monitor, mode="min", **until)

    @torch.no_grad()
    def predict(self, batch: StayBatch) -> Tensor:
        """(B, 1) risks."""
        network, batch = self._exactly(batch)
        return torch.sigmoid(network(batch).logit).unsqueeze(1).cpu()

    @torch.no_grad()
    def embed(self, batch: StayBatch) -> Tensor:
        """(B, D): the state of the hours that the risk is made of."""
        network, batch = self._exactly(batch)
        return network(batch).state.cpu()

    def _exactly(self, batch: StayBatch) -> tuple[nn.Module, StayBatch]:
        """Network and batch in double precision: see `RiskModule.predict`."""
        network = copy.deepcopy(self.student if self.risk == "student" else self.teacher).double().eval()
        return network, batch.to(next(network.parameters()).device).double()


def check_roles(shape: BatchShape, weights: Weights) -> None:
    """Raise UserError for data without drugs, a score that is both input and target, or targets that are not there."""
    check_vis(shape, "teacher_student")
    if both := sorted(set(shape.severity) & set(shape.static)):
        raise UserError(
            f"{', '.join(both)} is in data.static, so an input, and in data.severity, so to be predicted: the answer would be in the "
            "question. Take it out of one of the two, or choose model/variant=clean (targets) or paper_shap (inputs)."
        )
    if (weights.severity or weights.teacher_severity) and not shape.severity:
        raise UserError(
            "model.weights asks for severity scores to be predicted, but data.severity names none: name some, as in "
            "'data.severity=[sofa,saps2]', or set model.weights.severity=0 and model.weights.teacher_severity=0."
        )


def check_pretraining(mae: Budget) -> None:
    """Raise UserError for pretraining that is both left out and taken from a run: which of the two is meant decides an ablation."""
    if mae.checkpoint and not mae.epochs:
        raise UserError(
            "model.stages.mae.epochs=0 (model/ablation=no_pretraining) pretrains nothing, and "
            f"model.stages.mae.checkpoint={mae.checkpoint} takes what was pretrained: leave one of them out."
        )
