# SPDX-License-Identifier: Apache-2.0
"""Models of the Hugging Face hub, from a folder or from the hub's cache; no code from either."""
from __future__ import annotations

from pathlib import Path
import re

from seg_ros.models.contract import ALL_TASKS, Model, ModelError, ModelInfo, ModelOptions, Task
from seg_ros.models.weights import read_folder

_SEMANTIC = frozenset({Task.SEMANTIC})
_INSTANCE = frozenset({Task.INSTANCE})

MODELS = (
    ModelInfo(spec='huggingface/tue-mps/coco_panoptic_eomt_large_640', tasks=ALL_TASKS,
              parameters=316_000_000, license='MIT',
              summary='EoMT-L: one ViT, COCO panoptic; also _base_640_2x, _large_1280 and more'),
    ModelInfo(spec='huggingface/Roboflow/rf-detr-seg-medium', tasks=_INSTANCE,
              parameters=35_700_000, license='Apache-2.0',
              summary='RF-DETR-Seg: fast instances, COCO'),
    ModelInfo(spec='huggingface/facebook/mask2former-swin-tiny-coco-panoptic', tasks=ALL_TASKS,
              parameters=47_400_000, license='CC-BY-NC-4.0',
              summary='Mask2Former, COCO panoptic; weights not for commercial use'),
    ModelInfo(spec='huggingface/nvidia/segformer-b0-finetuned-cityscapes-1024-1024',
              tasks=_SEMANTIC, parameters=3_700_000, license='NVIDIA, non-commercial',
              summary='SegFormer-B0, streets; weights not for commercial use'),
    ModelInfo(spec='huggingface/openmmlab/upernet-convnext-tiny', tasks=_SEMANTIC,
              parameters=60_000_000, license='MIT', summary='UperNet, ADE20K'),
)

_SETTINGS = ('*.json', 'merges.txt')
_WEIGHTS = ('*.safetensors', 'pytorch_model.bin')  # the second only where the first is not


def load(name: str, options: ModelOptions) -> Model:
    """Load a local folder or `OWNER/REPOSITORY` of the hub; raises ModelError."""
    folder = find_folder(name, allow_download=options.allow_download)
    content = read_folder(folder, sha256=options.sha256)
    try:
        from seg_ros.models.hub.networks import build
    except ImportError as error:
        raise ModelError(f'cannot load huggingface/{name}: {error}; '
                         'pip install transformers scipy') from None
    return build(name, folder, content, options)


def find_folder(name: str, *, allow_download: bool) -> Path:
    """Return the folder of a model: local, in the hub's cache, or fetched if that is allowed.

    Raises ModelError that names what is missing and the command that fetches it.
    """
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    if not re.fullmatch(r'[\w.-]+(/[\w.-]+)?', name):
        raise ModelError(f'cannot load huggingface/{name}: there is no such folder, and it is no '
                         'name on the hub; expected a folder or OWNER/REPOSITORY')
    folder = _snapshot(name, download=False)
    missing = _missing(folder)
    if missing and allow_download:
        folder = _snapshot(name, download=True)
        missing = _missing(folder)
        if missing:
            raise ModelError(f'cannot load huggingface/{name}: it has no {missing} on the hub, '
                             'expected a model as transformers saves it')
    if folder is None or missing:
        raise ModelError(
            f'cannot load huggingface/{name}: {missing} is not on this machine; fetch it with '
            f'`hf download {name}`, set allow_download, or give a folder')
    return folder


def _missing(folder: Path | None) -> str:
    """Return the first file that a model needs and a folder lacks, empty where none is."""
    if folder is None or not (folder / 'config.json').is_file():
        return 'config.json'
    has_weights = any(next(folder.glob(pattern), None) for pattern in _WEIGHTS)
    return '' if has_weights else 'model.safetensors'


def _snapshot(name: str, *, download: bool) -> Path | None:
    """Return the folder of a model in the hub's cache, None where it is not; raises ModelError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        for weights in _WEIGHTS:
            folder = Path(snapshot_download(
                name, local_files_only=not download, allow_patterns=[*_SETTINGS, weights]))
            if not _missing(folder):
                break
    except LocalEntryNotFoundError as error:
        if not download:
            return None
        raise ModelError(f'cannot fetch huggingface/{name}: the hub was not reached ({error})'
                         .replace('\n', ' ')) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f'cannot fetch huggingface/{name}: {reason}; expected a repository that '
                         'you may read (gated ones need `hf auth login`)') from None
    return folder
