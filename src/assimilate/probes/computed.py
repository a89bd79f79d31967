"""The functions behind the measurements that ship; they import torch, which settings do not."""

from assimilate.probes.collapse import some as some
from assimilate.probes.collapse import spread_of as spread_of
from assimilate.probes.knn import knn_metrics as knn_metrics
from assimilate.probes.linear import linear_probe as linear_probe
