"""What outputs say by default, without the extra, and when it is turned off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

import mien
from mien.media.still import Metadata, Still, open_still, read_still, write_still
from mien.pipelines import credits
from mien.provenance import verify
from mien.provenance.claim import SourceType, source_types_in
from mien.provenance.credential import can_sign
from mien.provenance.keys import CERTIFICATE
from mien.weights.store import CACHE_VARIABLE

from ..command import mien as command


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))


def test_a_picture_says_what_it_is(demo_face: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.jpg"
    report = mien.edit(demo_face, output, "sad")
    credential = "embedded" if can_sign() else ""
    said = report.to_dict()["provenance"]
    assert (said["wanted"], said["credential"], said["metadata"]) == (True, credential, True)
    shown = command("verify", output, cache=tmp_path / "cache")
    assert shown.returncode == 0
    assert "Metadata: a recording changed with AI." in shown.stdout
    assert "Mark of mien: found" in shown.stdout
    assert list(tmp_path.glob("*.jpg")) == [output]
    found = json.loads(command("verify", output, "--json", cache=tmp_path / "cache").stdout)
    assert found["says_ai"]
    assert found["mark"]["present"]
    if not can_sign():
        return
    assert "Content Credential: intact, signed by mien on this computer" in shown.stdout
    assert "opened, edited; a recording changed with AI" in shown.stdout
    data = bytearray(output.read_bytes())
    data[-3000] ^= 1
    output.write_bytes(data)
    changed = command("verify", output, cache=tmp_path / "cache")
    assert changed.returncode == 1
    assert "BROKEN" in changed.stdout


def test_turned_off_an_output_says_nothing_and_the_report_says_so(
    demo_face: Path, tmp_path: Path
) -> None:
    done = command(
        "edit", demo_face, "-o", tmp_path / "a.png", "-e", "sad", "--no-provenance", "--json",
        cache=tmp_path / "cache",
    )  # fmt: skip
    assert json.loads(done.stdout)["provenance"] == {
        "wanted": False, "credential": "", "signer": "", "metadata": False, "mark": False,
        "label": "",
    }  # fmt: skip
    found = mien.verify(tmp_path / "a.png")
    assert (found.credential, found.metadata, found.says_ai) == (None, (), False)
    assert not (tmp_path / "cache" / "signing.pem").exists()


def test_without_the_extra_metadata_say_it(
    demo_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = tmp_path / "signed.png"
    mien.edit(demo_face, signed, "sad")
    for module in (credits, verify):
        monkeypatch.setattr(module, "can_sign", lambda: False)
    report = mien.edit(demo_face, tmp_path / "a.png", "sad")
    assert (report.provenance.credential, report.provenance.metadata) == ("", True)
    found = mien.verify(tmp_path / "a.png")
    assert (found.credential, found.unread) == (None, False)
    assert found.metadata == (SourceType.EDITED.value,)
    if can_sign():
        assert mien.verify(signed).unread
    monkeypatch.setenv(CERTIFICATE, "somewhere.pem")
    with pytest.raises((mien.InputError, mien.MissingExtraError)):
        mien.edit(demo_face, tmp_path / "b.png", "sad")


@pytest.mark.slow
def test_clips_of_every_container(short_clip: Path, tmp_path: Path) -> None:
    for suffix, place in ((".mkv", "sidecar"), (".mov", "embedded")):
        output = tmp_path / f"a{suffix}"
        report = mien.edit(short_clip, output, "happy", label="de")
        assert report.provenance.label == "AI · mit KI bearbeitet"
        with av.open(str(output)) as container:
            tags = {key.lower(): value for key, value in container.metadata.items()}
            frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert source_types_in(tags["comment"]) == (SourceType.EDITED.value,)
        corner = frame[10:40, 10:240]
        assert (corner > 200).mean() > 0.03  # the letters
        assert np.median(corner) < 128  # on a dark field; the clip is light there
        if can_sign():
            assert report.provenance.credential == place
            assert (tmp_path / "a.c2pa").exists()
            said = [warning for warning in report.warnings if "a.c2pa" in warning]
            assert len(said) == (place == "sidecar")
            found = verify.read_credential(output)
            assert found is not None
            assert (found.valid, found.sidecar) == (True, place == "sidecar")


def test_a_label_in_no_language(demo_face: Path, tmp_path: Path) -> None:
    with pytest.raises(mien.InputError, match="no label in 'xx'. Valid: de, en"):
        mien.edit(demo_face, tmp_path / "a.png", "sad", label="xx")
    with pytest.raises(mien.InputError, match="must be True or False"):
        mien.edit(demo_face, tmp_path / "a.png", "sad", provenance="no")  # type: ignore[arg-type]


def test_a_failed_signature_leaves_nothing(
    demo_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_sign():
        pytest.skip("the extra provenance is not installed")

    def fail(*_: object) -> None:
        raise mien.OutputError("no signature")

    monkeypatch.setattr(credits, "seal", fail)
    with pytest.raises(mien.OutputError, match="no signature"):
        mien.edit(demo_face, tmp_path / "a.png", "sad")
    assert not list(tmp_path.iterdir())


def test_xmp_and_comments_of_the_input_stay(tmp_path: Path) -> None:
    own = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:source>here</dc:source>'
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    once = SourceType.EDITED.add_to_xmp(own)
    assert b"<dc:source>here</dc:source>" in once
    twice = SourceType.CREATED.add_to_xmp(once)
    assert source_types_in(twice.decode()) == (SourceType.CREATED.value,)
    assert b"<dc:source>here</dc:source>" in twice
    comment = SourceType.EDITED.add_to_comment("holiday")
    assert comment.splitlines()[0] == "holiday"
    assert SourceType.CREATED.add_to_comment(comment) == SourceType.CREATED.add_to_comment(
        "holiday"
    )
    picture = Still(np.zeros((32, 32, 3), np.uint8), metadata=Metadata(xmp=own))
    path = tmp_path / "a.tif"
    write_still(path, picture, add_xmp=SourceType.EDITED.add_to_xmp)
    assert open_still(path).metadata.xmp == once
    assert np.array_equal(read_still(path), picture.array)


def test_other_files(tmp_path: Path, demo_face: Path) -> None:
    sound = Path(mien.__file__).parent / "assets" / "demo" / "speech.ogg"
    found = mien.verify(sound)
    assert (found.mark, found.credential, found.says_ai) == (None, None, False)
    assert "no pictures" in found.in_words()[-1]
    plain = tmp_path / "plain.png"
    shutil.copy(demo_face, plain)  # a JPEG by content
    assert mien.verify(plain).in_words()[0] == "Content Credential: none."
    with pytest.raises(mien.InputError, match="no file"):
        mien.verify(tmp_path / "none.png")
