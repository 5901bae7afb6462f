"""Law 6: equal configurations have one digest, and what differs is named."""

from fractions import Fraction

import pytest

from switchpoint.components.recipe.digest import Identity, digest_of


def test_order_and_the_kind_of_number_play_no_part() -> None:
    assert digest_of({"a": 4, "b": [1.5]}) == digest_of({"b": [1.5], "a": 4.0})
    assert digest_of({"a": 4}) != digest_of({"a": 5})
    assert digest_of(Fraction(7, 10)) == digest_of("7/10")


def test_what_has_no_one_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        digest_of({"a": {1, 2}})


def test_an_input_decides_its_user_and_fields_name_it() -> None:
    text = Identity(kind="text", format=1, config={"content": "abc"})
    tokens = Identity(kind="tokens", format=1, config={"part": "code"}, inputs={"text": text})
    other = Identity(kind="tokens", format=2, config={"part": "code"}, inputs={"text": text})
    assert tokens.digest != other.digest
    assert tokens.fields() == {"format": 1, "part": "code", "text.format": 1, "text.content": "abc"}
