"""What is shown of an exception that ended a command: the traceback from the user's own code on, and a closing line."""

import traceback

from assimilate.files.own_code import named, own_frames


def shown_of(error: Exception, stage: str) -> str:
    """The lines to print, without the frames that led to the user's own code; all of them where there is none.

    Args:
        error: the exception, with its traceback.
        stage: the command, "train".
    """
    own = own_frames(error)
    lines = traceback.format_exception(type(error), error, own[0] if own else error.__traceback__)
    what = "".join(traceback.format_exception_only(error)).splitlines()[0]
    failed = f"{named(own[0])} failed: " if own else ""
    return f"{''.join(lines)}assimilate.{stage}: {failed}{what}"
