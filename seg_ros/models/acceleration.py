# SPDX-License-Identifier: Apache-2.0
"""Runs a family's network in the precision and with the compiler that the user asks for."""
from __future__ import annotations

from collections.abc import Callable
import logging
import os
from pathlib import Path
import time
from typing import Any

import torch
from torch import nn

from seg_ros.models.contract import Acceleration, ModelOptions

_TYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
_MODES = {'default': 'default', 'max': 'max-autotune'}
# where most of the arithmetic is; what autocast leaves in fp32, such as norms, keeps its weights
_CAST = (nn.Linear, nn.modules.conv._ConvNd)
_logger = logging.getLogger(__name__)


class AcceleratedNetwork:
    """A network for inference that is called as the network itself.

    Its inputs are those of the fp32 network on its device; floating-point outputs may have 16
    bits. What a compiled network answers is overwritten by its next call. Used from one thread:
    CUDA graphs belong to the thread that recorded them.
    """

    def __init__(self, network: nn.Module, options: ModelOptions) -> None:
        """Move the network to the device and prepare it; compiling waits for the first call."""
        self.acceleration = options.acceleration
        self.observer: Callable[[float, float], None] | None = None
        """Hears when each run began and ended (time.perf_counter, work on the device done)."""
        self.network = network.eval().requires_grad_(False).to(options.device)
        # weights of four dimensions in the order that convolutions are fastest with
        self.network.to(memory_format=torch.channels_last)
        self._device = options.device
        self._dtype = _TYPES[self.acceleration.precision]
        if self._dtype is not torch.float32:
            _cast_layers(self.network, self._dtype)
        self._compiled = _compiled(self.network, self.acceleration.compile)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the network."""
        if self.observer is None:
            return self._run(*inputs, **named)
        self._wait()
        begun_s = time.perf_counter()
        answer = self._run(*inputs, **named)
        self._wait()
        self.observer(begun_s, time.perf_counter())
        return answer

    def _wait(self) -> None:
        """Let the device finish what it was given."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)

    def _run(self, *inputs: Any, **named: Any) -> Any:
        """Run the network, compiled where that works."""
        low = self._dtype is not torch.float32
        with torch.autocast(self._device.type, self._dtype if low else None, enabled=low):
            if self._compiled is None:
                return self.network(*inputs, **named)
            try:
                return self._compiled(*inputs, **named)
            except Exception as error:  # compilers fail in many ways; eager tells which are ours
                answer = self.network(*inputs, **named)
                self._give_up(error)
                return answer

    def _give_up(self, error: Exception) -> None:
        """Run without the compiler from now on."""
        self._compiled = None
        self.acceleration = Acceleration(precision=self.acceleration.precision)
        cause = (str(error).strip().splitlines() or [''])[0][:200]
        _logger.warning(f'torch.compile failed, running without it: '
                        f'{type(error).__name__}: {cause}')


def accelerate(network: nn.Module, options: ModelOptions) -> AcceleratedNetwork:
    """Return the network on its device, as `options.acceleration` says."""
    return AcceleratedNetwork(network, options)


def network_of(model: object) -> AcceleratedNetwork | None:
    """Return the network that a model has accelerated; a file of the user's runs as it is."""
    network = getattr(model, 'network', None)
    return network if isinstance(network, AcceleratedNetwork) else None


def preferred_precision(device: torch.device) -> str:
    """Return the precision that the device is built for: 16 bits only where hardware has them."""
    if device.type == 'cuda':
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return 'bf16' if native else 'fp16'
    # oneDNN asks for AVX512-BF16, AMX or their like: emulated, bf16 is several times slower
    return 'bf16' if torch.ops.mkldnn._is_mkldnn_bf16_supported() else 'fp32'


def _cast_layers(network: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights that autocast would convert in every call in that type for good."""
    for module in network.modules():
        if isinstance(module, _CAST):
            module.to(dtype)


def _compiled(network: nn.Module, mode: str) -> Callable[..., Any] | None:
    """Return the network behind torch.compile, which works at the first call; None for off."""
    if mode == 'off':
        return None
    _keep_compiled_code()
    # sizes are few and each is worth its own code
    compiled: Callable[..., Any] = torch.compile(network, mode=_MODES[mode], dynamic=False)
    return compiled


def _keep_compiled_code() -> None:
    """Let compiled code survive a restart of the machine; torch would put it into /tmp."""
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    os.environ.setdefault('TORCHINDUCTOR_CACHE_DIR', str(Path(cache) / 'seg_ros' / 'torch'))
