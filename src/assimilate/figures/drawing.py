"""What figures are drawn by: the only door to what needs torch and matplotlib."""

from assimilate.figures import card as card
from assimilate.figures import pairs as pairs
from assimilate.figures import runs as runs
from assimilate.figures import views as views
