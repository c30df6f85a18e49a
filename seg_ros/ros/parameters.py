# SPDX-License-Identifier: Apache-2.0
"""core/config.py as ROS parameters: declared, described, checked when set."""
from __future__ import annotations

from collections.abc import Callable
import math

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from seg_ros.core.config import (
    Config,
    config_from,
    nearest_parameter,
    Parameter,
    PARAMETERS,
    unknown_parameter,
    value_of,
)

_MAX_INT64 = (1 << 63) - 1
_ROS_OWN = ('use_sim_time', 'qos_overrides', 'start_type_description_service')


class NodeParameters:
    """Keeps the node's ROS parameters and one frozen Config equal."""

    def __init__(self, node: Node, *, is_fixed: Callable[[], bool],
                 on_change: Callable[[Config], None]) -> None:
        """Declare every parameter; raises ValueError with one sentence for a bad override.

        is_fixed says whether the node is configured; on_change hears of each new Config.
        """
        self._is_fixed = is_fixed
        self._on_change = on_change
        overrides = _overrides(node)
        self.strangers = _strangers(overrides)
        self.config = config_from({name: value for name, value in overrides.items()
                                   if name not in self.strangers})
        for parameter in PARAMETERS:
            _declare(node, parameter, value_of(self.config, parameter.name))
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _check(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Accept a set of new values as a whole or refuse it with the reason."""
        try:
            self._changed(parameters)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[RosParameter]) -> None:
        """Replace the Config by the accepted one."""
        changed = self._changed(parameters)
        if changed != self.config:
            self.config = changed
            self._on_change(changed)

    def _changed(self, parameters: list[RosParameter]) -> Config:
        """Return the Config with new values; raises ValueError."""
        known = {parameter.name: parameter for parameter in PARAMETERS}
        values: dict[str, object] = {name: value_of(self.config, name) for name in known}
        for parameter in parameters:
            if parameter.name not in known:
                continue  # ROS's own, such as use_sim_time
            value = known[parameter.name].check(parameter.value)
            reason = known[parameter.name].fixed
            if reason and self._is_fixed() and value != values[parameter.name]:
                raise ValueError(f'{parameter.name} cannot change while the node is configured: '
                                 f'{reason}')
            values[parameter.name] = value
        return config_from(values)


def _overrides(node: Node) -> dict[str, object]:
    """Return what the command line and files set for this node."""
    # rclpy offers them only by declaring everything that comes, which would hide misspelt names
    return {name: parameter.value for name, parameter in node._parameter_overrides.items()}


def _strangers(overrides: dict[str, object]) -> tuple[str, ...]:
    """Return names that are not this node's; raises ValueError for one that is nearly."""
    known = {parameter.name for parameter in PARAMETERS}
    strangers = tuple(name for name in overrides if name not in known)
    for name in strangers:
        if not name.startswith(_ROS_OWN) and nearest_parameter(name):
            raise ValueError(unknown_parameter(name))
    return strangers


def foreign(strangers: tuple[str, ...]) -> list[str]:
    """Return the strangers that are worth a warning: those that ROS itself does not know."""
    return [name for name in strangers if not name.startswith(_ROS_OWN)]


def _declare(node: Node, parameter: Parameter, value: object) -> None:
    """Declare one parameter with its checked value."""
    descriptor = _descriptor(parameter)
    if not isinstance(value, tuple):
        node.declare_parameter(parameter.name, value, descriptor, ignore_override=True)
        return
    # an empty list would become a byte array: declare by type, then set
    kind = RosParameter.Type.STRING_ARRAY
    node.declare_parameter(parameter.name, kind, descriptor, ignore_override=True)
    node.set_parameters([RosParameter(parameter.name, kind, list(value))])


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    """Return what `ros2 param describe` shows."""
    descriptor = ParameterDescriptor(
        name=parameter.name, description=parameter.meaning,
        additional_constraints='; '.join(
            part for part in (parameter.range_text, parameter.fixed) if part))
    if isinstance(parameter.default, bool) or not math.isfinite(parameter.minimum):
        return descriptor
    bounded = math.isfinite(parameter.maximum)
    if isinstance(parameter.default, int):
        top = int(parameter.maximum) if bounded else _MAX_INT64
        descriptor.integer_range = [
            IntegerRange(from_value=int(parameter.minimum), to_value=top, step=0)]
    elif isinstance(parameter.default, float):
        top = parameter.maximum if bounded else float('inf')
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=parameter.minimum, to_value=top, step=0.0)]
    return descriptor
