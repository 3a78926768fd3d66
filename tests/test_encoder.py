"""The shipped encoder, its classes, and ONNX files that are none."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from pixtag import images
from pixtag.encoder import (
    OnnxEncoder,
    class_logits,
    class_names,
    class_synonyms,
    load_encoder,
)
from pixtag.errors import ModelError, ShapeError

SAMPLES = Path(__file__).parent.parent / "samples"
SHIPPED = Path(__file__).parent.parent / "src" / "pixtag" / "data" / "encoder.onnx"


@pytest.fixture(scope="module")
def shipped() -> OnnxEncoder:
    return load_encoder(n_threads=2)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    rng = np.random.default_rng(0)
    made: list[np.ndarray] = []
    for side in (3, 5, 9, 17, 33):
        noise = Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        noise.resize((300, 300)).save(buffer, "PNG")
        made.append(images.decode(buffer.getvalue()))
    return np.stack(made)


class TestEmbedding:
    def test_shape_and_type(self, shipped: OnnxEncoder, photos: np.ndarray) -> None:
        embeddings = shipped.embed(photos)
        assert embeddings.shape == (len(photos), shipped.width) == (5, 1280)
        assert embeddings.dtype == np.float32
        assert np.isfinite(embeddings.astype(np.float16)).all()

    def test_no_photos(self, shipped: OnnxEncoder) -> None:
        assert shipped.embed(np.empty((0, 224, 224, 3), np.uint8)).shape == (0, 1280)

    def test_a_photo_does_not_depend_on_its_batch(
        self, shipped: OnnxEncoder, photos: np.ndarray
    ) -> None:
        together = shipped.embed(photos)
        alone = np.concatenate([shipped.embed(photo[None]) for photo in photos[::-1]])[::-1]
        assert np.abs(together - alone).max() < 1e-4

    def test_threads_do_not_matter(self, shipped: OnnxEncoder, photos: np.ndarray) -> None:
        single = shipped.with_threads(1)
        assert single.digest == shipped.digest
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(single.embed, [photos] * 4))
        for result in results:
            assert np.abs(result - shipped.embed(photos)).max() < 1e-4

    def test_preparation_is_that_of_the_weights(
        self, shipped: OnnxEncoder, photos: np.ndarray
    ) -> None:
        pixels = (photos.astype(np.float32) / 255 - 0.5) / 0.5
        session = onnxruntime.InferenceSession(str(SHIPPED), providers=["CPUExecutionProvider"])
        (expected,) = session.run(["embedding"], {"pixels": pixels.transpose(0, 3, 1, 2)})
        assert np.abs(shipped.embed(photos) - np.asarray(expected)).max() < 1e-3

    @pytest.mark.parametrize("shape", [(224, 224, 3), (1, 224, 224, 4), (1, 3, 224, 224)])
    def test_another_shape_is_refused(self, shipped: OnnxEncoder, shape: tuple[int, ...]) -> None:
        with pytest.raises(ShapeError, match="224, 224, 3"):
            shipped.embed(np.zeros(shape, np.uint8))

    if find_spec("openvino"):

        def test_openvino_sees_the_same(self, shipped: OnnxEncoder, photos: np.ndarray) -> None:
            other = load_encoder(n_threads=2, backend="openvino")
            assert other.digest == shipped.digest
            assert (other.width, other.input_px) == (shipped.width, shipped.input_px)
            assert np.abs(other.embed(photos) - shipped.embed(photos)).max() < 1e-2


class TestClasses:
    def test_logits_from_embeddings_are_those_of_the_graph(
        self, shipped: OnnxEncoder, photos: np.ndarray
    ) -> None:
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

    def test_another_width_is_refused(self) -> None:
        with pytest.raises(ShapeError, match="1280"):
            class_logits(np.zeros((2, 512), np.float32))

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


class TestLoading:
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

    def test_a_file_is_as_good_as_the_shipped_one(
        self, shipped: OnnxEncoder, photos: np.ndarray
    ) -> None:
        own = load_encoder(SHIPPED)
        assert own.digest == shipped.digest
        assert np.abs(own.embed(photos) - shipped.embed(photos)).max() < 1e-4

    def test_openvino_where_it_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(ModelError, match="OpenVINO") as caught:
            load_encoder(backend="openvino")
        assert "pip install" in caught.value.hint
