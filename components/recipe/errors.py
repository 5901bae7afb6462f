"""The one error that a user causes."""


class BadInput(ValueError):
    """What a user gave cannot be used: shown as one message, exit code 2, nothing written.

    The message names the file, the field, what was given and what is allowed.
    """

    def __init__(
        self, problem: str, *, file: str = "", field: str = "", given: object = "", allowed: object = ""
    ) -> None:
        self.problem, self.file, self.field = problem, file, field
        self.given, self.allowed = str(given), str(allowed)
        place = ": ".join(part for part in (file, field) if part)
        lines = [f"{place}: {problem}" if place else problem]
        lines += [f"  given:   {self.given}"] * bool(self.given)
        lines += [f"  allowed: {self.allowed}"] * bool(self.allowed)
        super().__init__("\n".join(lines))
