"""Encoders: the contract that each keeps, the shipped one, and files that are none."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import pixtag
from handmade import class_names
from onnx_file import HALF, write_mean_colour
from pixtag import images
from pixtag.encoder import SHIPPED_DIGEST, OnnxEncoder, class_synonyms, classifier, load_encoder
from pixtag.errors import ModelError, ShapeError
from pixtag.signals.words import unpack
from pixtag.store import Store

DATA = Path(pixtag.__file__).parent / "data"
SHIPPED = DATA / "encoder.onnx"
SAMPLES = Path(__file__).parent.parent / "samples"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def shipped() -> OnnxEncoder:
    return load_encoder(n_threads=2)


def noise(side_px: int) -> np.ndarray:
    """Five photos of noise, from coarse to fine, `[5, P, P, 3]`."""
    rng = np.random.default_rng(0)
    made: list[np.ndarray] = []
    for side in (3, 5, 9, 17, 33):
        picture = Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        picture.resize((300, 300)).save(buffer, "PNG")
        made.append(images.decode(buffer.getvalue(), target_px=side_px))
    return np.stack(made)


class EncoderContract:
    """What every encoder keeps to: a subclass gives the fixture `encoder`."""

    @pytest.fixture
    def photos(self, encoder: OnnxEncoder) -> np.ndarray:
        return noise(encoder.input_px)

    def test_shape_and_type(self, encoder: OnnxEncoder, photos: np.ndarray) -> None:
        embeddings = encoder.embed(photos)
        assert embeddings.shape == (len(photos), encoder.width)
        assert embeddings.dtype == np.float32
        assert np.isfinite(embeddings.astype(np.float16)).all()  # as the store keeps them
        assert np.ptp(embeddings, axis=0).max() > 0

    def test_no_photos(self, encoder: OnnxEncoder) -> None:
        side = encoder.input_px
        assert encoder.embed(np.empty((0, side, side, 3), np.uint8)).shape == (0, encoder.width)

    def test_a_photo_does_not_depend_on_its_batch(
        self, encoder: OnnxEncoder, photos: np.ndarray
    ) -> None:
        together = encoder.embed(photos)
        alone = np.concatenate([encoder.embed(photo[None]) for photo in photos[::-1]])[::-1]
        assert np.abs(together - alone).max() < 1e-4

    def test_threads_do_not_matter(self, encoder: OnnxEncoder, photos: np.ndarray) -> None:
        single = encoder.with_threads(1)
        assert single.digest == encoder.digest
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(single.embed, [photos] * 4))
        for result in results:
            assert np.abs(result - encoder.embed(photos)).max() < 1e-4

    def test_another_shape_is_refused(self, encoder: OnnxEncoder) -> None:
        side = encoder.input_px
        for shape in ((side, side, 3), (1, side, side, 4), (1, 3, side, side), (1, 7, 7, 3)):
            with pytest.raises(ShapeError, match=f"{side}, {side}, 3"):
                encoder.embed(np.zeros(shape, np.uint8))


class TestShipped(EncoderContract):
    @pytest.fixture
    def path(self) -> None:
        return None

    @pytest.fixture
    def encoder(self, shipped: OnnxEncoder) -> OnnxEncoder:
        return shipped

    def test_its_measures_and_digest_stay(self, shipped: OnnxEncoder) -> None:
        assert (shipped.width, shipped.input_px) == (1280, 224)
        assert shipped.digest == SHIPPED_DIGEST

    def test_preparation_is_that_of_the_weights(
        self, shipped: OnnxEncoder, photos: np.ndarray
    ) -> None:
        pixels = (photos.astype(np.float32) / 255 - 0.5) / 0.5
        session = onnxruntime.InferenceSession(str(SHIPPED), providers=["CPUExecutionProvider"])
        (expected,) = session.run(["embedding"], {"pixels": pixels.transpose(0, 3, 1, 2)})
        assert np.abs(shipped.embed(photos) - np.asarray(expected)).max() < 1e-3


class TestAFileOfOnesOwn(EncoderContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        metadata = {"image_mean": MEAN, "image_std": STD, "author": "somebody"}
        return write_mean_colour(tmp_path / "tiny.onnx", metadata=metadata)

    @pytest.fixture
    def encoder(self, path: Path) -> OnnxEncoder:
        return load_encoder(path, n_threads=2)

    def test_preprocessing_travels_with_the_file(
        self, encoder: OnnxEncoder, photos: np.ndarray
    ) -> None:
        means = photos.reshape(len(photos), -1, 3).mean(axis=1)
        assert np.abs(encoder.embed(photos) - (means / 255 - MEAN) / STD).max() < 1e-4

    def test_another_preprocessing_is_another_digest(
        self, encoder: OnnxEncoder, tmp_path: Path
    ) -> None:
        plain = load_encoder(write_mean_colour(tmp_path / "plain.onnx"))
        assert plain.digest != encoder.digest
        pixels = np.full((1, 32, 32, 3), 255, np.uint8)
        assert np.allclose(plain.embed(pixels), 1)

    def test_how_photos_are_scaled_is_part_of_it(self, tmp_path: Path) -> None:
        digests: set[str] = set()
        for how in ("bilinear", "bicubic"):
            metadata = {"image_interpolation": how}
            encoder = load_encoder(write_mean_colour(tmp_path / "e.onnx", metadata=metadata))
            assert encoder.interpolation == how
            digests.add(encoder.digest)
        assert len(digests) == 2

    def test_words_travel_with_it(self, tmp_path: Path) -> None:
        plain = load_encoder(write_mean_colour(tmp_path / "plain.onnx"))
        assert plain.words is None
        words = {"red": [1, 0, 0], "grün": [0, 1, 0]}
        encoder = load_encoder(write_mean_colour(tmp_path / "words.onnx", words=words))
        assert encoder.words is not None
        names, vectors = unpack(encoder.words)
        assert names == ("red", "grün")
        assert vectors.tolist() == [*words.values()]
        wide = load_encoder(write_mean_colour(tmp_path / "wide.onnx", words={"red": [1, 0]}))
        with pytest.raises(ModelError, match=r"not \[N, 3\]"):
            _ = wide.words

    def test_an_import_embeds_with_it_and_doctor_looks_for_its_embeddings(
        self, pixtag, path: Path, encoder: OnnxEncoder, tmp_path: Path
    ) -> None:
        Image.new("RGB", (50, 40), (250, 120, 10)).save(tmp_path / "1.png")
        (tmp_path / "posts.jsonl").write_text('{"post_id": "p", "image": "1.png", "tags": ["a"]}\n')
        words = ("import", "posts.jsonl", "--store", "s.sqlite")
        done = pixtag(*words, "--encoder", path, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["embedding"]["embedded"] == 1
        with Store.open(tmp_path / "s.sqlite", read_only=True) as store:
            log = store.log(encoder.digest)
            assert not store.log(SHIPPED_DIGEST).has_photo.any()
        (expected,) = encoder.embed(images.decode(tmp_path / "1.png", target_px=32)[None])
        assert log.has_photo.all()
        assert np.abs(log.embeddings[0] - expected).max() < 0.01

        assert pixtag("doctor", "s.sqlite").returncode == 1
        assert pixtag("doctor", "s.sqlite", "--encoder", path).returncode == 0
        by_setting = pixtag("doctor", "s.sqlite", env={"PIXTAG_ENCODER": str(path)})
        assert by_setting.returncode == 0, by_setting.stderr


class TestClasses:
    def test_logits_from_embeddings_are_those_of_the_graph(self, shipped: OnnxEncoder) -> None:
        photos = noise(224)
        pixels = (photos.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)
        session = onnxruntime.InferenceSession(str(SHIPPED), providers=["CPUExecutionProvider"])
        (expected,) = session.run(["logits"], {"pixels": pixels})
        got = class_logits(shipped.embed(photos).astype(np.float16))
        assert np.abs(got - np.asarray(expected)).max() < 0.02

    def test_each_class_has_its_own_name(self) -> None:
        assert len(set(class_names())) == 1000
        assert class_names()[0] == "tench"
        assert class_names()[999] == "toilet tissue"
        assert class_synonyms()[282] == ("tiger cat",)

    @pytest.mark.parametrize(
        ("photo", "names"),
        [
            ("cat.jpg", {"tabby", "tiger cat", "Egyptian cat"}),
            ("coffee.jpg", {"espresso", "cup"}),
            ("rocket.jpg", {"missile", "projectile"}),
        ],
    )
    def test_sample_photos_are_recognised(
        self, shipped: OnnxEncoder, photo: str, names: set[str]
    ) -> None:
        logits = class_logits(shipped.embed(images.decode(SAMPLES / photo)[None]))
        best = {class_names()[i] for i in np.argsort(-logits[0])[:3]}
        assert best & names

    @pytest.mark.shared
    def test_photos_of_bananas_are_bananas(self, shipped: OnnxEncoder, shared_data: Path) -> None:
        photos = sorted((shared_data / "photos" / "banana").glob("*.jpg"))
        logits = class_logits(shipped.embed(np.stack([images.decode(p) for p in photos])))
        right = np.mean([class_names()[i] == "banana" for i in logits.argmax(1)])
        assert right >= 0.8


def class_logits(embeddings: np.ndarray) -> np.ndarray:
    weight, bias = classifier()
    return embeddings.astype(np.float32) @ weight.T + bias


class TestLoading:
    def test_a_network_by_name_is_exported_first(self) -> None:
        with pytest.raises(ModelError, match="timm:resnet50") as caught:
            load_encoder(Path("timm:resnet50"))
        assert "pixtag encoder timm:resnet50 --out" in caught.value.hint

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"gone\.onnx"):
            load_encoder(tmp_path / "gone.onnx")

    @pytest.mark.parametrize("content", [b"", b"not a graph", SHIPPED.read_bytes()[:100_000]])
    def test_a_file_that_is_no_graph(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.onnx") as caught:
            load_encoder(path)
        assert "ONNX" in caught.value.hint

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"output": "features"}, "an output named `embedding`"),
            ({"batch": 1}, "a free batch size and a fixed side"),
            ({"side_px": "P"}, "a free batch size and a fixed side"),
            ({"element": HALF}, "not in float32"),
            ({"metadata": {"image_mean": 0.5}}, "image_mean is '0.5', not three numbers"),
            ({"metadata": {"image_std": [1, 0, 1]}}, "image_std has a zero"),
            ({"metadata": {"image_interpolation": "box"}}, "not bilinear or bicubic"),
        ],
    )
    def test_a_graph_of_another_shape(
        self, tmp_path: Path, options: dict[str, object], complaint: str
    ) -> None:
        path = write_mean_colour(tmp_path / "odd.onnx", **options)
        with pytest.raises(ModelError, match=complaint) as caught:
            load_encoder(path)
        assert caught.value.hint

    def test_a_wrong_encoder_leaves_no_store(self, pixtag, tmp_path: Path) -> None:
        (tmp_path / "posts.jsonl").write_text('{"post_id": "p", "tags": ["a"]}\n')
        done = pixtag("import", "posts.jsonl", "--store", "s.sqlite", "--encoder", "gone.onnx")
        assert done.returncode == 1
        assert "gone.onnx" in done.stderr
        assert not (tmp_path / "s.sqlite").exists()

    def test_a_file_is_as_good_as_the_shipped_one(self, shipped: OnnxEncoder) -> None:
        own = load_encoder(SHIPPED)
        assert own.digest == shipped.digest
        assert np.abs(own.embed(noise(224)) - shipped.embed(noise(224))).max() < 1e-4
