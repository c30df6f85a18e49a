# SPDX-License-Identifier: Apache-2.0
"""core/config.py as ROS parameters: declared, described, checked when set."""
from __future__ import annotations

from collections.abc import Callable, Iterable
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
    nearest_name,
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
                 check: Callable[[Config], None], on_change: Callable[[Config], None]) -> None:
        """Declare every parameter; raises ValueError with one sentence for a bad override.

        is_fixed says whether the node is configured; check raises ValueError where a new Config
        does not fit what is loaded; on_change hears of each one that does.
        """
        self._is_fixed = is_fixed
        self._check_loaded = check
        self._on_change = on_change
        self.config = config_from(read_overrides(node, PARAMETERS))
        for parameter in PARAMETERS:
            _declare(node, parameter, value_of(self.config, parameter.name))
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _check(self, parameters: list[RosParameter]) -> SetParametersResult:
        """Accept a set of new values as a whole or refuse it with the reason."""
        try:
            self._check_loaded(self._changed(parameters))
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
            rule = known[parameter.name]
            value = rule.check(parameter.value)
            if value != values[parameter.name]:
                self._refuse_fixed(rule)
            values[parameter.name] = value
        return config_from(values)

    def _refuse_fixed(self, rule: Parameter) -> None:
        """Raise ValueError where a parameter cannot change now."""
        if rule.read_only:
            raise ValueError(f'{rule.name} cannot change while the node runs: {rule.fixed}')
        if rule.fixed and self._is_fixed():
            raise ValueError(f'{rule.name} cannot change while the node is configured: '
                             f'{rule.fixed}')


def read_overrides(node: Node, parameters: Iterable[Parameter]) -> dict[str, object]:
    """Return what the command line and files set of these parameters.

    A name that nobody declared and that is nearly one of these raises ValueError; any other
    stranger is a warning, since files for all nodes are common.
    """
    # rclpy offers them only by declaring everything that comes, which would hide misspelt names
    values = {name: given.value for name, given in node._parameter_overrides.items()}
    known = {parameter.name for parameter in parameters}
    for name in sorted(values.keys() - known):
        if name.startswith(_ROS_OWN):
            continue
        if nearest_name(name, known):
            raise ValueError(unknown_parameter(name, known))
        node.get_logger().warning(f'parameter {name!r} is not one of this node, ignored')
    return {name: value for name, value in values.items() if name in known}


def _declare(node: Node, parameter: Parameter, value: object) -> None:
    """Declare one parameter with its checked value."""
    descriptor = _descriptor(parameter)
    if not isinstance(value, tuple):
        node.declare_parameter(parameter.name, value, descriptor, ignore_override=True)
        return
    # clients send an empty list as one of bytes or bools: the Config checks the type instead
    descriptor.dynamic_typing = True
    node.declare_parameter(parameter.name, [''], descriptor, ignore_override=True)
    kind = RosParameter.Type.STRING_ARRAY
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
