"""Names that MLflow does not take become others that it takes, readable, and no two the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from switchpoint.components.tracking.curve import metric_name
from switchpoint.components.tracking.names import MAX_CHARACTERS, taken_name


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("bits_per_byte.web@high", "bits_per_byte.web.high"),
        ("bits_per_byte.category.Web (filtered)", "bits_per_byte.category.Web _0x28_filtered_0x29_"),
        ("bits_per_byte.category.web@home", "bits_per_byte.category.web_0x40_home"),
        ("bits_per_byte.category.น้ำ", "bits_per_byte.category.น_0xe49_ำ"),  # the tone mark is no letter
        ("bits_per_byte.category.books/fiction", "bits_per_byte.category.books/fiction"),
        ("bits_per_byte.category.books//fiction", "bits_per_byte.category.books_0x2f__0x2f_fiction"),
        ("category_0x28_", "category_0x5f_0x28_"),
    ],
)
def test_names_as_mlflow_has_them(name: str, taken: str) -> None:
    assert metric_name(name) == taken


NAMES = st.text(st.sampled_from("aU0x28f_/.()-: @น้\n") | st.characters(), max_size=30)


@given(one=NAMES, other=NAMES)
@example(one="_0x28", other="_0x28(")
@example(one="a/b", other="a_0x2f_b")
@example(one="_0x28_", other="(")
@example(one="x" * 400, other="x" * 401)
def test_mlflow_takes_every_name_and_no_two_become_one(one: str, other: str) -> None:
    for name in (one, other):
        taken = taken_name(f"score.{name}")
        _validate_metric_name(f"{taken}.stderr")
        assert len(taken) <= MAX_CHARACTERS
    assert (taken_name(one) == taken_name(other)) == (one == other)
