"""stub"""


def run(quick: bool = False) -> None: ...
