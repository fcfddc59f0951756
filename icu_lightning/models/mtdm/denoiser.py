"""CSDI's denoiser: residual layers, each with a transformer over the hours, then one over the variables; written for speed.

    h = relu(W [x_observed, x_k])                                     a token a cell, (N, T, V, D)
    y = Transformer_V(Transformer_T(h + step_k)), W_mid y + W_side [hour, variable, observed] = (gate, filter)
    (residual, skip) = W_out (sigmoid(gate) tanh(filter)),  h <- (h + residual) / sqrt(2);  out = MLP(sum of skips / sqrt(layers))

The same function of the same weights as the published network (a test maps them); what differs is how it is computed: channels
last; the side information, constant along a trajectory, projected once for all its steps (`Context`) and in three parts that are
added, instead of as one wide vector a cell; and attention over these short sequences as matmul, exp, sum on a CPU, whose fused
kernel is slow there.

References: CSDI (Tashiro, Song, Song, Ermon, 2021), figure 6 and appendix E.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from icu_lightning.batch import BatchShape
from icu_lightning.errors import check_widths

SMALLEST_TOTAL, LARGEST_TOTAL = 1e-30, 1e30  # of exp(score) over a sequence; outside, the shortcut would lose digits


@dataclass(frozen=True)
class Context:
    """What does not change along a trajectory, of B stays.

    Arguments:
        observed: (B, 1, T, V) 1 where a value is shown, else 0.
        first: (B, 1, T, V, D) the share of what is shown in the first layer's input.
        of_layers: a layer (B, 1, T, V, 2 D), the projected side information.
        of_steps: a layer (K, D), the embedded steps.
    """

    observed: Tensor
    first: Tensor
    of_layers: tuple[Tensor, ...]
    of_steps: tuple[Tensor, ...]


class Denoiser(nn.Module):
    """x_k (B, S, T, V), k, Context -> what the schedule's parameterisation says, (B, S, T, V).

    Arguments:
        shape: of the data.
        n_steps: K of the schedule.
        layers, channels, heads, feedforward: residual layers, D, attention heads and hidden units of each transformer.
        step_embedding, time_embedding, variable_embedding: widths; the first two are sinusoids, so even.
    """

    steps_table: Tensor
    hours_table: Tensor

    def __init__(
        self,
        *,
        shape: BatchShape,
        n_steps: int,
        layers: int,
        channels: int,
        heads: int,
        feedforward: int,
        step_embedding: int,
        time_embedding: int,
        variable_embedding: int,
    ) -> None:
        super().__init__()
        check_widths("model.imputer.denoiser", layers=layers, channels=channels, heads=heads, feedforward=feedforward)
        check_widths("model.imputer.denoiser", step_embedding=step_embedding, time_embedding=time_embedding)
        check_widths("model.imputer.denoiser", variable_embedding=variable_embedding)
        if channels % heads or step_embedding % 2 or step_embedding < 4 or time_embedding % 2:
            raise ValueError(
                f"channels ({channels}) must be a multiple of heads ({heads}), and step_embedding ({step_embedding}) and "
                f"time_embedding ({time_embedding}) even, the former at least 4"
            )
        self.register_buffer("steps_table", sinusoids_of_steps(n_steps, step_embedding), persistent=False)
        self.register_buffer("hours_table", sinusoids_of_hours(shape.hours, time_embedding), persistent=False)
        self.variables = nn.Embedding(shape.n_variables, variable_embedding)
        self.step_1, self.step_2 = (nn.Linear(step_embedding, step_embedding) for _ in range(2))
        self.first = _pointwise(2, channels)
        side = (time_embedding, variable_embedding, 1)
        residual = [ResidualLayer(channels, heads, feedforward, step_embedding, side) for _ in range(layers)]
        self.layers: Sequence[ResidualLayer] = nn.ModuleList(residual)  # type: ignore[assignment]
        self.out_1, self.out_2 = _pointwise(channels, channels), _pointwise(channels, 1)
        nn.init.zeros_(self.out_2.weight)

    def context(self, values: Tensor, observed: Tensor) -> Context:
        """(B, T, V) values, of which only those observed are looked at, and (B, T, V) bool. Every share that is constant."""
        shown = observed.to(self.first.weight.dtype)
        known = torch.where(observed, values, 0.0).to(shown.dtype)
        first = F.linear(known.unsqueeze(-1), self.first.weight[:, :1], self.first.bias)  # (B, T, V, D)
        step = F.silu(self.step_2(F.silu(self.step_1(self.steps_table))))  # (K, E)
        hours, variables = self.hours_table, self.variables.weight
        sides = tuple(layer.side_of(hours, variables, shown).unsqueeze(1) for layer in self.layers)
        steps = tuple(layer.step(step) for layer in self.layers)
        return Context(shown.unsqueeze(1), first.unsqueeze(1), sides, steps)

    def forward(self, x: Tensor, k: "Tensor | int", context: Context) -> Tensor:
        """x: (B, S, T, V). k: one step for all, or (B) steps, from 1 to K."""
        noisy = (x.to(context.first.dtype) * (1 - context.observed)).unsqueeze(-1)  # (B, S, T, V, 1)
        h = F.relu(context.first + noisy * self.first.weight[:, 1])  # (B, S, T, V, D)
        total: Tensor | None = None
        for layer, side, steps in zip(self.layers, context.of_layers, context.of_steps, strict=True):
            step = steps[k - 1] if isinstance(k, int) else steps[k - 1][:, None, None, None]
            h, skip = layer(h, step, side)
            total = skip if total is None else total + skip
        assert total is not None
        out = self.out_2(F.relu(self.out_1(total / math.sqrt(len(self.layers)))))
        return out.squeeze(-1).to(x.dtype)


class ResidualLayer(nn.Module):
    """One residual layer; `side` are the widths of the side information's three parts."""

    def __init__(
        self, channels: int, heads: int, feedforward: int, step_embedding: int, side: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.step = nn.Linear(step_embedding, channels)
        self.over_hours, self.over_variables = (AxisTransformer(channels, heads, feedforward) for _ in range(2))
        self.side_projection = _pointwise(sum(side), 2 * channels)
        self.middle, self.out = (_pointwise(channels, 2 * channels) for _ in range(2))
        self.widths = list(side)

    def side_of(self, hours: Tensor, variables: Tensor, shown: Tensor) -> Tensor:
        """(T, E), (V, F), (B, T, V) -> (B, T, V, 2 D): W [hour, variable, observed] as the sum of its three parts."""
        of_hour, of_variable, of_mask = self.side_projection.weight.split(self.widths, dim=1)
        cells = F.linear(hours, of_hour, self.side_projection.bias).unsqueeze(1) + F.linear(variables, of_variable)
        return cells + shown.unsqueeze(-1) * of_mask.squeeze(1)

    def forward(self, h: Tensor, step: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        y = self.over_hours((h + step).flatten(0, 1), axis=1)  # (N, T, V, D)
        y = self.middle(self.over_variables(y, axis=2)).view(*h.shape[:-1], -1)
        gate, values = (y + side).chunk(2, dim=-1)
        residual, skip = self.out(torch.sigmoid(gate) * tanh(values)).chunk(2, dim=-1)
        return (h + residual) / math.sqrt(2.0), skip


class AxisTransformer(nn.Module):
    """A post-norm transformer layer over one axis of (N, T, V, D): 1 the hours, 2 the variables."""

    def __init__(self, channels: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.attended = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.up, self.down = nn.Linear(channels, feedforward), nn.Linear(feedforward, channels)
        self.norm_1, self.norm_2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.attended.bias)

    def forward(self, x: Tensor, axis: int) -> Tensor:
        if x.shape[axis] > 1:  # as published: nothing to attend to, no layer
            x = self.norm_1(self.attended(self._attention(x, axis)).add_(x))
            x = self.norm_2(self.down(F.gelu(self.up(x))).add_(x))
        return x

    def _attention(self, x: Tensor, axis: int) -> Tensor:
        n, hours, variables, width = x.shape
        heads, length, depth = self.heads, x.shape[axis], width // self.heads
        order = (3, 0, 2, 4, 1, 5) if axis == 1 else (3, 0, 1, 4, 2, 5)
        # (N, T, V, 3 D) -> (3, N, V, H, T, D / H) or (3, N, T, H, V, D / H)
        qkv = self.qkv(x).view(n, hours, variables, 3, heads, depth).permute(order)
        q, k, v = qkv.reshape(3, -1, length, depth).unbind(0)
        out = attention(q, k, v).view(n, -1, heads, depth, length)
        return out.permute((0, 4, 1, 2, 3) if axis == 1 else (0, 1, 4, 2, 3)).reshape(n, hours, variables, width)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of (M, L, d), transposed: (M, d, L).

    On a CPU as matmul, exp and sum, keys before queries, in place: four times the fused kernel's speed at these lengths, and
    twice that of the untransposed product. Scores so large that exp overflows take the way that subtracts their maximum.
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    scale = 1 / math.sqrt(q.shape[-1])
    scores = torch.baddbmm(q.new_zeros(()), k, q.transpose(1, 2), beta=0, alpha=scale)  # (M, keys, queries)
    if torch.compiler.is_compiling():
        return torch.bmm(v.transpose(1, 2), scores.softmax(1))
    weight = scores.exp_()
    total = weight.sum(1, keepdim=True)
    if total.min() < SMALLEST_TOTAL or not total.max() < LARGEST_TOTAL:
        weight = torch.baddbmm(q.new_zeros(()), k, q.transpose(1, 2), beta=0, alpha=scale).softmax(1)
        return torch.bmm(v.transpose(1, 2), weight)
    return torch.bmm(v.transpose(1, 2), weight) / total


def tanh(x: Tensor) -> Tensor:
    """By way of the sigmoid on a CPU, where that is five times as fast; the same to 1e-7."""
    return torch.tanh(x) if x.is_cuda or x.dtype != torch.float32 else 2 * torch.sigmoid(2 * x) - 1


def sinusoids_of_steps(steps: int, width: int) -> Tensor:
    """(K, width), the first row of step 1: sin and cos of (k - 1) 10^{4 j / (width / 2 - 1)}."""
    frequency = 10.0 ** (torch.arange(width // 2) / (width // 2 - 1) * 4.0)
    table = torch.arange(steps).unsqueeze(1) * frequency
    return torch.cat([torch.sin(table), torch.cos(table)], dim=1)


def sinusoids_of_hours(hours: int, width: int) -> Tensor:
    """(T, width): sin and cos of hour / 10000^{j / width} in turn."""
    position = torch.arange(hours).unsqueeze(1) / torch.pow(10000.0, torch.arange(0, width, 2) / width)
    return torch.stack([torch.sin(position), torch.cos(position)], dim=2).flatten(1)


def _pointwise(inputs: int, outputs: int) -> nn.Linear:
    """The published 1 x 1 convolution, with its initial weights, as what it is with channels last."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight)
    return layer
