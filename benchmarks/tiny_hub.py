# SPDX-License-Identifier: Apache-2.0
"""Small models of every kind with seeded random weights, saved as the hub has them."""
from __future__ import annotations

from collections.abc import Callable, Mapping
import json
import math
from pathlib import Path
from typing import Any

import torch
import transformers

NAMES = ('sky', 'road', 'tree', 'car', 'person')
THINGS = ('car', 'person')
SIZE = 64  # pixels of the sides that square networks work at


def save(kind: str, folder: Path) -> Path:
    """Make the model of a kind, save it with its image processor, return the folder."""
    torch.manual_seed(0)
    model, processor = KINDS[kind]()
    _contradict(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if kind != 'rf_detr':  # whose classes all are
        path = folder / 'config.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), 'things': THINGS}))
    return folder


@torch.no_grad()
def _contradict(model: Any) -> None:
    """Make queries differ: fresh networks say much the same of everything, and in doubt."""
    if 'Former' in type(model).__name__:
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=1.5 / math.sqrt(weight[0].numel()))
    for name, weight in model.named_parameters():
        if name.endswith(_SHARPENED):
            weight.mul_(20.0)
        elif name.endswith(_QUERIES):
            weight.normal_()


_SHARPENED = ('class_predictor.weight', 'class_predictor.bias', 'class_embed.weight',
              'mask_head.fc3.weight', 'classifier.weight')
_QUERIES = ('queries_embedder.weight', 'queries_features.weight')


def _labels() -> dict[str, Any]:
    return {'id2label': dict(enumerate(NAMES)), 'label2id': {n: i for i, n in enumerate(NAMES)}}


def _segformer() -> tuple[Any, Any]:
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 1, 1, 2],
        decoder_hidden_size=32, **_labels())
    return (transformers.SegformerForSemanticSegmentation(config),
            transformers.SegformerImageProcessor(size={'height': SIZE, 'width': SIZE}))


def _upernet() -> tuple[Any, Any]:
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
        out_features=['stage1', 'stage2', 'stage3', 'stage4'])
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_in_channels=24,
        auxiliary_channels=8, **_labels())
    return (transformers.UperNetForSemanticSegmentation(config),
            transformers.SegformerImageProcessor(size={'height': SIZE, 'width': SIZE}))


def _eomt_sizes() -> dict[str, Any]:
    return {'hidden_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 4,
            'image_size': SIZE, 'patch_size': 8, 'num_queries': 12, 'num_blocks': 2,
            'num_upscale_blocks': 1, **_labels()}


def _eomt() -> tuple[Any, Any]:
    model = transformers.EomtForUniversalSegmentation(transformers.EomtConfig(**_eomt_sizes()))
    model.attn_mask_probs.zero_()  # as at the end of training
    return model, _eomt_processor()


def _eomt_masked() -> tuple[Any, Any]:
    model, processor = _eomt()
    model.attn_mask_probs.fill_(1.0)
    return model, processor


def _eomt_windows() -> tuple[Any, Any]:
    return _eomt()[0], transformers.EomtImageProcessor(
        size={'shortest_edge': SIZE, 'longest_edge': None}, do_split_image=True)


def _eomt_dinov3() -> tuple[Any, Any]:
    config = transformers.EomtDinov3Config(**_eomt_sizes())
    model = transformers.EomtDinov3ForUniversalSegmentation(config)
    model.attn_mask_probs.zero_()
    return model, _eomt_processor()


def _eomt_processor() -> Any:
    return transformers.EomtImageProcessor(
        size={'shortest_edge': SIZE, 'longest_edge': SIZE}, do_pad=True)


def _videomt() -> tuple[Any, Any]:
    config = transformers.VideomtConfig(**_eomt_sizes())
    return (transformers.VideomtForUniversalSegmentation(config),
            transformers.VideomtVideoProcessor(size={'height': SIZE, 'width': SIZE}))


def _swin() -> Any:
    return transformers.SwinConfig(
        image_size=SIZE, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'])


def _mask2former() -> tuple[Any, Any]:
    config = transformers.Mask2FormerConfig(
        backbone_config=_swin(), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=32, dim_feedforward=32, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=12, **_labels())
    return (transformers.Mask2FormerForUniversalSegmentation(config),
            transformers.Mask2FormerImageProcessor(size={'shortest_edge': SIZE,
                                                         'longest_edge': 2 * SIZE}))


def _maskformer() -> tuple[Any, Any]:
    decoder = transformers.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=12)
    config = transformers.MaskFormerConfig(
        backbone_config=_swin(), decoder_config=decoder, fpn_feature_size=32,
        mask_feature_size=32, **_labels())
    return (transformers.MaskFormerForInstanceSegmentation(config),
            transformers.MaskFormerImageProcessor(size={'shortest_edge': SIZE,
                                                        'longest_edge': 2 * SIZE}))


def _oneformer() -> tuple[Any, Any]:
    config = transformers.OneFormerConfig(
        backbone_config=_swin(), conv_dim=32, mask_dim=32, hidden_dim=32,
        encoder_feedforward_dim=32, dim_feedforward=32, encoder_layers=1, decoder_layers=3,
        num_attention_heads=2, num_queries=12, query_dec_layers=1, text_encoder_width=32,
        text_encoder_num_layers=1, text_encoder_vocab_size=64, text_encoder_proj_layers=1,
        **_labels())
    letters = [letter + end for letter in 'abcdefghijklmnopqrstuvwxyz' for end in ('', '</w>')]
    vocabulary = {text: number for number, text in enumerate(
        [*letters, '<|startoftext|>', '<|endoftext|>'])}
    processor = transformers.OneFormerProcessor(
        image_processor=transformers.OneFormerImageProcessor(
            size={'shortest_edge': SIZE, 'longest_edge': 2 * SIZE}),
        tokenizer=transformers.CLIPTokenizer(vocab=vocabulary, merges=[]))
    return transformers.OneFormerForUniversalSegmentation(config), processor


def _rf_detr() -> tuple[Any, Any]:
    backbone = transformers.RfDetrDinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE,
        patch_size=8, num_windows=2, out_indices=[1, 2])
    config = transformers.RfDetrConfig(
        backbone_config=backbone, d_model=32, decoder_ffn_dim=32, decoder_layers=2,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, num_queries=12,
        group_detr=1, **_labels())
    return (transformers.RfDetrForInstanceSegmentation(config),
            transformers.RfDetrImageProcessor(size={'height': SIZE, 'width': SIZE}, do_pad=False))


KINDS: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    'segformer': _segformer, 'upernet': _upernet, 'eomt': _eomt, 'eomt_masked': _eomt_masked,
    'eomt_windows': _eomt_windows, 'eomt_dinov3': _eomt_dinov3, 'videomt': _videomt,
    'mask2former': _mask2former, 'maskformer': _maskformer, 'oneformer': _oneformer,
    'rf_detr': _rf_detr}
