"""Laws of imputing: nothing hidden is seen, nothing observed is changed, errors rise with what is missing, bands cover."""

import dataclasses
import math
import os
import shutil
import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch

from icu_lightning.errors import UserError
from icu_lightning.evaluation.imputation import imputation_metrics
from icu_lightning.models.mtdm import imputer
from icu_lightning.models.mtdm.samplers import DDIM, DDPM, DPMSolver
from tests.models.mtdm.conftest import HOURS, VARIABLES, conf, covariance, gaussian_stays, shape, stays_of


@pytest.mark.parametrize("completion", ["zero", "imputed"])
def test_hidden_truth_cannot_change_an_imputation_a_risk_or_a_loss_of_the_shown(make_model, completion):
    """Bit for bit: what stands in unobserved cells of `values`, labels and held-out marks enter nothing."""
    model = make_model(f"model.imputer.completion={completion}")
    batch, truth = gaussian_stays(6)
    other = dataclasses.replace(
        batch,
        values=torch.where(batch.observed, batch.values, truth + 50),
        held_out=~batch.observed,
        label=1 - batch.label,
    )
    assert torch.equal(model.impute(batch, 3), model.impute(other, 3))
    assert torch.equal(model.predict(batch), model.predict(other))
    assert torch.equal(model.embed(batch), model.embed(other))
    network, losses = model.network, []
    for stays in (batch, other):
        torch.manual_seed(0)
        series = network.train().fill(stays, feedback=True)
        trained = network.imputation_loss(stays, series)
        validated, weight = network.eval().validation_loss(stays, network.fill(stays, feedback=False))
        losses.append(torch.stack([trained, validated, weight]))
    assert torch.equal(*losses)


def test_observed_cells_are_unchanged_and_the_others_are_not_zero(make_model):
    batch, _ = gaussian_stays(6)
    draws = make_model().impute(batch, 3)
    assert draws.shape == (6, 3, HOURS, VARIABLES)
    shown = batch.observed.unsqueeze(1).expand_as(draws)
    assert torch.equal(draws[shown], batch.values.unsqueeze(1).expand_as(draws)[shown])
    assert (draws[~shown] != 0).all()


def test_a_stay_is_imputed_alike_alone_and_in_company_and_draws_are_their_own(make_model):
    model = make_model()
    batch, _ = gaussian_stays(6)
    together = model.impute(batch, 4)
    assert torch.equal(together[2:3], model.impute(batch[2:3], 4))
    model.network.imputer.stratified = False  # else draws share the strata of their number
    assert torch.allclose(model.impute(batch, 4)[:, :2], model.impute(batch, 2), atol=1e-6)
    assert (together[:, 0] != together[:, 1]).any()


def test_stays_taken_side_by_side_are_imputed_as_one_after_another(make_model, monkeypatch):
    model, (batch, _) = make_model(), gaussian_stays(9)
    torch.nn.init.normal_(model.network.imputer.denoiser.out_2.weight)  # begins at zero, which would hide the network
    monkeypatch.setattr(imputer, "side_by_side", lambda: 1)
    alone = model.impute(batch, 3)
    monkeypatch.setattr(imputer, "side_by_side", lambda: 4)
    threads = []
    model.network.imputer.denoiser.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(model.impute(batch, 3), alone), "as a command that reads a checkpoint does it"
        assert (set(threads), torch.get_num_threads()) == ({1}, 3)
    finally:
        torch.set_num_threads(before)


