"""An error in one text, as the store, the report and the command show it."""

from switchpoint.components.recipe.errors import BadInput, reason_of


def caught(error: BaseException) -> BaseException:
    try:
        raise error  # the line that is told
    except BaseException as raised:
        return raised


def test_an_error_without_a_message_is_told_by_its_line() -> None:
    said = reason_of(caught(AssertionError()))
    assert said.startswith(f"AssertionError in {__file__}:")
    assert said.endswith(": raise error  # the line that is told")
    assert reason_of(AssertionError()) == "AssertionError"


def test_other_errors_are_told_by_what_they_say() -> None:
    assert reason_of(caught(ValueError("too long"))) == "ValueError: too long"
    assert reason_of(caught(BadInput("too long", field="name", given=7))) == "name: too long\n  given:   7"
