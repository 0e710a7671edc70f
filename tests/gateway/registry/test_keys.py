import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import select

from gateway.registry import tables
from gateway.registry.database import open_database, reading
from gateway.registry.keys import (
    GRANTS,
    REFRESH_S,
    SALT_BYTES,
    ApiKeys,
    Right,
    Role,
    admin_key_file,
    ensure_admin,
    exploration_salt,
    local_signing_key,
    trusted_keys,
)
from models.errors import KeyFileError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/handrail.db"


@pytest.mark.parametrize("role", get_args(Role))
def test_a_key_is_known_by_its_role_and_label(url: str, role: Role) -> None:
    keys = ApiKeys(open_database(url))

    caller = keys.verify(keys.create(role, "pipeline"))

    assert caller is not None
    assert (caller.role, caller.label) == (role, "pipeline")


def test_what_is_not_a_key_is_nobody(url: str) -> None:
    keys = ApiKeys(open_database(url))
    key = keys.create("admin", "ann")
    own_id = key.partition(".")[0]

    for wrong in (
        "",
        ".",
        "hk_",
        key[:-1],
        key + "x",
        own_id,
        f"{own_id}.",
        f"hk_00000000.{key}",
        "é",
    ):
        assert keys.verify(wrong) is None


def test_the_database_does_not_hold_the_key(url: str, tmp_path: Path) -> None:
    engine = open_database(url)
    secret = ApiKeys(engine).create("admin", "ann").partition(".")[2]

    with reading(engine) as connection:
        rows = str(connection.execute(select(tables.api_keys)).all())

    assert secret not in rows
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_key_made_elsewhere_works_here_after_the_refresh(url: str) -> None:
    now = [0.0]
    here = ApiKeys(open_database(url), clock=lambda: now[0])
    assert here.verify("nobody") is None
    key = ApiKeys(open_database(url)).create("infer", "app")

    assert here.verify(key) is None
    now[0] += REFRESH_S + 0.01
    assert here.verify(key) is not None


def test_rights_are_separated() -> None:
    assert GRANTS["admin"] == set(get_args(Right))
    assert "operate" not in GRANTS["register"]
    assert "register" not in GRANTS["operate"]
    mutations = {"register", "operate", "feedback"}
    assert not mutations & (GRANTS["audit"] | GRANTS["infer"])


def test_the_first_start_leaves_one_admin_key_for_its_owner_only(url: str, tmp_path: Path) -> None:
    keys = ApiKeys(open_database(url))

    key = ensure_admin(keys, tmp_path / "keys")

    file = admin_key_file(tmp_path / "keys")
    assert key is not None
    assert file.read_text().strip() == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert keys.verify(key).role == "admin"  # type: ignore[union-attr]
    assert ensure_admin(ApiKeys(open_database(url)), tmp_path / "keys") is None
    assert [path.name for path in file.parent.iterdir()] == ["admin.key"]


def test_the_signing_key_is_made_once_and_trusted_here(tmp_path: Path) -> None:
    first = local_signing_key(tmp_path / "keys")

    assert local_signing_key(tmp_path / "keys").key_id == first.key_id
    assert trusted_keys(tmp_path / "keys").verify(b"words", first.sign(b"words")) == first.key_id
    assert (tmp_path / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600


def test_threads_that_ask_for_the_signing_key_at_once_get_the_same(tmp_path: Path) -> None:
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(local_signing_key(tmp_path / "keys").key_id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert sorted(os.listdir(tmp_path / "keys")) == ["signing.pem", "trusted"]


def test_without_trusted_keys_nobody_is_trusted(tmp_path: Path) -> None:
    assert trusted_keys(tmp_path).by_id == {}


def test_processes_that_start_together_draw_with_one_salt(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as executor:
        salts = set(executor.map(lambda _: exploration_salt(tmp_path / "keys"), range(64)))

    [salt] = salts
    assert len(salt) == SALT_BYTES
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["explore.salt"]
    assert (tmp_path / "keys" / "explore.salt").stat().st_mode & 0o777 == 0o600


def test_a_salt_that_everybody_could_guess_is_refused(tmp_path: Path) -> None:
    (tmp_path / "explore.salt").write_bytes(b"")

    with pytest.raises(KeyFileError, match="0 bytes are no secret"):
        exploration_salt(tmp_path)
