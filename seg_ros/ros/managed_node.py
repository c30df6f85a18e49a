# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that starts itself, says why a transition failed, and survives mistakes."""
from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
import time
from typing import Generic, TypeVar

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

Prepared = TypeVar('Prepared')
_SUCCESS, _ERROR = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.ERROR


class ManagedNode(LifecycleNode, Generic[Prepared]):
    """Adds to rclpy's LifecycleNode what a robot needs of it.

    Slow loading happens in `prepare`, off the executor's thread, so that services answer
    meanwhile; the transitions themselves are quick. What a transition raises becomes one
    sentence for `report`, where rclpy says nothing. A transition that is not possible is
    answered with success = false, where rclpy ends the process (rclpy#1209).
    """

    def __init__(self, name: str) -> None:
        """Create the node, unconfigured."""
        super().__init__(name)
        self.exit_code: int | None = None  # set when the node wants its process to end
        self._prepared: Future[Prepared] | None = None
        self._preparing_since_s = 0.0
        self._starts_itself = False
        self._preparation_ended = self.create_guard_condition(self._go_on)
        self._service_change_state.callback = self._change_state

    def prepare(self) -> Future[Prepared]:
        """Begin to load what `configure` needs, on another thread."""
        raise NotImplementedError

    def configure(self, prepared: Prepared) -> None:
        """Take over what was loaded and advertise."""
        raise NotImplementedError

    def activate(self) -> None:
        """Begin to work."""
        raise NotImplementedError

    def deactivate(self) -> None:
        """Stop working; configured it stays."""
        raise NotImplementedError

    def release(self) -> None:
        """Stop and free everything, whatever the state."""
        raise NotImplementedError

    def report(self, sentence: str) -> None:
        """Hear of a failed transition."""
        raise NotImplementedError

    @property
    def state(self) -> str:
        """Return the lifecycle state's name."""
        label: str = self._state_machine.current_state[1]
        return label

    @property
    def preparing_s(self) -> float:
        """Return the seconds that `prepare` has taken so far, 0 where nothing is prepared."""
        busy = self._prepared is not None and not self._prepared.done()
        return time.monotonic() - self._preparing_since_s if busy else 0.0

    def start(self) -> None:
        """Configure and activate; a failure ends the process with code 1."""
        self._starts_itself = True
        self._begin_preparation()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`; a failure leaves nothing behind."""
        return self._attempt('configure', self._configure, undo=self.release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`; a failure leaves nothing behind."""
        return self._attempt('activate', self.activate, undo=self.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`; a failure leads through `on_error` to unconfigured."""
        return self._attempt('deactivate', self.deactivate, failure=_ERROR)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `release`; a failure leads through `on_error` to unconfigured."""
        return self._attempt('cleanup', self.release, failure=_ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `release`; the node is finalized even where that fails."""
        return self._attempt('shutdown', self.release, failure=_SUCCESS)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `release`, back to unconfigured."""
        return self._attempt('error handling', self.release, failure=_SUCCESS)

    def _attempt(self, name: str, action: Callable[[], None], *,
                 undo: Callable[[], None] | None = None,
                 failure: TransitionCallbackReturn = TransitionCallbackReturn.FAILURE
                 ) -> TransitionCallbackReturn:
        """Run a transition's work; a failure is one sentence, and undone."""
        try:
            action()
        except Exception as error:  # rclpy would swallow it without a word
            self.report(f'{name} failed: {sentence_of(error)}')
            if undo:
                self._attempt(f'undoing {name}', undo)
            return failure
        return _SUCCESS

    def _begin_preparation(self) -> None:
        self._preparing_since_s = time.monotonic()
        self._prepared = self.prepare()
        self._prepared.add_done_callback(lambda _: self._preparation_ended.trigger())

    def _configure(self) -> None:
        if self._prepared is None:
            self._prepared = self.prepare()
        prepared, self._prepared = self._prepared, None
        self.configure(prepared.result())

    def _go_on(self) -> None:
        """Go on with the automatic start once everything is loaded."""
        if not self._starts_itself:
            return
        self._starts_itself = False
        unconfigured = self._state_machine.current_state[0] == State.PRIMARY_STATE_UNCONFIGURED
        if unconfigured and not (self.trigger_configure() == _SUCCESS
                                 and self.trigger_activate() == _SUCCESS):
            self.exit_code = 1

    async def _change_state(self, request: ChangeState.Request,
                            response: ChangeState.Response) -> ChangeState.Response:
        """Answer a lifecycle manager."""
        wanted = self._wanted(request)
        response.success = False
        if wanted is None:
            self.get_logger().warning(
                f'transition {request.transition.label or request.transition.id!r} refused: not '
                f'possible in state {self.state!r}')
            return response
        if wanted == Transition.TRANSITION_CONFIGURE:
            self._begin_preparation()
            while self._prepared is not None and not self._prepared.done():
                await _NextTurn()
        # another request may have been served while this one waited
        if self._wanted(request) == wanted:
            response.success = self._trigger(wanted) == _SUCCESS
        return response

    def _wanted(self, request: ChangeState.Request) -> int | None:
        """Return the id of the asked transition if a user may ask for it in this state."""
        label, number = request.transition.label, request.transition.id
        for possible, name, *_ in self._state_machine.available_transitions:
            if possible in _FOR_USERS and (name == label if label else possible == number):
                return int(possible)
        return None

    def _trigger(self, transition: int) -> TransitionCallbackReturn:
        return {
            Transition.TRANSITION_CONFIGURE: self.trigger_configure,
            Transition.TRANSITION_CLEANUP: self.trigger_cleanup,
            Transition.TRANSITION_ACTIVATE: self.trigger_activate,
            Transition.TRANSITION_DEACTIVATE: self.trigger_deactivate,
        }.get(transition, self.trigger_shutdown)()


_FOR_USERS = frozenset({
    Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, Transition.TRANSITION_INACTIVE_SHUTDOWN,
    Transition.TRANSITION_ACTIVE_SHUTDOWN,
})


class _NextTurn:
    """Awaited, lets the executor do other work first."""

    def __await__(self) -> Generator[None, None, None]:
        """Yield once."""
        yield


def sentence_of(error: BaseException) -> str:
    """Return an error's first line, with its type where it is not one of our sentences."""
    text = str(error).splitlines()[0] if str(error) else ''
    ours = isinstance(error, ValueError) or type(error).__module__.startswith('seg_ros.')
    return text if ours and text else f'{type(error).__name__}: {text}'
