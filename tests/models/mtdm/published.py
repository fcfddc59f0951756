"""CSDI's network as its authors wrote it, for the test that maps its weights to those of the fast one: variables before hours.

References: CSDI (Tashiro, Song, Song, Ermon, 2021), appendix E; METHODS B.2.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PublishedDenoiser(nn.Module):
    """(B, V, T) noise at step t = k - 1, values and condition mask -> (B, V, T)."""

    def __init__(self, n_steps: int, n_variables: int, size: dict[str, int]) -> None:
        super().__init__()
        channels, step, time, variable = (
            size[name] for name in ("channels", "step_embedding", "time_embedding", "variable_embedding")
        )
        self.embed_layer = nn.Embedding(n_variables, variable)
        self.projection1, self.projection2 = nn.Linear(step, step), nn.Linear(step, step)
        self.input_projection = nn.Conv1d(2, channels, 1)
        widths = (channels, size["heads"], size["feedforward"], step, time + variable + 1)
        self.residual_layers = nn.ModuleList(PublishedLayer(*widths) for _ in range(size["layers"]))
        self.output_projection1, self.output_projection2 = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, 1, 1)
        frequency = 10.0 ** (torch.arange(step // 2) / (step // 2 - 1) * 4.0)
        angle = torch.arange(n_steps).unsqueeze(1) * frequency.unsqueeze(0)
        self.table, self.time_width = torch.cat([angle.sin(), angle.cos()], dim=1), time

    def forward(self, x: Tensor, t: Tensor, values: Tensor, cond_mask: Tensor) -> Tensor:
        n, n_variables, hours = x.shape
        side, total = self.side_info(cond_mask), 0
        step = F.silu(self.projection2(F.silu(self.projection1(self.table[t]))))  # (B, E)
        cells = torch.stack([cond_mask * values, (1 - cond_mask) * x], dim=1)  # (B, 2, V, T)
        h = F.relu(self.input_projection(cells.flatten(2))).view(n, -1, n_variables, hours)
        for layer in self.residual_layers:
            h, skip = layer(h, side, step)
            total = total + skip
        out = self.output_projection1((total / math.sqrt(len(self.residual_layers))).flatten(2))
        return self.output_projection2(F.relu(out)).view(n, n_variables, hours)

    def side_info(self, cond_mask: Tensor) -> Tensor:
        """(B, V, T) -> (B, C, V, T): hour, variable and mask of each cell."""
        n, n_variables, hours = cond_mask.shape
        division = 1 / torch.pow(10000.0, torch.arange(0, self.time_width, 2) / self.time_width)
        encoded = torch.zeros(hours, self.time_width)
        encoded[:, 0::2] = torch.sin(torch.arange(hours).unsqueeze(1) * division)
        encoded[:, 1::2] = torch.cos(torch.arange(hours).unsqueeze(1) * division)
        of_hour = encoded.T.view(1, -1, 1, hours).expand(n, -1, n_variables, -1)
        of_variable = self.embed_layer.weight.T.view(1, -1, n_variables, 1).expand(n, -1, -1, hours)
        return torch.cat([of_hour, of_variable, cond_mask.unsqueeze(1)], dim=1)


class PublishedLayer(nn.Module):
    """The residual layer, with torch's own transformer layers."""

    def __init__(self, channels: int, heads: int, feedforward: int, step: int, side: int) -> None:
        super().__init__()
        self.diffusion_projection = nn.Linear(step, channels)
        self.cond_projection = nn.Conv1d(side, 2 * channels, 1)
        self.mid_projection = nn.Conv1d(channels, 2 * channels, 1)
        self.output_projection = nn.Conv1d(channels, 2 * channels, 1)
        self.time_layer, self.feature_layer = (
            nn.TransformerEncoderLayer(channels, heads, feedforward, dropout=0.0, activation="gelu") for _ in range(2)
        )

    def forward(self, x: Tensor, side: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, V, T), (B, C, V, T), (B, E) -> the same and the skip."""
        n, channels, n_variables, hours = x.shape
        y = x + self.diffusion_projection(step)[:, :, None, None]
        y = self.time_layer(y.permute(3, 0, 2, 1).flatten(1, 2))  # (T, B V, D)
        y = y.view(hours, n, n_variables, channels).permute(2, 1, 0, 3).flatten(1, 2)  # (V, B T, D)
        y = self.feature_layer(y).view(n_variables, n, hours, channels).permute(1, 3, 0, 2)  # (B, D, V, T)
        y = self.mid_projection(y.flatten(2)) + self.cond_projection(side.flatten(2))
        gate, values = y.chunk(2, dim=1)
        y = self.output_projection(torch.sigmoid(gate) * torch.tanh(values))
        residual, skip = y.view(n, 2 * channels, n_variables, hours).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2.0), skip


def mapped(published: PublishedDenoiser) -> dict[str, Tensor]:
    """Its weights by the names of `Denoiser`; 1 x 1 convolutions lose their last axis."""
    pairs = {"variables": "embed_layer", "step_1": "projection1", "step_2": "projection2", "first": "input_projection"}
    pairs |= {"out_1": "output_projection1", "out_2": "output_projection2"}
    for i in range(len(published.residual_layers)):
        names = {"step": "diffusion_projection", "side_projection": "cond_projection", "middle": "mid_projection"}
        names["out"] = "output_projection"
        for own, axis in {"over_hours": "time_layer", "over_variables": "feature_layer"}.items():
            inner = {"qkv": "self_attn.in_proj", "attended": "self_attn.out_proj", "up": "linear1", "down": "linear2"}
            inner |= {"norm_1": "norm1", "norm_2": "norm2"}
            names |= {f"{own}.{ours}": f"{axis}.{theirs}" for ours, theirs in inner.items()}
        pairs |= {f"layers.{i}.{own}": f"residual_layers.{i}.{theirs}" for own, theirs in names.items()}
    found, left = {}, dict(published.state_dict())
    for own, theirs in pairs.items():
        for kind in ("weight", "bias"):
            name = f"{theirs}_{kind}" if theirs.endswith("in_proj") else f"{theirs}.{kind}"
            if name in left:
                weight = left.pop(name)
                found[f"{own}.{kind}"] = weight.squeeze(-1) if weight.ndim == 3 else weight
    assert not left
    return found
