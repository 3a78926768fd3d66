"""Fine-tuning: a network learns on a store's photos which tags people put on them.

Shapes:
    B: photos of a batch. P: side of the pixels. D: embedding width. V: vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pixtag import images
from pixtag.encoder import n_processors
from pixtag.errors import ImageError, ModelError
from pixtag.outputs import replacing
from pixtag.pytorch import FinetuneConfig, library
from pixtag.pytorch.examples import Examples
from pixtag.pytorch.networks import Network, best_device, torch
from pixtag.types import Post

safetensors: Any = library("safetensors.torch", extra="finetune")

HEAD_FASTER = 20.0  # the layer of tags is new, the network only changes
WEIGHT_DECAY, DROPOUT, LARGEST_GRADIENT = 0.05, 0.3, 1.0
WARM_SHARE = 0.1  # of all steps, while the learning rate rises
MARGIN = 1.125  # photos are decoded so much larger than they are seen, and cut at random
BATCHES_AHEAD = 2  # decoded while one is learned from

Batch = tuple[NDArray[np.uint8], list[Post]]
OnProgress = Callable[[int, int, str], None]


class Finetuner:
    """A run: the network with a layer of tags on it, how far it is, and its file.

    The file `OUT.partial` holds all that is needed to go on; the same call takes it up and ends
    with the same network as an unbroken run. On CUDA it computes in bfloat16 where that is safe,
    with the weights in float32.

    Args:
        network: Changed in place.
        examples: From `read_examples`.
        config: Knobs.
        partial: The run's file; one of another plan is begun anew.
    """

    def __init__(
        self, network: Network, examples: Examples, config: FinetuneConfig, partial: Path
    ) -> None:
        self.network, self.examples, self.config, self.partial = network, examples, config, partial
        self.device = best_device()
        torch.manual_seed(config.seed)
        head = torch.nn.Linear(network.width, len(examples.vocabulary))
        odds = np.clip(examples.share, 1e-4, 0.5)
        with torch.no_grad():
            head.bias.copy_(torch.from_numpy(np.log(odds / (1 - odds))))
        norm = torch.nn.LayerNorm(network.width)
        top = torch.nn.Sequential(norm, torch.nn.Dropout(DROPOUT), head)
        self._net = torch.nn.ModuleDict({"eyes": network.eyes, "top": top}).to(self.device)
        # A fifth quicker than one colour after the other, on CPU
        self._net.to(memory_format=torch.channels_last)
        rates = {"eyes": config.learning_rate, "top": config.learning_rate * HEAD_FASTER}
        self._optimizer = torch.optim.AdamW(
            [{"params": [*self._net[k].parameters()], "lr": rate} for k, rate in rates.items()],
            weight_decay=WEIGHT_DECAY,
        )
        self._rates = [*rates.values()]
        self.batch = min(config.batch, len(examples.train))
        self.steps_an_epoch = len(examples.train) // self.batch
        self.n_steps = config.epochs * self.steps_an_epoch
        self.step, self.n_unread = 0, 0
        self.losses: list[float] = []  # on the validation posts after each epoch
        self._best: dict[str, Any] = {}
        self._load()

    @property
    def plan(self) -> str:
        """Digest of everything that decides the result."""
        posts = [
            (post.post_id, post.user_id, post.tags, [photo.digest for photo in post.photos])
            for post in (*self.examples.train, *self.examples.validation)
        ]
        network = [self.network.name, self.network.input_px, *self.network.mean, *self.network.std]
        config = self.config.model_dump(mode="json", exclude={"checkpoint_minutes"})
        parts = [posts, self.examples.vocabulary, network, config, torch.__version__]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def run(self, on_progress: OnProgress | None = None) -> None:
        """Learn to the end, with the network of the epoch that was best on the validation posts.

        KeyboardInterrupt: Ctrl-C was pressed; the step was finished and everything is kept.
        """
        saved_s = time.monotonic()
        loss = None
        with _interrupts_wait() as interrupted:
            for pixels, posts in self._batches():
                if len(posts) > 1:  # of one there is no spread, which some networks need
                    loss = self._learn(pixels, posts)
                self.step += 1
                self.n_unread += self.batch - len(posts)
                if on_progress is not None:
                    note = "learning" if loss is None else f"learning, loss {loss:.3f}"
                    on_progress(self.step, self.n_steps, note)
                is_epoch = self.step % self.steps_an_epoch == 0
                if is_epoch and loss is None:
                    hint = "`pixtag doctor` tells what is wrong with the photos of a store"
                    raise ModelError("no photo could be read", hint=hint)
                if is_epoch:
                    self._judge()
                    loss = None
                late = time.monotonic() - saved_s > self.config.checkpoint_minutes * 60
                is_over = interrupted.is_set()
                if is_epoch or late or is_over:
                    self._save()
                    saved_s = time.monotonic()
                if is_over:
                    raise KeyboardInterrupt
        if self._best:
            self._net["eyes"].load_state_dict(self._best)
        self.network.eyes.eval()

    def _learn(self, pixels: NDArray[np.uint8], posts: Sequence[Post]) -> float:
        self._net.train()
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        warm = max(1, round(WARM_SHARE * self.n_steps))
        rest = (self.step - warm) / max(1, self.n_steps - warm)
        part = (self.step + 1) / warm if self.step < warm else 0.5 + 0.5 * math.cos(math.pi * rest)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * part
        loss = self._loss(pixels, posts)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            hint = "lower learning_rate in the table [finetune] of the settings"
            raise ModelError(f"the loss is {value} at step {self.step}", hint=hint)
        return value

    def _loss(self, pixels: NDArray[np.uint8], posts: Sequence[Post]) -> Any:
        wanted, weight = (torch.from_numpy(a).to(self.device) for a in self.examples.targets(posts))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            seen = self.network.normalised(pixels, self.device)
            seen = seen.contiguous(memory_format=torch.channels_last)
            logits = self._net["top"](self._net["eyes"](seen))
        cells = torch.nn.functional.binary_cross_entropy_with_logits(
            logits.float(), wanted, weight=weight, reduction="sum"
        )
        return cells / len(posts)

    def _judge(self) -> None:
        """Measure on the validation posts; keep the network when it is better than before."""
        self._net.eval()
        total, n, size = 0.0, 0, self.batch
        posts = self.examples.validation
        work = [posts[at : at + size] for at in range(0, len(posts), size)]
        with torch.inference_mode():
            for pixels, part in _decoded([(p, None) for p in work], self.network):
                if part:
                    total += float(self._loss(pixels, part)) * len(part)
                    n += len(part)
        if not n:
            return
        self.losses.append(total / n)
        if self.losses[-1] <= min(self.losses):
            state = self._net["eyes"].state_dict()
            self._best = {name: tensor.cpu().clone() for name, tensor in state.items()}

    def _batches(self) -> Iterator[Batch]:
        """The batches from `step` on, in an order that seed and epoch decide."""
        work: list[tuple[list[Post], int | None]] = []
        train, n = self.examples.train, self.steps_an_epoch
        for epoch in range(self.step // n, self.config.epochs):
            order = np.random.default_rng((self.config.seed, epoch)).permutation(len(train))
            for place in range(self.step % n if epoch == self.step // n else 0, n):
                rows = order[place * self.batch : (place + 1) * self.batch]
                work.append(([train[i] for i in rows], epoch * n + place))
        return _decoded(work, self.network, seed=self.config.seed)

    def _save(self) -> None:
        tensors = {f"net/{k}": t for k, t in self._net.state_dict().items()}
        tensors |= {f"best/{k}": t for k, t in self._best.items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{k}": torch.as_tensor(t) for k, t in state.items()}
        whole = {
            name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()
        }
        notes = {"plan": self.plan, "step": str(self.step), "losses": json.dumps(self.losses)}
        with replacing(self.partial) as file:
            file.write(safetensors.save(whole, notes))

    def _load(self) -> None:
        """Take up what an earlier run of the same plan left, if any."""
        tensors: dict[str, Any] = {}
        notes: dict[str, str] = {}
        with suppress(SafetensorError, OSError), safe_open(self.partial, framework="pt") as file:
            notes = file.metadata() or {}
            if notes.get("plan") == self.plan:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not tensors:
            return
        self.step, self.losses = int(notes["step"]), json.loads(notes["losses"])
        parts: dict[str, dict[str, Any]] = {"net": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        self._net.load_state_dict(parts["net"])
        self._best = parts["best"]
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})


def _decoded(
    work: Sequence[tuple[list[Post], int | None]], network: Network, *, seed: int = 0
) -> Iterator[Batch]:
    """Decode batches some ahead: pixels `[B, P, P, 3]` and posts, without what cannot be read.

    With a step's number a photo of each post, its part and its side are drawn by chance.
    """
    waiting: deque[list[Future[images.Pixels | None]]] = deque()
    with ThreadPoolExecutor(n_processors(), thread_name_prefix="photos") as pool:
        try:
            for place, (posts, _) in enumerate(work):
                for coming, step in work[place + len(waiting) : place + 1 + BATCHES_AHEAD]:
                    keys = [None if step is None else (seed, step, i) for i in range(len(coming))]
                    pairs = zip(coming, keys, strict=True)
                    waiting.append([pool.submit(_pixels, p, network, key) for p, key in pairs])
                found = [one.result() for one in waiting.popleft()]
                kept = [(p, post) for p, post in zip(found, posts, strict=True) if p is not None]
                side = network.input_px
                pixels = np.zeros((len(kept), side, side, 3), np.uint8)
                for row, (one, _) in enumerate(kept):
                    pixels[row] = one
                yield pixels, [post for _, post in kept]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _pixels(post: Post, network: Network, key: tuple[int, int, int] | None) -> images.Pixels | None:
    side = network.input_px
    rng = None if key is None else np.random.default_rng(key)
    photo = post.photos[0 if rng is None else int(rng.integers(len(post.photos)))]
    large = side if rng is None else round(side * MARGIN)
    try:
        found = images.decode(
            Path(photo.path), target_px=large, interpolation=network.interpolation
        )
    except ImageError:
        return None
    if rng is None:
        return found
    top, left = rng.integers(0, large - side + 1, 2)
    cut = found[top : top + side, left : left + side]
    return cut[:, ::-1] if rng.random() < 0.5 else cut


@contextmanager
def _interrupts_wait() -> Generator[threading.Event]:
    """Let the first Ctrl-C set an event only, so that what it meets in the middle is finished."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
