import threading
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gateway.errors import BundleRefusedError
from gateway.registry.artifacts import ArtifactStore
from models.errors import BundleError
from models.opening import open_verified
from tests.gateway.registry.bundles import make_bundle


def content(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"{request.param}://{tmp_path}/artifacts")


def test_what_is_fetched_is_what_was_put(store: ArtifactStore, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")

    digest = store.put(bundle.path)
    fetched = store.fetch(digest, tmp_path / "cache")

    assert digest == bundle.digest
    assert content(fetched) == content(bundle.path)
    assert open_verified(fetched, digest).manifest == bundle.manifest


def test_putting_twice_keeps_one(store: ArtifactStore, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    assert store.put(bundle.path) == store.put(bundle.path)


def test_versions_share_the_files_that_they_have_in_common(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    first = make_bundle(tmp_path / "1", "1")
    store.put(first.path)
    one = len(list((tmp_path / "artifacts" / "blobs").iterdir()))

    store.put(make_bundle(tmp_path / "2", "2").path)

    assert len(list((tmp_path / "artifacts" / "blobs").iterdir())) == one + 1  # model.yaml


def test_a_second_fetch_does_not_ask_the_store(tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    store = ArtifactStore(f"file://{root}")
    digest = store.put(make_bundle(tmp_path / "bundle").path)
    first = store.fetch(digest, tmp_path / "cache")

    root.rename(tmp_path / "gone")

    assert store.fetch(digest, tmp_path / "cache") == first


def test_a_directory_that_is_not_its_digests_is_not_kept(
    store: ArtifactStore, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle.path / "model.yaml").write_bytes(b"name: other")

    with pytest.raises(BundleError, match=r"model\.yaml does not have the digest"):
        store.put(bundle.path)


@pytest.mark.parametrize("kind", ["blobs", "bundles"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_in_the_store_is_found_and_leaves_nothing_behind(
    tmp_path: Path, kind: str, damage: str
) -> None:
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    digest = store.put(make_bundle(tmp_path / "bundle").path)
    folder = tmp_path / "artifacts" / kind
    victim = next(path for path in sorted(folder.iterdir()) if path.suffix != ".sig")
    if damage == "remove":
        victim.unlink()
    else:
        whole = victim.read_bytes()
        victim.write_bytes(whole[:-1] + (bytes([whole[-1] ^ 1]) if damage == "flip" else b""))

    with pytest.raises(BundleRefusedError, match="artifact store"):
        store.fetch(digest, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_file_is_read_without_the_others(store: ArtifactStore, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    digest = store.put(bundle.path)

    assert store.read(digest, "model.yaml") == bundle.read("model.yaml")
    assert store.read(digest, "no_such_file") is None
    with pytest.raises(BundleRefusedError, match="does not hold all of"):
        store.read("sha256:" + "0" * 64, "model.yaml")


@pytest.mark.parametrize("kind", ["blobs", "bundles"])
def test_a_damaged_file_is_not_read(tmp_path: Path, kind: str) -> None:
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    digest = store.put(make_bundle(tmp_path / "bundle").path)
    for path in (tmp_path / "artifacts" / kind).iterdir():
        path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(BundleRefusedError, match="artifact store"):
        store.read(digest, "model.yaml")


@pytest.mark.parametrize("digest", ["", "sha256:../../etc", "sha256:" + "g" * 64, "a" * 64])
def test_only_a_digest_names_a_bundle(store: ArtifactStore, tmp_path: Path, digest: str) -> None:
    with pytest.raises(BundleRefusedError, match="sha256: and 64"):
        store.fetch(digest, tmp_path / "cache")


def test_a_bundle_that_was_never_put_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match="does not hold all of"):
        store.fetch("sha256:" + "0" * 64, tmp_path / "cache")


def put_and_fetch(url: str, bundle: Path, cache: Path, barrier: Barrier) -> None:
    store = ArtifactStore(url)
    barrier.wait(30)
    digest = store.put(bundle)
    open_verified(store.fetch(digest, cache), digest)


def test_processes_may_put_and_fetch_the_same_bundle_at_once(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    context = get_context("spawn")
    barrier = context.Barrier(4)
    arguments = (f"file://{tmp_path}/artifacts", bundle.path, tmp_path / "cache", barrier)
    workers = [context.Process(target=put_and_fetch, args=arguments) for _ in range(4)]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [bundle.digest[7:]]


def test_threads_that_fetch_at_once_all_get_the_whole_bundle(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    bundle = make_bundle(tmp_path / "bundle")
    digest = store.put(bundle.path)
    found: list[dict[str, bytes]] = []

    def fetch() -> None:
        found.append(content(store.fetch(digest, tmp_path / "cache")))

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [content(bundle.path)] * 8
    assert len(list((tmp_path / "cache").iterdir())) == 1
