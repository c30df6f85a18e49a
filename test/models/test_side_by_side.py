# SPDX-License-Identifier: Apache-2.0
"""Images side by side: the same answers in the same order, and torch's threads as before."""
import threading

import pytest
import torch

from seg_ros.models.side_by_side import side_by_side


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures('four_threads')
def test_results_come_in_the_order_of_the_items():
    second_is_done = threading.Event()

    def work(item):
        if item == 1:
            assert second_is_done.wait(timeout=20)
        if item == 2:
            second_is_done.set()
        return 10 * item

    assert side_by_side(work, [1, 2, 3, 4, 5]) == [10, 20, 30, 40, 50]


@pytest.mark.usefixtures('four_threads')
@pytest.mark.parametrize(('items', 'threads_each'), [(0, []), (1, [4]), (2, [2, 2]),
                                                     (3, [1, 1, 1]), (5, [1, 1, 1, 1, 1])])
def test_the_items_share_the_threads(items, threads_each):
    assert side_by_side(lambda _: torch.get_num_threads(), range(items)) == threads_each


@pytest.mark.usefixtures('four_threads')
def test_one_item_stays_on_the_thread_of_the_caller():
    assert side_by_side(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


@pytest.mark.usefixtures('four_threads')
@pytest.mark.parametrize('fails', [False, True])
def test_caller_and_later_threads_have_all_threads_again(fails):
    def work(item):
        if fails:
            raise ValueError(f'no answer to {item}')

    if fails:
        with pytest.raises(ValueError, match='no answer to 1'):
            side_by_side(work, [1, 2])
    else:
        side_by_side(work, [1, 2])
    seen = [torch.get_num_threads()]
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [4, 4]
