"""A number with its noun."""


def counted(number: int, noun: str) -> str:
    """ "1 job", "2 jobs", "0 jobs".

    Args:
        number: how many.
        noun: of one.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
