"""The functions that draw figures: the only import of torch and matplotlib for the rest of this package."""

from assimilate.figures import card as card
from assimilate.figures import pairs as pairs
from assimilate.figures import runs as runs
from assimilate.figures import views as views
