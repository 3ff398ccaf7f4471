"""Content Credentials: signed outputs verify, a changed byte shows, earlier ones are kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

pytest.importorskip("c2pa", reason="the extra provenance is not installed")

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ed25519

from mien.errors import InputError, OutputError
from mien.provenance.claim import Claim, Ingredient, SourceType
from mien.provenance.credential import Credential, holds_credential, read_credential, seal
from mien.provenance.keys import CERTIFICATE, KEY, LOCAL_NAME, TIMESTAMPS, signing_key
from mien.weights.store import CACHE_VARIABLE, weights_used

from ..conftest import MakeClip

PICTURES = (".png", ".jpg", ".webp", ".tif", ".avif", ".bmp", ".gif")
CLIPS = {
    ".mp4": "libx264",
    ".mov": "libx264",
    ".avi": "mpeg4",
    ".mkv": "libx264",
    ".webm": "libvpx",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (CERTIFICATE, KEY, TIMESTAMPS):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def claim_of(path: Path, *used: Path, source: SourceType = SourceType.EDITED) -> Claim:
    relation = "parentOf" if source is SourceType.EDITED else "inputTo"
    ingredients = (Ingredient(path, relation), *(Ingredient(one, "inputTo") for one in used))
    emotion = {"labels": {"sad": 1.0}, "looks": [{"file": "/home/somebody/voice.wav"}]}
    return Claim("out", source, "mesh", emotion, weights_used(("rig.npz",)), ingredients)


def signed(path: Path, output: Path, *used: Path, **kind: SourceType) -> Credential:
    seal(path, output, output, claim_of(path, *used, **kind), signing_key())
    found = read_credential(output)
    assert found is not None
    return found


def small_picture(path: Path) -> Path:
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    return path


@pytest.mark.parametrize("suffix", [*PICTURES, *CLIPS, ".wav"])
def test_every_format_verifies_and_one_changed_byte_shows(
    suffix: str, tmp_path: Path, make_clip: MakeClip
) -> None:
    if suffix in PICTURES:
        source = small_picture(tmp_path / f"in{suffix}")
    elif suffix == ".wav":
        source = tmp_path / "in.wav"
        soundfile.write(source, np.zeros(8000), 16_000)
    else:
        source = make_clip(f"in{suffix}", codec=CLIPS[suffix])
    output = tmp_path / f"out{suffix}"
    found = signed(source, output)
    assert (found.valid, found.trusted, found.problems) == (True, False, ())
    assert found.sidecar is not holds_credential(suffix)
    assert (found.actions, found.source_types) == (
        ("c2pa.opened", "c2pa.edited"),
        ("compositeWithTrainedAlgorithmicMedia",),
    )
    assert (found.signer, found.ingredients) == (LOCAL_NAME, (source.name,))
    data = bytearray(output.read_bytes())
    assert b"somebody" not in data
    data[-len(source.read_bytes()) // 3] ^= 1
    output.write_bytes(data)
    broken = read_credential(output)
    assert broken is not None
    assert not broken.valid
    assert broken.problems


def test_what_the_input_says_is_kept(tmp_path: Path) -> None:
    first = tmp_path / "first.jpg"
    misnamed = small_picture(tmp_path / "a.png").rename(tmp_path / "a.mov")
    assert signed(small_picture(tmp_path / "a.jpg"), first, misnamed).earlier == 0
    (tmp_path / "text.mov").write_text("no film")
    assert signed(first, tmp_path / "d.jpg", tmp_path / "text.mov").earlier == 1
    voice = tmp_path / "voice.wav"
    soundfile.write(voice, np.zeros(8000), 16_000)
    again = signed(first, tmp_path / "b.jpg", voice)
    assert (again.earlier, again.ingredients) == (1, ("first.jpg", "voice.wav"))
    made = signed(first, tmp_path / "c.jpg", voice, source=SourceType.CREATED)
    assert (made.actions, made.source_types) == (("c2pa.created",), ("trainedAlgorithmicMedia",))
    assert made.earlier == 1


def test_the_local_key_is_made_once_and_private(own_cache: Path) -> None:
    first, second = signing_key(), signing_key()
    assert (first, first.algorithm) == (second, "es256")
    (file,) = own_cache.iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_of_ones_own(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = signing_key()
    chain, key, other = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "other.pem"
    chain.write_bytes(local.certificates)
    key.write_bytes(local.key)
    for file in own_cache.iterdir():
        file.unlink()
    monkeypatch.setenv(CERTIFICATE, str(chain))
    with pytest.raises(InputError, match=f"{KEY} is not set"):
        signing_key()
    monkeypatch.setenv(KEY, str(key))
    assert signing_key() == local
    assert not list(own_cache.iterdir())
    assert signed(small_picture(tmp_path / "a.png"), tmp_path / "b.png").valid
    strange = ed25519.Ed25519PrivateKey.generate()
    other.write_bytes(
        strange.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    )
    monkeypatch.setenv(KEY, str(other))
    with pytest.raises(InputError, match="not that of the first certificate"):
        signing_key()
    monkeypatch.setenv(KEY, str(chain))
    with pytest.raises(InputError, match="must be PEM files"):
        signing_key()
    monkeypatch.setenv(KEY, str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"none\.pem cannot be read"):
        signing_key()


def test_a_timestamp_server_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMESTAMPS, "http://127.0.0.1:9/none")
    with pytest.raises(OutputError, match="could not be signed"):
        signed(small_picture(tmp_path / "a.png"), tmp_path / "b.png")


def test_files_without_and_with_damaged_credentials(tmp_path: Path) -> None:
    picture = small_picture(tmp_path / "a.bmp")
    assert read_credential(picture) is None
    assert read_credential(small_picture(tmp_path / "b.png")) is None
    (tmp_path / "a.c2pa").write_bytes(b"nonsense")
    found = read_credential(picture)
    assert found is not None
    assert not found.valid
