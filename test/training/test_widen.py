# SPDX-License-Identifier: Apache-2.0
"""A widened network answers as before, learns with what it got, and is never made narrower."""
from __future__ import annotations

import pytest
import torch

from seg_ros.models.street_tiny import Channels, channels_of, StreetNetwork
from training.export import network_of
from training.widen import widened

NARROW, WIDE = Channels(8, 8, 16, 16, 8), Channels(8, 16, 24, 40, 16)


def trained(channels: Channels, seed: int) -> dict[str, torch.Tensor]:
    """Return tensors as a training leaves them: no statistic of a layer is 0 or 1."""
    torch.manual_seed(seed)
    tensors = StreetNetwork(classes=11, things=3, channels=channels).state_dict()
    return {name: tensor + 0.1 * torch.rand(tensor.shape) if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()}


@pytest.fixture
def wide():
    """Return a narrow network's tensors and what they become."""
    narrow = trained(NARROW, seed=1)
    return narrow, widened(narrow, trained(WIDE, seed=2))


def test_a_widened_network_answers_as_before(wide):
    narrow, wider = wide
    assert channels_of(wider) == WIDE
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        expected, answer = (network_of(tensors).eval()(x) for tensors in (narrow, wider))
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(answer, name), value, atol=1e-5, rtol=1e-5)


def test_every_new_channel_can_learn_from_the_second_step_on(wide):
    network = network_of(wide[1]).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        sum(head.square().mean() for head in network(torch.randn(2, 3, 64, 96))).backward()
        optimiser.step()
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            by_output = module.weight.grad.abs().sum(dim=(1, 2, 3))
            by_input = module.weight.grad.abs().sum(dim=(0, 2, 3))
            assert (by_output > 0).all() and (by_input > 0).all(), name


def test_weights_of_the_same_width_stay_as_they_are():
    tensors = trained(NARROW, seed=1)
    same = widened(tensors, trained(NARROW, seed=2))
    assert same.keys() == tensors.keys()
    assert all(same[name].equal(tensor) for name, tensor in tensors.items())


def test_weights_of_a_wider_network_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r'at_16=40.*expected at most .*at_16=16.*training\.slim'):
        widened(trained(WIDE, seed=1), trained(NARROW, seed=2))
