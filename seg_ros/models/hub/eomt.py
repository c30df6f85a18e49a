# SPDX-License-Identifier: Apache-2.0
"""EoMT and VidEoMT as one graph without syncs, for frames of any proportions."""
from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

_MOST_TABLES = 8


class Found(NamedTuple):
    """What the network says of (N, 3, H, W) images."""

    masks: torch.Tensor  # (N, Q, h, w) logits
    classes: torch.Tensor  # (N, Q, classes + 1) logits, the null class last
    queries: torch.Tensor  # (N, Q, channels) what a following frame starts from


class EomtNetwork(nn.Module):
    """Runs the layers of a transformers model of EoMT, EoMT-DINOv3 or VidEoMT.

    Kerssies et al. 2025, "Your ViT is Secretly an Image Segmentation Model". The same numbers as
    the model's own forward; but whether a block masks its attention is known before it runs, and
    the grid follows the image. Sides must be multiples of `patch`.
    """

    def __init__(self, model: Any, *, spreads: bool = False) -> None:
        """Take over a model; raises ValueError where its attention masks are random.

        It spreads its position table over an image where images filled the square in training.
        """
        super().__init__()
        self.model = model
        self.spreads = spreads
        self.patch = int(model.config.patch_size)
        self.plain_layers = model.num_hidden_layers - model.config.num_blocks
        self.is_video = hasattr(model, 'query_updater')
        shares = [0.0] * model.config.num_blocks if self.is_video \
            else model.attn_mask_probs.tolist()
        if any(0 < share < 1 for share in shares):
            raise ValueError(f'its attn_mask_probs are {shares}, expected 0 or 1: an unfinished '
                             'training masks at random')
        self.is_masked = tuple(share > 0 for share in shares)
        self._tables: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, pixels: torch.Tensor, carried: torch.Tensor | None = None) -> Found:
        """Segment images; VidEoMT goes on from the queries that the last frame left."""
        model, grid = self.model, self._grid(pixels)
        tokens, rotation = self._embed(pixels, grid)
        for layer in model.layers[:self.plain_layers]:
            tokens = layer(tokens, None, **rotation)
        tokens = torch.cat((self._queries(len(pixels), carried), tokens), dim=1)
        attention = None
        for layer, masked in zip(model.layers[self.plain_layers:], self.is_masked, strict=True):
            if masked:
                attention = self._attention(tokens, grid)
            tokens = layer(tokens, attention, **rotation)
        masks, classes = self._predict(model.layernorm(tokens), grid)
        return Found(masks=masks, classes=classes, queries=tokens[:, :model.config.num_queries])

    def _grid(self, pixels: torch.Tensor) -> tuple[int, int]:
        return pixels.shape[2] // self.patch, pixels.shape[3] // self.patch

    def _embed(self, pixels: torch.Tensor, grid: tuple[int, int]
               ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return the tokens of the images, and what rotates them in a DINOv3."""
        model, embeddings = self.model, self.model.embeddings
        if hasattr(model, 'rope_embeddings'):
            rotation = model.rope_embeddings(pixels)
            return embeddings(pixels), {'position_embeddings': rotation}
        patches = embeddings.patch_embeddings(pixels) + self._positions(grid)
        first = torch.cat((embeddings.cls_token, embeddings.register_tokens), dim=1)
        return torch.cat((first.expand(len(pixels), -1, -1), patches), dim=1), {}

    def _positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """Return the (1, rows x columns, channels) position table of a grid.

        An image that is padded to a square in training has its patches at the top left: there a
        smaller grid finds its positions. A larger one interpolates, as DINOv2 does; so does any
        where the image fills the square in training.
        """
        if grid in self._tables:
            return self._tables[grid]
        weight = self.model.embeddings.position_embeddings.weight
        rows, columns = self.model.grid_size
        table = weight.view(1, rows, columns, -1).permute(0, 3, 1, 2)
        size = grid if self.spreads else (max(grid[0], rows), max(grid[1], columns))
        if size != (rows, columns):
            table = functional.interpolate(table.float(), size=size, mode='bicubic',
                                           antialias=True).to(weight.dtype)
        table = table[..., :grid[0], :grid[1]].flatten(2).transpose(1, 2).contiguous()
        if not torch.compiler.is_compiling():
            if len(self._tables) == _MOST_TABLES:  # a camera has one size, a stranger has many
                self._tables.clear()
            self._tables[grid] = table
        return table

    def _queries(self, count: int, carried: torch.Tensor | None) -> torch.Tensor:
        """Return the (N, Q, channels) queries that a frame starts from."""
        fresh = self.model.query.weight[None].expand(count, -1, -1)
        return fresh if carried is None else self.model.query_updater(carried) + fresh

    def _attention(self, tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Return the additive mask that lets a query look at the patches of its own mask only."""
        masks, _ = self._predict(self.model.layernorm(tokens), grid)
        own = functional.interpolate(masks, size=grid, mode='bilinear').flatten(2) > 0
        queries, first_patch = own.shape[1], tokens.shape[1] - own.shape[2]
        allowed = torch.ones((len(tokens), 1, tokens.shape[1], tokens.shape[1]), dtype=torch.bool,
                             device=tokens.device)
        allowed[:, 0, :queries, first_patch:] = own
        # the two kinds of model forbid with different numbers, and allow with a one
        is_rotary = hasattr(self.model, 'rope_embeddings')
        forbidden = torch.finfo(tokens.dtype).min if is_rotary else -1e9
        return allowed.to(tokens.dtype).masked_fill(~allowed, forbidden)

    def _predict(self, tokens: torch.Tensor, grid: tuple[int, int]
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mask and class logits of normalised tokens."""
        model, count = self.model, self.model.config.num_queries
        queries = tokens[:, :count]
        patches = tokens[:, count + model.embeddings.num_prefix_tokens:].transpose(1, 2)
        pixels = model.upscale_block(patches.reshape(len(tokens), -1, *grid))
        masks = torch.einsum('bqc, bchw -> bqhw', model.mask_head(queries), pixels)
        return masks, model.class_predictor(queries)
