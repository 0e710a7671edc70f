import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import BundleRefusedError
from gateway.registry.gates import admit
from models.seal import seal
from models.signing import SigningKey, TrustedKeys
from tests.gateway.registry.bundles import KEY, make_bundle

TRUSTED = TrustedKeys.of([KEY.public])


def test_a_sound_bundle_is_admitted(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    assert admit(bundle.path, TRUSTED) == bundle


def test_a_bundle_signed_by_a_stranger_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", key=SigningKey.create())
    with pytest.raises(BundleRefusedError, match="not signed by a trusted key"):
        admit(bundle.path, TRUSTED)


@pytest.mark.parametrize("file", ["model.yaml", "golden.npz", "guards.npz", "environment.json"])
def test_a_changed_file_is_refused(tmp_path: Path, file: str) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    with (bundle.path / file).open("ab") as changed:
        changed.write(b" ")
    with pytest.raises(BundleRefusedError, match=f"{file} does not have the digest"):
        admit(bundle.path, TRUSTED)


def test_a_model_that_no_longer_reproduces_its_golden_rows_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    golden = bundle.path / "golden.npz"
    with np.load(golden) as arrays:
        changed = {**arrays, "output/y": arrays["output/y"] + 1}
    np.savez(golden, **changed)
    seal(bundle.path, KEY)

    with pytest.raises(BundleRefusedError, match="golden rows: output y differ by up to 1"):
        admit(bundle.path, TRUSTED)


def test_golden_rows_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    with zipfile.ZipFile(bundle.path / "golden.npz", "w") as archive:
        archive.writestr("output/y.npy", b"not an array")
    seal(bundle.path, KEY)

    with pytest.raises(BundleRefusedError):
        admit(bundle.path, TRUSTED)


def test_a_model_that_crashes_takes_only_its_trial_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"
    run_instead(monkeypatch, crash)

    with pytest.raises(BundleRefusedError, match=r"crashed on its golden rows \(signal 11\)"):
        admit(make_bundle(tmp_path / "bundle").path, TRUSTED)


def test_a_model_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "import time; time.sleep(60)")

    with pytest.raises(BundleRefusedError, match=r"did not answer its golden rows within 0\.5 s"):
        admit(make_bundle(tmp_path / "bundle").path, TRUSTED, trial_s=0.5)


def test_a_model_that_exits_quietly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, "raise SystemExit(0)")

    with pytest.raises(BundleRefusedError, match=r"without a result \(exit code 0\)"):
        admit(make_bundle(tmp_path / "bundle").path, TRUSTED)


def test_the_trial_sees_no_secret_of_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_KEY", "hk_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen = tmp_path / "seen"
    run_instead(monkeypatch, f"import os; open({str(seen)!r}, 'w').write(str(os.environ))")

    with pytest.raises(BundleRefusedError):
        admit(make_bundle(tmp_path / "bundle").path, TRUSTED)
    assert "PATH" in seen.read_text()
    assert "secret" not in seen.read_text()


def run_instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the trial run ``program``: what a model could do once it is loaded."""
    run = subprocess.run

    def run_program(command: list[str], **options: object) -> object:
        return run([sys.executable, "-c", program], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", run_program)
