"""The functions and modules behind the settings of losses; they import torch, which settings do not."""

from assimilate.assimilation.byol import BYOL as BYOL
from assimilate.assimilation.losses import alignment as alignment
from assimilate.assimilation.losses import info_nce as info_nce
from assimilate.assimilation.losses import multi_view_nt_xent as multi_view_nt_xent
from assimilate.assimilation.losses import nt_xent as nt_xent
from assimilate.assimilation.losses import viewmaker_loss as viewmaker_loss
from assimilate.assimilation.method import LossOfProjections as LossOfProjections
from assimilate.assimilation.moco import MoCo as MoCo
from assimilate.assimilation.redundancy import barlow_twins as barlow_twins
from assimilate.assimilation.redundancy import diagonal_term as diagonal_term
from assimilate.assimilation.redundancy import mean_squared_error as mean_squared_error
from assimilate.assimilation.redundancy import vicreg as vicreg
from assimilate.assimilation.simsiam import SimSiam as SimSiam
