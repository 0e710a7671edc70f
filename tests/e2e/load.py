"""Steady load from threads while something is broken on purpose."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.client import Answer, AnswerError, Client


@dataclass
class Seen:
    """What the clients saw: answers with the time they came, and everything else."""

    answers: list[tuple[float, Answer]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@contextmanager
def load(
    url: str, model: str, inputs: dict[str, np.ndarray[Any, Any]], *, clients: int = 3
) -> Iterator[Seen]:
    """Ask about one row after the other until the block ends."""
    seen, stop = Seen(), threading.Event()
    rows = len(next(iter(inputs.values())))

    def ask(number: int) -> None:
        with Client(url) as client:
            row = number
            while not stop.is_set():
                row += clients
                picked = {name: array[row % rows][None] for name, array in inputs.items()}
                try:
                    answer = client.infer(model, picked, request_id=f"{number}-{row}")
                except AnswerError as error:
                    seen.failed.append(f"{error.status} {error}")
                else:
                    seen.answers.append((time.monotonic(), answer))
                time.sleep(0.005)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
