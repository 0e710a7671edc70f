import sqlite3
import threading
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from gateway.registry import tables
from gateway.registry.database import open_database, reading


def open_with_others(url: str, barrier: Barrier) -> None:
    barrier.wait(30)
    open_database(url)


def test_many_processes_may_create_the_database_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/handrail.db"
    context = get_context("spawn")
    barrier = context.Barrier(4)
    openers = [context.Process(target=open_with_others, args=(url, barrier)) for _ in range(4)]

    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()

    assert [opener.exitcode for opener in openers] == [0, 0, 0, 0]


def test_many_threads_may_create_the_database_at_once(tmp_path: Path) -> None:
    failures = []

    def attempt(url: str) -> None:
        try:
            open_database(url)
        except Exception as error:  # noqa: BLE001 - a thread cannot fail a test by itself
            failures.append(error)

    for turn in range(10):
        url = f"sqlite:///{tmp_path}/{turn}.db"
        threads = [threading.Thread(target=attempt, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failures == []


def test_a_commit_is_on_disk_and_references_are_checked(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/handrail.db")

    with reading(engine) as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    assert found == ["wal", 2, 1, 10_000]
    orphan = {"model": "no", "version": "1", "revision": 1, "to_state": "live"}
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), engine.begin() as connection:
        connection.execute(insert(tables.audit).values(**orphan, who="", why="", at_s=0.0))


def test_readers_wait_for_no_writer_and_see_one_state(tmp_path: Path) -> None:
    path = tmp_path / "handrail.db"
    engine = open_database(f"sqlite:///{path}")
    names = select(tables.models.c.name)

    with reading(engine) as reader, engine.begin() as writer:
        assert reader.scalars(names).all() == []
        writer.execute(insert(tables.models).values(name="toy", revision=1))
        writer.commit()
        assert reader.scalars(names).all() == []

    with reading(engine) as reader:
        assert reader.scalars(names).all() == ["toy"]


def test_a_writer_that_begins_while_another_writes_waits_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "handrail.db"
    engine = open_database(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, args=("COMMIT",))
    release.start()

    with engine.begin() as writer:
        writer.execute(insert(tables.models).values(name="toy", revision=1))

    release.join()
    other.close()
