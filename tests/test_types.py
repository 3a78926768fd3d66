"""Posts that cannot be."""

from __future__ import annotations

import pytest

from pixtag.errors import InputError
from pixtag.types import Post


def test_a_post_with_a_tag_twice_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="post 'p1' has the tag 'tea' twice") as caught:
        Post("p1", "ana", 1.0, ("sea", "tea", "sun", "tea"))
    assert caught.value.hint
    assert Post("p1", "ana", 1.0, ("sea", "tea")).tags == ("sea", "tea")
