"""The denoiser: fast attention is attention, nothing hidden is seen, what is cached along a trajectory changes nothing."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional as F

from icu_lightning.batch import BatchShape
from icu_lightning.models.mtdm.denoiser import Denoiser, attention, tanh
from tests.models.mtdm.published import PublishedDenoiser, mapped

HOURS, VARIABLES, STEPS = 6, 4, 50
SIZE = {"layers": 2, "channels": 8, "heads": 2, "feedforward": 12, "step_embedding": 8, "time_embedding": 8}


def denoiser(hours: int = HOURS, n_variables: int = VARIABLES) -> Denoiser:
    torch.manual_seed(0)
    shape = BatchShape(hours, tuple(map(str, range(n_variables))), ())
    made = Denoiser(shape=shape, n_steps=STEPS, variable_embedding=5, **SIZE)
    torch.nn.init.normal_(made.out_2.weight)
    return made


@pytest.fixture
def stays():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, HOURS, VARIABLES, generator=generator)
    observed = torch.rand(3, HOURS, VARIABLES, generator=generator) < 0.4
    return values, observed, torch.randn(3, 5, HOURS, VARIABLES, generator=generator)


def reference(q, k, v):
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


@pytest.mark.parametrize("size", [1.0, 30.0], ids=["usual scores", "scores whose exp overflows"])
def test_attention_is_attention(size):
    q, k, v = torch.randn(3, 7, 11, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    assert torch.allclose(attention(size * q, size * k, v), reference(size * q, size * k, v), atol=1e-5)
    assert torch.allclose(
        attention(100 + size * q, -100 + size * k, v), reference(100 + size * q, -100 + size * k, v), atol=1e-3
    )


def test_gradients_of_attention_are_its():
    inputs = [x.double().requires_grad_() for x in torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))]
    assert torch.autograd.gradcheck(attention, inputs)


def test_tanh_is_tanh():
    x = torch.linspace(-20, 20, 1001)
    assert torch.allclose(tanh(x), torch.tanh(x), atol=2e-7)


def test_it_is_the_published_network_of_the_same_weights(stays):
    """And so are its gradients."""
    values, observed, x = stays
    torch.manual_seed(1)
    published, network = PublishedDenoiser(STEPS, VARIABLES, SIZE | {"variable_embedding": 5}), denoiser()
    with torch.no_grad():
        for p in published.parameters():  # biases and norms begin at 0 and 1, which would hide them
            p.add_(0.2 * torch.randn_like(p))
    network.load_state_dict(mapped(published))
    k, turned = torch.tensor([1, 20, 50]), x[:, 0].transpose(1, 2)
    theirs = published(turned, k - 1, values.transpose(1, 2), observed.transpose(1, 2).float()).transpose(1, 2)
    ours = network(x[:, :1], k, network.context(values, observed)).squeeze(1)
    assert torch.allclose(ours, theirs, atol=1e-5 * float(theirs.detach().std()))
    theirs.square().sum().backward()
    ours.square().sum().backward()
    gradients = mapped_gradients(published)
    for name, p in network.named_parameters():
        assert torch.allclose(p.grad, gradients[name], atol=1e-4 * float(gradients[name].abs().max())), name


def mapped_gradients(published: PublishedDenoiser) -> dict[str, torch.Tensor]:
    of_gradients = copy.deepcopy(published)
    of_gradients.load_state_dict({name: p.grad for name, p in published.named_parameters()})
    return mapped(of_gradients)


def test_what_is_not_observed_cannot_be_seen(stays):
    values, observed, x = stays
    garbage = torch.where(observed, values, torch.nan)
    network = denoiser()
    assert torch.equal(
        network(x, 7, network.context(values, observed)), network(x, 7, network.context(garbage, observed))
    )


def test_noise_of_observed_cells_cannot_be_seen(stays):
    values, observed, x = stays
    network = denoiser()
    context = network.context(values, observed)
    other = torch.where(observed.unsqueeze(1), 99.0, x)
    assert torch.equal(network(x, 7, context), network(other, 7, context))


def test_stays_and_draws_do_not_meet(stays):
    """A stay's draw alone gives what it gives among others; a step for all gives what a step for each does."""
    values, observed, x = stays
    network = denoiser()
    together = network(x, 7, network.context(values, observed))
    each = network(x, torch.tensor([7, 7, 7]), network.context(values, observed))
    alone = network(x[1:2, 3:4], 7, network.context(values[1:2], observed[1:2]))
    assert torch.allclose(together[1:2, 3:4], alone, atol=1e-5)
    assert torch.allclose(together, each, atol=1e-6)


def test_steps_and_what_is_observed_matter(stays):
    values, observed, x = stays
    network = denoiser()
    first = network(x, 1, network.context(values, observed))
    assert not torch.allclose(first, network(x, 50, network.context(values, observed)))
    assert not torch.allclose(first, network(x, 1, network.context(values + 1, observed)))


def test_every_weight_is_reached_by_the_loss(stays):
    values, observed, x = stays
    network = denoiser()
    network(x, torch.tensor([1, 20, 50]), network.context(values, observed)).square().sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert not without


@pytest.mark.parametrize(("hours", "n_variables"), [(1, 4), (6, 1), (1, 1)])
def test_one_hour_or_one_variable(hours, n_variables):
    network = denoiser(hours, n_variables)
    x = torch.randn(2, 3, hours, n_variables)
    nothing = torch.zeros(2, hours, n_variables, dtype=torch.bool)
    assert network(x, 5, network.context(torch.zeros(2, hours, n_variables), nothing)).isfinite().all()


def test_half_precision_is_near(stays):
    values, observed, x = stays
    network = denoiser()
    single = network(x, 7, network.context(values, observed)).detach()
    network = network.bfloat16()
    half = network(x, 7, network.context(values, observed)).detach()
    assert half.dtype == x.dtype
    assert float((half - single).abs().mean()) < 0.02 * float(single.abs().mean()) + 0.02


def test_sizes_that_cannot_be_are_refused():
    shape = BatchShape(HOURS, ("a",), ())
    with pytest.raises(ValueError, match="multiple of heads"):
        Denoiser(shape=shape, n_steps=STEPS, variable_embedding=5, **(SIZE | {"heads": 3}))


def test_contexts_are_of_their_stays(stays):
    values, observed, _ = stays
    context = denoiser().context(values, observed)
    assert {f.name for f in dataclasses.fields(context)} == {"observed", "first", "of_layers", "of_steps"}
    assert context.first.shape == (3, 1, HOURS, VARIABLES, SIZE["channels"])
    assert context.of_layers[1].shape == (3, 1, HOURS, VARIABLES, 2 * SIZE["channels"])
    assert context.of_steps[0].shape == (STEPS, SIZE["channels"])
