# SPDX-License-Identifier: Apache-2.0
"""Channels that do nothing are the ones that go, and the narrower network answers as before."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from seg_ros.models.street_tiny import Channels, channels_of, StreetNetwork
from training.data import Labelled, Samples
from training.export import network_of
from training.slim import groups, importance, slimmed

WIDE, NARROW = Channels(8, 24, 16, 24, 16), Channels(8, 16, 8, 16, 8)


def network_with_idle_channels() -> StreetNetwork:
    """Return a network in which as many channels as NARROW lacks add nothing to anything."""
    torch.manual_seed(0)
    network = StreetNetwork(classes=11, things=3, channels=WIDE)
    tensors = network.state_dict()
    for group in groups(NARROW):
        names = [name for name in tensors
                 if any(name in (f'{module}.bn.weight', f'{module}.bn.bias', f'{module}.weight',
                                 f'{module}.bias') for module in group.written)]
        count = len(tensors[names[0]])
        idle = torch.randperm(count)[:count - group.kept]
        for name in names:
            tensors[name][idle] = 0.0
    return network


@pytest.fixture(scope='module')
def batches():
    """Return two small batches of noise with labels."""
    rng = np.random.default_rng(0)
    shape = (2, 360, 480)
    source = Labelled(images=rng.integers(0, 256, (*shape, 3), np.uint8),
                      classes=rng.integers(0, 11, shape, np.uint8),
                      instances=np.zeros(shape, np.uint8))
    samples = Samples([source], batch_size=2, seed=0, size_at=lambda _: (96, 64))
    return [samples[0], samples[1]]


def test_idle_channels_go_and_the_answer_stays(batches):
    wide = network_with_idle_channels()
    tensors = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    narrow = slimmed(tensors, importance(wide, batches), NARROW)
    assert channels_of(tensors) == WIDE and channels_of(narrow) == NARROW
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected, answer = (network_of(t).eval()(x) for t in (tensors, narrow))
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(answer, name), value, atol=1e-4, rtol=1e-4)


def test_what_matters_in_both_directions_is_not_taken_for_idle():
    tensors = StreetNetwork(classes=11, things=3, channels=WIDE).state_dict()
    importances = {name.removesuffix('.bn.weight'): torch.zeros(2, len(tensor))
                   for name, tensor in tensors.items() if name.endswith('.bn.weight')}
    # helps in one batch as much as it hurts in the other
    importances['to_2'][:, 5] = torch.tensor([1.0, -1.0])
    importances['to_2'][:, 3] = 0.5
    narrow = slimmed(tensors, importances, NARROW._replace(at_2=2))
    torch.testing.assert_close(narrow['to_2.conv.weight'], tensors['to_2.conv.weight'][[3, 5]])


def test_every_layer_is_narrowed_on_both_sides():
    network = StreetNetwork(classes=11, things=3, channels=WIDE)
    importances = {name.removesuffix('.bn'): torch.rand(1, module.num_features)
                   for name, module in network.named_modules()
                   if isinstance(module, torch.nn.BatchNorm2d)}
    narrow = slimmed(network.state_dict(), importances, NARROW)
    expected = StreetNetwork(classes=11, things=3, channels=NARROW).state_dict()
    assert {n: t.shape for n, t in narrow.items()} == {n: t.shape for n, t in expected.items()}