def test_the_seed_of_imputations_is_the_models(make_model):
    """And of all that is not training: its risks, embeddings and validation."""
    batch, _ = gaussian_stays(6)
    series = []
    for seed in (0, 1, 1):
        model = make_model(f"model.seed={seed}", "model.fill_steps=2")
        network = model.network.eval()
        series.append((model.impute(batch, 3), network.fill(batch, feedback=False),
                       network.validation_loss(batch, None)[0], model.predict(batch), model.embed(batch)))  # fmt: skip
    for zero, one, again in zip(*series, strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(zero, one)


def test_the_series_the_lstm_learns_from_shows_no_hidden_truth(make_model):
    network = make_model().network
    batch, truth = gaussian_stays(6)
    other = dataclasses.replace(batch, values=torch.where(batch.observed, batch.values, truth))
    for mode in (True, False):
        network.train(mode)
        filled = []
        for stays in (batch, other):
            torch.manual_seed(3)
            filled.append(network.fill(stays, feedback=True))
        assert torch.equal(*filled)
        assert torch.equal(filled[0][batch.observed], batch.values[batch.observed])


def walked(imputer, batch, noise: torch.Tensor, steps: int, detached: bool) -> torch.Tensor:
    """(B, T, V) what `Imputer.fill` gives of v, by hand: DDIM's step, the way from v to x_0 and the clip, written out."""
    x, levels = noise, [round(50 * (steps - i) / steps) for i in range(steps)]
    context = imputer.denoiser.context(batch.values, batch.observed)
    for k, following in zip(levels, [*levels[1:], 0], strict=True):
        a, b = (float(imputer.schedule.alpha_bar[i]) for i in (k, following))
        x_0 = (math.sqrt(a) * x - math.sqrt(1 - a) * imputer.denoiser(x, k, context)).clamp(-4, 4)
        x = math.sqrt(b) * x_0 + math.sqrt((1 - b) / (1 - a)) * (x - math.sqrt(a) * x_0)
        x = x.detach() if following and detached else x
    return torch.where(batch.observed, batch.values, x.squeeze(1))


def test_the_gradient_of_a_fill_is_the_last_steps_and_none_without_feedback(make_model):
    network = make_model("model.fill_steps=3").network.double().train()
    batch, _ = gaussian_stays(4)
    batch = dataclasses.replace(batch, values=batch.values.double())
    noise, cells = torch.randn(2, 4, 1, HOURS, VARIABLES, dtype=torch.float64)

    def gradients(filled):
        network.zero_grad()
        (filled * cells.squeeze(1)).sum().backward()
        return torch.cat([p.grad.flatten() for p in network.imputer.parameters()])

    filled = network.imputer.fill(batch, 3, lambda: noise, gradient=True)
    by_hand = walked(network.imputer, batch, noise, 3, detached=True)
    assert torch.allclose(filled, by_hand)
    found, expected = gradients(filled), gradients(by_hand)
    assert torch.allclose(found, expected, atol=1e-9 * float(expected.abs().max()))
    through_all = gradients(walked(network.imputer, batch, noise, 3, detached=False))
    assert float((through_all - expected).norm()) > 0.1 * float(expected.norm()), "or the law says nothing"
    assert not network.fill(batch, feedback=False).requires_grad


def test_in_mixed_precision_the_gradient_of_a_fill_is_nearly_the_same(make_model):
    """Autocast keeps the weights that it has cast: where the steps without gradient have cast them, they must not stay without."""
    network = make_model("model.fill_steps=3").network.train()
    batch, _ = gaussian_stays(16)
    gradients = []
    for mixed in (False, True):
        network.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            filled = network.fill(batch, feedback=True)
        filled.square().sum().backward()
        gradients.append({name: p.grad.flatten() for name, p in network.imputer.named_parameters()})
    for name, exact in gradients[0].items():
        assert torch.cosine_similarity(exact, gradients[1][name], dim=0) > 0.9, name


def test_a_stay_with_nothing_observed_is_drawn_from_the_prior(make_model):
    model = make_model()
    batch, _ = gaussian_stays(3, missing=1.0)
    draws = model.impute(batch, 5)
    assert draws.isfinite().all()
    assert model.predict(batch).isfinite().all()


def test_other_hours_or_variables_than_the_networks_are_told(make_model):
    batch, _ = gaussian_stays(3, hours=HOURS + 2)
    with pytest.raises(UserError, match="made for 8 hours of 3 variables"):
        make_model().predict(batch)
    three, _ = gaussian_stays(3)
    four = stays_of(*(torch.cat([x, x[..., :1]], dim=2) for x in (three.values, three.observed)), three.label)
    with pytest.raises(UserError, match="the stays have 8 hours of 4"):
        make_model().predict(four)


def test_training_asks_for_every_share_of_targets_and_every_step(make_model, monkeypatch):
    """CSDI's random target strategy: r ~ U(0, 1) of each stay's observed cells, k ~ U{1, ..., K}; METHODS B.2."""
    network, seen = make_model().network.imputer, {}
    batch, _ = gaussian_stays(4000, missing=0.0)

    def errors(_, x_0, targets, k, epsilon):
        seen.update(targets=targets, k=k)
        return torch.zeros_like(x_0)

    monkeypatch.setattr(network, "_errors", errors)
    torch.manual_seed(0)
    network.loss(batch, None)
    share, k = seen["targets"].double().mean((1, 2)), seen["k"]
    cells = HOURS * VARIABLES  # of r uniform, how many of n cells are chosen is uniform over 0 ... n
    counts = torch.bincount((share * cells).round().long(), minlength=cells + 1)
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    counts = torch.bincount(k, minlength=51)
    assert (int(counts[0]), len(counts)) == (0, 51)
    assert scipy.stats.chisquare(counts[1:]).pvalue > 0.001
    few = dataclasses.replace(batch, observed=batch.observed & (torch.arange(HOURS) < 2).view(1, -1, 1))
    network.loss(few, None)
    assert not seen["targets"][:, 2:].any(), "of observed cells alone"


def test_losses_are_means_over_target_cells_alone(make_model, monkeypatch):
    """Eq. 12: the more cells are shown or were never measured, the smaller a mean over all cells would be."""
    network = make_model().network.imputer
    monkeypatch.setattr(network, "_errors", lambda batch, x_0, targets, *_: torch.where(targets, 3.0, 0.0))
    for missing in (0.1, 0.9):
        batch, _ = gaussian_stays(20, missing=missing)
        assert float(network.loss(batch, None)) == pytest.approx(3)
        loss, cells = network.validation_loss(batch, 0, None)
        assert float(loss) == pytest.approx(3)
        assert float(cells) == pytest.approx(float(batch.observed.sum()) / 2, rel=0.3), "half of the observed"


def test_losses_of_a_batch_without_measurements_are_0_and_finite(make_model):
    network = make_model().network
    batch, _ = gaussian_stays(3, missing=1.0)
    assert float(network.imputer.loss(batch, None).detach()) == 0
    assert float(network.imputer.validation_loss(batch, 0, None)[0]) == 0


def test_the_validation_loss_is_the_same_again_and_of_the_stay_alone(make_model):
    network = make_model().network.eval()
    batch, _ = gaussian_stays(6)

    def loss(stays):
        return network.validation_loss(stays, network.fill(stays, feedback=False))

    assert torch.equal(loss(batch)[0], loss(batch)[0])
    alone = [loss(batch[i : i + 1]) for i in range(6)]
    together = sum(mean * cells for mean, cells in alone) / sum(cells for _, cells in alone)
    assert float(loss(batch)[0]) == pytest.approx(float(together), rel=1e-5)


def test_the_validation_loss_noises_what_training_noises(make_model):
    """Gaps hold the imputer's own draws where training has them there, and zeros where it has zeros."""
    batch, _ = gaussian_stays(6)
    for completion, same in (("zero", True), ("imputed", False)):
        network = make_model(f"model.imputer.completion={completion}").network.eval()
        with_zeros = network.imputer.validation_loss(batch, 0, None)[0]
        found = network.validation_loss(batch, network.fill(batch, feedback=False))[0]
        assert torch.equal(found, with_zeros) == same


def test_unknown_choices_are_told(make_model):
    for override in ("completion=zeros", "precision=float16", "predicts=eps"):
        with pytest.raises(UserError, match="Unknown"):
            make_model(f"model.imputer.{override}")


SIZE = {"layers": 2, "channels": 16, "heads": 2, "feedforward": 16}


@pytest.fixture(scope="module")
def trained():
    """An imputer trained for a minute on complete Gaussian series, each seen once."""
    from icu_lightning.build import built

    torch.manual_seed(0)
    settings = conf("model.imputer.completion=zero")["imputer"]
    imputer = built(settings | {"denoiser": settings["denoiser"] | SIZE, "_partial_": False}, shape=shape())
    return taught(imputer, lambda stays: imputer.loss(stays, None), steps=2000, missing=0.0)


@pytest.fixture(scope="module")
def of_gaps():
    """Metrics by sampler, of an imputer whose training stays have gaps of their own: 70 % of their cells were never measured.

    Those are what is imputed. Trained as stage 1 trains it, with the default completion.
    """
    from icu_lightning.build import built

    torch.manual_seed(0)
    settings = conf("model.fill_steps=2")
    settings["imputer"]["denoiser"] |= SIZE
    network = built(settings, shape=shape()).network.train()

    def loss(stays):
        return network.imputation_loss(stays, network.fill(stays, feedback=False))

    imputer = taught(network.imputer, loss, steps=800, missing=0.7)
    samplers = {"ddim 5": DDIM(steps=5), "ddim 50": DDIM(steps=50), "dpm 6": DPMSolver(steps=6), "ddpm 50": DDPM()}
    return {name: held_out(imputer, 0.7, sampler=sampler, n=40) for name, sampler in samplers.items()}


def taught(imputer, loss, steps: int, missing: float):
    """The imputer after so many steps of Adam, of 128 Gaussian stays each that no step has seen before."""
    batch, _ = gaussian_stays(128 * steps, missing=missing)
    optimizer = torch.optim.Adam(imputer.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(batch[slice(128 * step, 128 * (step + 1))]).backward()
        optimizer.step()
        schedule.step()
    return imputer.eval()


def held_out(imputer, rate: float, n_samples: int = 40, sampler=None, n: int = 60) -> dict:
    """Metrics of cells hidden at this rate, of n stays never trained on."""
    batch, truth = gaussian_stays(n, seed=9, missing=rate)
    draws = imputer.impute(batch, n_samples, 0, sampler)
    cells = ~batch.observed
    chosen = draws.movedim(1, 0)[:, cells].double().numpy()
    return imputation_metrics(truth[cells].double().numpy(), chosen)


@pytest.mark.slow
def test_errors_rise_with_the_missing_rate_to_one_where_nothing_is_observed(trained):
    errors = [held_out(trained, rate)["rmse"] for rate in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]
    assert all(later > earlier - 0.03 for earlier, later in pairwise(errors))
    assert errors[-1] == pytest.approx(1.0, abs=0.1), "of 60 stays, whose cells are alike"
    assert errors[0] < 0.65
    # METHODS E (2). What is filled in says nothing of whom it is beside: each fill is scored by all of 20,000 other stays
    fill = trained.impute(gaussian_stays(60, seed=9, missing=1.0)[0], 40, 0).median(1).values
    truth = gaussian_stays(20_000, seed=10, missing=1.0)[1]
    squared = truth.square().mean(0) - 2 * truth.mean(0) * fill.mean(0) + fill.square().mean(0)
    assert float(squared.mean().sqrt()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.slow
def test_bands_cover_and_the_conditional_gaussian_is_learnt(trained):
    default = DPMSolver(steps=6)  # conf/model/mtdm.yaml's
    assert held_out(trained, 0.5, sampler=default)["coverage90"] == pytest.approx(0.88, abs=0.06), "of 40 draws"
    found = held_out(trained, 0.5, sampler=DDPM())
    batch, truth = gaussian_stays(60, seed=9, missing=0.5)
    best = best_mean(batch.values.double(), batch.observed)
    bound = float((best - truth)[~batch.observed].square().mean().sqrt())
    assert bound < found["rmse"] < 1.1 * bound, "near the best that can be had; the mean of everything has 1.97"


@pytest.mark.slow
def test_ddim_with_all_steps_and_eta_one_has_ddpms_moments(trained):
    batch, _ = gaussian_stays(10, seed=9, missing=0.5)
    one, other = (trained.impute(batch, 8, 0, s) for s in (DDPM(), DDIM(steps=None, eta=1.0)))
    assert torch.allclose(one, other, atol=1e-3)


@pytest.mark.slow
def test_accuracy_does_not_fall_as_steps_rise(trained):
    few, many = (held_out(trained, 0.5, sampler=DDIM(steps=n)) for n in (5, 50))
    assert many["crps"] < few["crps"] + 0.01
    assert many["mae"] < few["mae"] + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["dpm 6", "ddim 50"])
def test_with_gaps_in_training_bands_cover(of_gaps, sampler):
    assert of_gaps[sampler]["coverage90"] == pytest.approx(0.88, abs=0.06), "as without"


@pytest.mark.slow
def test_with_gaps_in_training_accuracy_does_not_fall_as_steps_rise(of_gaps):
    """It does where gaps are zeros in training and draws in sampling: each of many steps trusts neighbours that it does not know."""
    for few, many, scatter in (("ddim 5", "ddim 50", 0.01), ("dpm 6", "ddpm 50", 0.05)):  # with zeros .02 and .10
        for error in ("mae", "crps"):
            assert of_gaps[many][error] < of_gaps[few][error] + scatter, (many, error)


def best_mean(values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """(B, T, V) E[x | what is observed] of the Gaussian, stay by stay."""
    sigma = covariance()
    out = []
    for x, shown in zip(values.flatten(1), observed.flatten(1), strict=True):
        weight = sigma[:, shown] @ torch.linalg.inv(sigma[shown][:, shown]) if shown.any() else sigma[:, :0]
        out.append(weight @ x[shown])
    return torch.stack(out).view_as(values)


def test_the_gaussian_of_these_tests_is_what_it_says():
    _, truth = gaussian_stays(20_000)
    sample = np.cov(truth.flatten(1).numpy(), rowvar=False)
    assert np.abs(sample - covariance().numpy()).max() < 0.05


@pytest.mark.parametrize("error", [RuntimeError("no compiler\nhere"), AssertionError()])
def test_where_compiling_fails_the_same_is_imputed_with_one_warning(error, make_model, monkeypatch):
    def compiled(network):
        def call(*_):
            raise error

        return call

    batch, _ = gaussian_stays(3)
    expected = make_model().impute(batch, 2)
    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.warns(RuntimeWarning, match=r"runs as it is: (no compiler$|AssertionError)") as told:
        found = make_model("model.imputer.compiled=true").impute(batch, 2)
    assert len(told) == 1
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("facts", "warns"),
    [("flags: avx2 avx512f", True), ("flags: avx512_bf16 avx2", False), ("flags: amx_bf16", False), (None, False)],
    ids=["without", "avx512", "amx", "unknown"],
)
def test_bfloat16_on_a_processor_that_has_none_is_warned_of_once(facts, warns, make_model, monkeypatch, tmp_path):
    if facts:
        (tmp_path / "cpuinfo").write_text(f"processor: 0\n{facts}\n")
    monkeypatch.setattr(imputer, "CPU_FACTS", tmp_path / "cpuinfo")
    imputer.warn_of_emulation.cache_clear()
    batch, _ = gaussian_stays(2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for precision in ("float32", "bfloat16", "bfloat16"):
            make_model(f"model.imputer.precision={precision}").impute(batch, 2)
    imputer.warn_of_emulation.cache_clear()
    assert ["has no bfloat16" in str(warning.message) for warning in told] == [True] * warns


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
def test_where_compiling_succeeds_the_same_is_imputed(make_model, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # so that nothing compiled before is found
    batch, _ = gaussian_stays(3)
    expected, model = make_model().impute(batch, 2), make_model("model.imputer.compiled=true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        warnings.filterwarnings("error", "The denoiser could not be compiled")
        found = model.impute(batch, 2)
    assert list(tmp_path.rglob("*.so")), "what the compiler made"
    assert torch.allclose(found, expected, atol=1e-5)
