"""The one error that a user causes."""

import traceback
from collections.abc import Iterable


class BadInput(ValueError):
    """What a user gave cannot be used: shown as one message, exit code 2, nothing written.

    The message names the file, the line where it is known, the field, what was given and what is allowed.
    """

    def __init__(
        self, problem: str, *, file: str = "", field: str = "", given: object = "", allowed: object = "",
        line: int | None = None,
    ) -> None:  # fmt: skip
        self.problem, self.file, self.field, self.line = problem, file, field, line
        self.given, self.allowed = str(given), str(allowed)
        place = ": ".join(part for part in (f"{file}:{line}" if line else file, field) if part)
        lines = [f"{place}: {problem}" if place else problem]
        lines += [f"  given:   {self.given}"] * bool(self.given)
        lines += [f"  allowed: {self.allowed}"] * bool(self.allowed)
        super().__init__("\n".join(lines))

    def at(self, file: str, field: str = "", line: int | None = None) -> "BadInput":
        """Return the same problem, with its position."""
        return BadInput(
            self.problem, file=file or self.file, field=field or self.field, given=self.given, allowed=self.allowed,
            line=line,
        )  # fmt: skip


class BadInputs(BadInput):
    """Several problems at once."""

    def __init__(self, problems: Iterable[BadInput]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(dict.fromkeys(str(problem) for problem in self.problems)))


def raise_all(problems: list[BadInput]) -> None:
    """Raise the problems that were found, if there are any."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise BadInputs(problems)


def reason_of(error: BaseException) -> str:
    """Return an error in one text: the message of bad input as it is, of others behind their type. One without a
    message is told by its line of code.
    """
    if isinstance(error, BadInput):
        return str(error)
    if str(error):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}{place}"
