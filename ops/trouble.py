"""What an operator can mend: one line that says what is wrong and what to do; the command ends with exit code 2."""


class Trouble(Exception):  # noqa: N818  told to a person, not raised at a programmer
    """Something that the operator can mend."""
