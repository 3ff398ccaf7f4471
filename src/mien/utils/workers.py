"""Run many independent tasks on several processes, or on the machines of a Ray cluster.

What a task makes must not depend on the others, and appear whole or not at all: then the result is
the same for any number of workers, also where one is killed and its task is done again.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any, Final, Generic, TypeVar

from mien.errors import InputError, MienError, needs_extra

Task = TypeVar("Task")
Value = TypeVar("Value")

_ATTEMPTS: Final = 3
"""Workers that may die over one task before it counts as failed."""

_number = 0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Task, Value]):
    """How a task ended.

    Attributes:
        task: the task.
        value: what the function returned; None where it failed.
        error: why it failed.
    """

    task: Task
    value: Value | None
    error: MienError | None = None


def run_tasks(
    function: Callable[[Task], Value],
    tasks: Iterable[Task],
    *,
    workers: int = 1,
    ray: str | None = None,
    gpus: float = 0,
) -> Generator[Outcome[Task, Value]]:
    """Yield the outcome of every task as it ends.

    A task whose worker is killed is done again by another one. A ``MienError`` of a task is its
    outcome; any other exception ends the run. A run that ends early does not wait for the tasks
    that are being done.

    Args:
        function: called with each task in a worker; a function of a module, or a ``partial`` of
            one. What it caches stays loaded between the tasks of a worker.
        tasks: values that can be pickled.
        workers: processes; 1 runs in this process.
        ray: address of a Ray cluster, or ``"local"`` for one on this machine with ``workers``
            processors; None for plain processes.
        gpus: GPUs of each worker on Ray, which shows it no others; a share lets several use one.

    Raises:
        InputError: for a number of workers below 1.
        MissingExtraError: when Ray is asked for and not installed.
    """
    if workers < 1:
        raise InputError(f"The number of workers must be 1 or more; got {workers}.")
    listed = list(tasks)
    if ray is not None:
        yield from _on_ray(function, listed, workers, ray, gpus)
    elif workers == 1:
        for task in listed:
            yield Outcome(task, *_attempt(function, task))
    else:
        yield from _on_processes(function, listed, workers)


def _attempt(
    function: Callable[[Task], Value], task: Task
) -> tuple[Value | None, MienError | None]:
    try:
        return function(task), None
    except MienError as error:
        return None, _plain(error)


def _plain(error: MienError) -> MienError:
    """Return an error of a class that survives the way between processes."""
    kind = type(error)
    return kind(str(error)) if kind.__module__ == MienError.__module__ else MienError(str(error))


def _on_processes(
    function: Callable[[Task], Value], tasks: Sequence[Task], workers: int
) -> Iterator[Outcome[Task, Value]]:
    waiting = deque((task, 0) for task in tasks)
    context = get_context("spawn")
    while waiting:
        pool = ProcessPoolExecutor(
            min(workers, len(waiting)), context, initializer=_begin, initargs=(context.Value("i"),)
        )
        running: dict[Future[Any], tuple[Task, int]] = {}
        try:
            while waiting or running:
                # No more than one task per worker is handed out: when a pool breaks, only these
                # can have broken it. They are done again alone, so that the guilty one is known.
                while waiting and len(running) < _most(waiting[0], running.values(), workers):
                    future = pool.submit(_attempt, function, waiting[0][0])
                    running[future] = waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    value, error = future.result()
                    yield Outcome(running.pop(future)[0], value, error)
        except BrokenProcessPool:
            for task, deaths in running.values():
                if deaths + 1 < _ATTEMPTS:
                    waiting.append((task, deaths + 1))
                else:
                    yield Outcome(task, None, _killed(task))
        finally:
            if running:  # the run ends early: what is half done appears nowhere
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            pool.shutdown(cancel_futures=True)


def _most(following: tuple[Task, int], running: Iterable[tuple[Task, int]], workers: int) -> int:
    """Return how many tasks may run for the following one to be started as well."""
    suspected = following[1] > 0 or any(deaths for _, deaths in running)
    return 1 if suspected else workers


def _killed(task: object) -> MienError:
    return MienError(
        f"{_ATTEMPTS} workers were killed while they worked on {task}; perhaps the memory is too "
        "small for so many at once."
    )


def worker_number() -> int:
    """Return the number of this process among the workers of its machine, from 0."""
    return _number


def _begin(count: Any) -> None:  # noqa: ANN401 - a number in shared memory
    """Take the next number and watch the parent."""
    global _number
    with count.get_lock():
        _number, count.value = count.value, count.value + 1
    _end_with_parent()


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, however it ended."""
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, name="mien-watch", daemon=True).start()


class _RayWorker(Generic[Task, Value]):
    """An actor: a process of a cluster in which a function and what it caches stay loaded."""

    def __init__(self, function: Callable[[Task], Value]) -> None:
        self._function = function

    def attempt(self, task: Task) -> tuple[Value | None, MienError | None]:
        """Do a task."""
        return _attempt(self._function, task)


def _on_ray(
    function: Callable[[Task], Value],
    tasks: Sequence[Task],
    workers: int,
    address: str,
    gpus: float,
) -> Iterator[Outcome[Task, Value]]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs_extra("ray", "Running on Ray"):
        import ray
    local = address == "local"
    try:
        ray.init(
            address=None if local else address,
            num_cpus=workers if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"There is no Ray cluster at {address} ({error}).") from error
    try:
        retries = _ATTEMPTS - 1
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=retries)(
            _RayWorker
        )
        idle = [kind.remote(function) for _ in range(min(workers, len(tasks)))]
        waiting = deque(tasks)
        running: dict[Any, tuple[Any, Task]] = {}
        while waiting or running:
            while waiting and idle:
                worker, task = idle.pop(), waiting.popleft()
                running[worker.attempt.remote(task)] = worker, task
            for done in ray.wait(list(running))[0]:
                worker, task = running.pop(done)
                try:
                    ended: tuple[Value | None, MienError | None] = ray.get(done)
                except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
                    ended = None, _killed(task)
                idle.append(worker)
                yield Outcome(task, *ended)
    finally:
        ray.shutdown()
