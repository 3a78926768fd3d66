"""Fine-tuning: it learns, ends the same after a break, and gives a file that commands take."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import handmade
from made_networks import clip_folder, timm_folder, torch
from pixtag import images
from pixtag.cli.main import run
from pixtag.encoder import load_encoder
from pixtag.errors import ModelError
from pixtag.images import digest
from pixtag.pytorch import FinetuneConfig
from pixtag.pytorch.examples import read_examples
from pixtag.pytorch.finetune import Finetuner
from pixtag.pytorch.networks import load_network
from pixtag.store import Store
from pixtag.types import Photo, Post

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixtag.pytorch.examples import Examples

LOOKS = [*handmade.LOOKS]
QUICK = FinetuneConfig(epochs=3, batch=16, learning_rate=3e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    """Posts of eight people; each look has its tags, and everybody signs."""
    paths = [handmade.photo(folder / f"{i}.jpg", LOOKS[i % 3], i) for i in range(45)]
    photos = [Photo(str(path), digest(path)) for path in paths]
    posts: list[Post] = []
    for i in range(240):
        tags = (*handmade.LOOKS[LOOKS[i % 45 % 3]], f"by{i % 8}")
        posts.append(Post(f"p{i}", f"u{i % 8}", 1e9 + 1e4 * i, tags, (photos[i % 45],)))
    with Store.open(folder / "s.sqlite", create=True) as opened:
        opened.add_posts(posts)
    return folder / "s.sqlite"


@pytest.fixture(scope="module")
def examples(store: Path) -> Examples:
    with Store.open(store, read_only=True) as opened:
        return read_examples(opened, most_tags=100, use_all=False)


def tuner(
    folder: Path, examples: Examples, partial: Path, config: FinetuneConfig = QUICK
) -> Finetuner:
    return Finetuner(load_network(timm_folder(folder / "timm")), examples, config, partial)


def weights(one: Finetuner) -> dict[str, np.ndarray]:
    return {name: t.numpy() for name, t in one.network.eyes.state_dict().items()}


@pytest.fixture(scope="module")
def unbroken(folder: Path, examples: Examples) -> Finetuner:
    one = tuner(folder, examples, folder / "unbroken.partial")
    one.run()
    return one


def test_later_posts_are_told_better_by_epoch(unbroken: Finetuner, examples: Examples) -> None:
    assert len(unbroken.losses) == QUICK.epochs
    assert unbroken.losses[-1] < 0.8 * unbroken.losses[0]
    told: list[float] = []
    unbroken.network.eyes.eval()
    for post in examples.validation[:12]:
        side = unbroken.network.input_px
        pixels = images.decode(Path(post.photos[0].path), target_px=side)
        with torch.inference_mode():
            seen = unbroken.network.eyes(unbroken.network.normalised(pixels[None], "cpu"))
            logits = unbroken._net["top"](seen)[0].numpy()
        best = examples.vocabulary[int(np.argmax(logits))]
        told.append(best in post.tags)
    assert np.mean(told) > 0.9


def test_after_ctrl_c_it_goes_on_and_ends_the_same(
    folder: Path, examples: Examples, unbroken: Finetuner
) -> None:
    def press(step: int, n_steps: int, note: str) -> None:
        if step == unbroken.steps_an_epoch + 2:
            os.kill(os.getpid(), signal.SIGINT)

    broken = tuner(folder, examples, folder / "broken.partial")
    with pytest.raises(KeyboardInterrupt):
        broken.run(press)
    again = tuner(folder, examples, folder / "broken.partial")
    assert again.step == unbroken.steps_an_epoch + 2
    seen: list[int] = []
    again.run(lambda step, n_steps, note: seen.append(step))
    assert seen == [*range(unbroken.steps_an_epoch + 3, unbroken.n_steps + 1)]
    assert again.losses == unbroken.losses
    for name, expected in weights(unbroken).items():
        assert np.array_equal(weights(again)[name], expected), name


def test_a_run_is_kept_now_and_then(folder: Path, examples: Examples) -> None:
    partial = folder / "often.partial"
    kept: list[bool] = []

    def look(step: int, n_steps: int, note: str) -> None:
        kept.append(partial.exists())
        if step == 3:
            raise MemoryError

    often = QUICK.model_copy(update={"checkpoint_minutes": 0.0})
    with pytest.raises(MemoryError):
        tuner(folder, examples, partial, often).run(look)
    assert kept == [False, True, True]
    assert tuner(folder, examples, partial).step == 2  # how often is no part of the plan
    other = QUICK.model_copy(update={"epochs": 2})
    assert tuner(folder, examples, partial, other).step == 0
    partial.write_bytes(b"damaged")
    assert tuner(folder, examples, partial).step == 0


def test_photos_that_cannot_be_read_are_left_out(folder: Path, examples: Examples) -> None:
    gone = Photo(str(folder / "gone.jpg"), "0" * 64)
    posts = [replace(p, photos=(gone,)) if i % 5 == 0 else p for i, p in enumerate(examples.train)]
    short = QUICK.model_copy(update={"epochs": 1})
    one = tuner(folder, replace(examples, train=posts), folder / "gone.partial", short)
    one.run()
    assert np.isfinite(one.losses).all()
    assert 0 < one.n_unread <= len(posts) / 5
    none = replace(examples, train=[replace(p, photos=(gone,)) for p in examples.train])
    with pytest.raises(ModelError, match="no photo could be read"):
        tuner(folder, none, folder / "none.partial", short).run()


def test_a_learning_rate_that_is_too_high_is_said(folder: Path, examples: Examples) -> None:
    wild = QUICK.model_copy(update={"learning_rate": 1.0, "epochs": 30})
    one = tuner(folder, examples, folder / "wild.partial", wild)
    with torch.no_grad():
        next(iter(one.network.eyes.parameters())).fill_(float("nan"))
    with pytest.raises(ModelError, match="the loss is nan") as caught:
        one.run()
    assert "learning_rate" in caught.value.hint


@pytest.mark.parametrize("kind", ["timm", "clip"])
def test_the_command_makes_an_encoder_for_the_others(
    kind: str,
    folder: Path,
    store: Path,
    examples: Examples,
    pixtag: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXTAG_FINETUNE_BATCH", "32")
    made = timm_folder if kind == "timm" else clip_folder
    words = ["finetune", made(folder / kind), "--store", str(store), "--out", "mine.onnx"]
    assert run([*words, "--epochs", "1"]) == 0
    said = capsys.readouterr().err
    assert f"learning {len(examples.vocabulary)} tags on {len(examples.train)} posts" in said
    assert "wrote mine.onnx" in said
    assert "loss on later posts by epoch" in said
    assert not (tmp_path / "mine.onnx.partial").exists()
    assert load_encoder(tmp_path / "mine.onnx").words is None
    (tmp_path / "posts.jsonl").write_text(
        f'{{"post_id": "p", "image": "{folder / "1.jpg"}", "tags": ["a"]}}\n'
    )
    taken = ("import", "posts.jsonl", "--store", "new.sqlite", "--encoder", "mine.onnx")
    assert pixtag(*taken).returncode == 0
    assert pixtag("doctor", "new.sqlite", "--encoder", "mine.onnx").returncode == 0


def test_too_little_is_said_by_the_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.open(tmp_path / "empty.sqlite", create=True).close()
    name = timm_folder(folder / "timm")
    where = ["--store", str(tmp_path / "empty.sqlite"), "--out", str(tmp_path / "mine.onnx")]
    assert run(["finetune", name, *where]) == 1
    assert "too little to learn from" in capsys.readouterr().err
