"""Networks of timm and open_clip become encoders that see what the libraries see."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from made_networks import MEAN, SIDE_PX, STD, clip_folder, onnx, open_clip, timm, timm_folder, torch
from pixtag import images
from pixtag.cli.main import run
from pixtag.encoder import load_encoder
from pixtag.errors import ConfigError, InputError, ModelError, ShapeError
from pixtag.photos import embed_missing
from pixtag.pytorch.export import export, word_vectors
from pixtag.pytorch.networks import TorchEncoder, load_network
from pixtag.signals.words import Words, unpack
from pixtag.store import Store
from pixtag.types import Photo, Post
from test_encoder import EncoderContract, noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pixtag.encoder import OnnxEncoder
    from pixtag.pytorch.networks import Network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def photo(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    small.resize((160, 160), Image.Resampling.BICUBIC).save(folder / "photo.png")
    return folder / "photo.png"


@pytest.fixture(scope="module")
def timm_network(folder: Path) -> Network:
    return load_network(timm_folder(folder / "timm"))


@pytest.fixture(scope="module")
def clip_network(folder: Path) -> Network:
    return load_network(clip_folder(folder / "clip"))


@pytest.fixture(scope="module")
def timm_file(timm_network: Network, folder: Path) -> OnnxEncoder:
    return export(timm_network, folder / "timm.onnx")


@pytest.fixture(scope="module")
def clip_file(clip_network: Network, folder: Path) -> OnnxEncoder:
    words = word_vectors(clip_network, tags=["goldenretriever", "naïve"], n_words=300)
    return export(clip_network, folder / "clip.onnx", words=words)


def seen(encoder: OnnxEncoder, photo: Path) -> np.ndarray:
    side, how = encoder.input_px, encoder.interpolation
    return encoder.embed(images.decode(photo, target_px=side, interpolation=how)[None])[0]


class TestTimm(EncoderContract):
    @pytest.fixture
    def encoder(self, timm_file: OnnxEncoder) -> OnnxEncoder:
        return timm_file

    def test_a_photo_is_seen_as_timm_sees_it(
        self, encoder: OnnxEncoder, timm_network: Network, folder: Path, photo: Path
    ) -> None:
        network = timm.create_model(
            f"local-dir:{folder / 'timm'}", pretrained=True, num_classes=0
        ).eval()
        config = timm.data.resolve_data_config({}, model=network)
        prepared = timm.data.create_transform(**config)(Image.open(photo).convert("RGB"))
        with torch.inference_mode():
            expected = network(prepared[None]).numpy()[0]
        assert (encoder.input_px, timm_network.input_px) == (80, 80)  # their middle is seen: 64
        assert np.abs(seen(encoder, photo) - expected).max() < 1e-3 * np.abs(expected).max()

    def test_its_file_says_how_photos_are_prepared(
        self, encoder: OnnxEncoder, folder: Path
    ) -> None:
        model = onnx.load(folder / "timm.onnx")
        metadata = {one.key: one.value for one in model.metadata_props}
        assert json.loads(metadata["image_mean"]) == pytest.approx(MEAN)
        assert json.loads(metadata["image_std"]) == pytest.approx(STD)
        assert json.loads(metadata["image_interpolation"]) == "bilinear"
        assert metadata["source"] == f"timm:local-dir:{folder / 'timm'}"
        assert load_encoder(folder / "timm.onnx").digest == encoder.digest
        assert encoder.words is None

    def test_the_same_network_gives_the_same_digest(
        self, encoder: OnnxEncoder, timm_network: Network, folder: Path
    ) -> None:
        assert export(timm_network, folder / "again.onnx").digest == encoder.digest

    def test_pytorch_embeds_the_same_for_cuda(
        self, encoder: OnnxEncoder, timm_network: Network
    ) -> None:
        eyes, photos = TorchEncoder(timm_network, encoder.digest), noise(encoder.input_px)
        assert (eyes.width, eyes.input_px, eyes.interpolation) == (32, 80, "bilinear")
        assert np.abs(eyes.embed(photos) - encoder.embed(photos)).max() < 1e-3
        assert eyes.embed(photos[:0]).shape == (0, 32)
        with pytest.raises(ShapeError, match="80, 80, 3"):
            eyes.embed(photos[:, :64, :64])

    def test_weights_may_lie_in_a_file(
        self, timm_network: Network, encoder: OnnxEncoder, tmp_path: Path
    ) -> None:
        torch.manual_seed(7)
        other = timm.create_model("test_resnet.r160_in1k", pretrained=False)
        torch.save(other.state_dict(), tmp_path / "weights.pth")
        network = load_network("timm:test_resnet.r160_in1k", weights=tmp_path / "weights.pth")
        for key, tensor in network.eyes.network.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[key])
        with pytest.raises(ModelError, match="the weights are not those of test_vit"):
            load_network("timm:test_vit.r160_in1k", weights=tmp_path / "weights.pth")


def test_the_shipped_encoder_is_one_of_them() -> None:
    network, encoder = load_network("shipped"), load_encoder(n_threads=1)
    photos = noise(encoder.input_px)
    eyes = TorchEncoder(network, encoder.digest)
    assert (eyes.width, eyes.input_px, eyes.interpolation) == (1280, 224, "bilinear")
    assert np.abs(eyes.embed(photos) - encoder.embed(photos)).max() < 1e-3
    assert sum(p.numel() for p in network.eyes.parameters() if p.requires_grad) > 3_000_000


class TestClip(EncoderContract):
    @pytest.fixture
    def encoder(self, clip_file: OnnxEncoder) -> OnnxEncoder:
        return clip_file

    def test_a_photo_is_seen_as_open_clip_sees_it(
        self, encoder: OnnxEncoder, folder: Path, photo: Path
    ) -> None:
        clip, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder / 'clip'}")
        with torch.inference_mode():
            pixels = prepare(Image.open(photo))[None]
            expected = clip.eval().encode_image(pixels, normalize=True).numpy()[0]
        assert encoder.interpolation == "bicubic"
        assert seen(encoder, photo) @ expected > 0.999

    def test_words_are_texts_of_a_photo_of_each(self, encoder: OnnxEncoder, folder: Path) -> None:
        assert encoder.words is not None
        names, vectors = unpack(encoder.words)
        assert len(names) == 302
        texts = [f"a photo of {word}" for word in names[:300]]
        texts += ["a photo of golden retriever", "a photo of naïve"]
        clip = open_clip.create_model(f"local-dir:{folder / 'clip'}").eval()
        with torch.inference_mode():
            tokens = open_clip.get_tokenizer(f"local-dir:{folder / 'clip'}")(texts)
            expected = clip.encode_text(tokens, normalize=True).numpy()
        expected -= expected.mean(axis=0)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.abs(vectors - expected).max() < 2e-3
        words = Words(names, vectors)
        assert np.allclose(words.tag_vectors(["goldenretriever"])[0], vectors[300], atol=1e-3)
        assert np.allclose(words.tag_vectors(["naïve"])[0], vectors[301], atol=1e-3)

    def test_a_network_without_weights_is_refused(self, folder: Path) -> None:
        with pytest.raises(ModelError, match="cannot load clip:ViT-B-32"):
            load_network("clip:ViT-B-32")

    def test_photos_that_are_fitted_otherwise_are_noted(self, tmp_path: Path) -> None:
        network = load_network(
            clip_folder(tmp_path / "c", resize_mode="squash", interpolation="random")
        )
        assert network.input_px == SIDE_PX
        assert "'squash'" in network.notes[0]
        assert "bicubic" in network.notes[1]


@pytest.mark.parametrize("name", ["resnet50", "timm:", "keras:resnet50"])
def test_a_name_of_no_library(name: str) -> None:
    with pytest.raises(InputError, match="names no network") as caught:
        load_network(name)
    assert "clip:NAME:PRETRAINED" in caught.value.hint


def test_a_network_that_is_unknown_or_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("timm:no_such_network", "timm:test_vit.r160_in1k", "clip:none:none"):
        with pytest.raises(ModelError, match=f"cannot load {name}") as caught:
            load_network(name)
        assert "--weights" in caught.value.hint
    with pytest.raises(ModelError, match="No pretrained weights exist"):
        load_network("timm:coatnet_nano_cc_224")


def test_a_network_for_wide_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="photos of 64 x 32"):
        load_network(timm_folder(tmp_path / "t", input_size=[3, 32, 64]))


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("timm", "timm:resnet50", "'.[timm]'"), ("open_clip", "clip:RN50", "'.[clip]'")],
)
def test_a_library_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, missing: str, name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=missing) as caught:
        load_network(name)
    assert extra in caught.value.hint


def test_no_words_of_a_network_that_reads_none(timm_network: Network) -> None:
    with pytest.raises(InputError, match="reads no texts"):
        word_vectors(timm_network)


def test_the_command_makes_a_file_that_other_commands_take(
    folder: Path,
    clip_network: Network,
    photo: Path,
    pixtag: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts([Post("p", "ana", 1e9, ("a",), (Photo(str(photo), images.digest(photo)),))])
    (tmp_path / "tags.txt").write_text("goldenretriever\n")
    words = ["encoder", clip_network.name, "--out", "eyes.onnx", "--words", "20"]
    code = run([*words, "--tags", "tags.txt", "--embed", "--store", "s.sqlite"])
    said = capsys.readouterr().err
    assert code == 0, said
    assert "wrote eyes.onnx: 24 wide, 64 px" in said
    assert "21 words" in said
    assert "looked at 1 photos, 0 failed" in said
    encoder = load_encoder(tmp_path / "eyes.onnx")
    with Store.open(tmp_path / "s.sqlite", read_only=True) as store:
        kept = store.log(encoder.digest).embeddings[0]
    assert np.abs(kept - seen(encoder, photo)).max() < 1e-2
    assert pixtag("doctor", "s.sqlite", "--encoder", "eyes.onnx").returncode == 0
    assert run([*words[:3], "tags.txt", "--tags", "tags.txt"]) == 2
    assert "would be replaced" in capsys.readouterr().err


def test_embeddings_of_both_are_one(
    timm_file: OnnxEncoder, timm_network: Network, photo: Path, tmp_path: Path
) -> None:
    """What PyTorch embedded need not be embedded again by the file."""
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts([Post("p", "ana", 1e9, ("a",), (Photo(str(photo), images.digest(photo)),))])
        assert embed_missing(store, TorchEncoder(timm_network, timm_file.digest)).embedded == 1
        assert embed_missing(store, timm_file).embedded == 0
