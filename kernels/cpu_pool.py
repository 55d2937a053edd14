"""Independent tasks on the cores that torch was given."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

T = TypeVar("T")
SMALL = 2**20  # scores; below this starting threads costs more than it saves


def run_tasks(tasks: Sequence[Callable[[], T]], scores: int) -> Iterator[T]:
    """Results in the order of the tasks, whichever thread ran them; `scores` is the size of the whole job."""
    threads = torch.get_num_threads()
    try:
        if min(threads, len(tasks)) < 2 or scores < SMALL:
            torch.set_num_threads(1)  # as in the pool: products split over cores would round differently
            for task in tasks:
                yield _without_gradients(task)
            return
        with ThreadPoolExecutor(
            min(threads, len(tasks)), "attention", initializer=partial(torch.set_num_threads, 1)
        ) as pool:
            try:
                yield from pool.map(_without_gradients, tasks)
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        # restores this thread's setting, and the workers' one that threads born later would start with
        torch.set_num_threads(threads)


def _without_gradients(task: Callable[[], T]) -> T:
    # not no_grad: the caller's buffers may be inference tensors, which are writable in this mode only
    with torch.inference_mode():
        return task()
