# Made by `make export`: edit `_names` in nbs/41_package.ipynb
from fastai.learner import Learner
import torch.nn as nn
from .head import FinalBN as FinalBN
from .head import FinalBNCheck as FinalBNCheck
from .head import add_final_bn as add_final_bn
from .head import check_final_bn as check_final_bn
from .head import drop_final_bn as drop_final_bn
from .head import final_bn as final_bn
from .head import fold_final_bn as fold_final_bn
from .head import recompute_stats as recompute_stats
from .head import start_at_log_prior as start_at_log_prior
from .metrics import class_scores as class_scores
from .metrics import minority as minority
from .metrics import minority_f1 as minority_f1
from .metrics import probability_scores as probability_scores
from .intervals import paired_interval as paired_interval
from .thresholds import at_prevalence as at_prevalence
from .thresholds import margin as margin
from .thresholds import prevalence_threshold as prevalence_threshold
from .thresholds import prior_threshold as prior_threshold
from .adjust import LogitAdjustedLoss as LogitAdjustedLoss
from .adjust import center_logits as center_logits
from .adjust import choose_threshold as choose_threshold
from .adjust import logit_adjust as logit_adjust
from .adjust import logn as logn
from .adjust import scale_temperature as scale_temperature
from .adjust import tau_normalize as tau_normalize
from .digits import digit_dls as digit_dls
from .digits import imbalanced_split as imbalanced_split
from .digits import mnist as mnist
from .leaves import leaf_dls as leaf_dls
from .leaves import plantvillage as plantvillage
from .networks import architecture as architecture
from .networks import efficientnet_lite0 as efficientnet_lite0
from .training import LOSSES as LOSSES
from .study import Study as Study
from .study import StudyError as StudyError
from .study import Task as Task
from .study import get_study as get_study
from .study import run_study as run_study
from .digit_runs import DIGITS as DIGITS
from .leaf_runs import LEAVES as LEAVES
from .tables import as_read as as_read
from .tables import beside_paper as beside_paper
from .tables import paper_table as paper_table
from .tables import results as results
from .tables import show as show
from .tables import summary as summary

__version__: str
__all__ = ['DIGITS', 'FinalBN', 'FinalBNCheck', 'LEAVES', 'LOSSES', 'LogitAdjustedLoss', 'Study', 'StudyError', 'Task',
           'add_final_bn', 'architecture', 'as_read', 'at_prevalence', 'beside_paper', 'bn_head', 'bn_learner',
           'center_logits', 'check_final_bn', 'choose_threshold', 'class_scores', 'digit_dls', 'drop_final_bn',
           'efficientnet_lite0', 'final_bn', 'fold_final_bn', 'get_study', 'imbalanced_split', 'leaf_dls',
           'logit_adjust', 'logn', 'margin', 'minority', 'minority_f1', 'mnist', 'paired_interval', 'paper_table',
           'plantvillage', 'prevalence_threshold', 'prior_threshold', 'probability_scores', 'recompute_stats',
           'results', 'run_study', 'scale_temperature', 'show', 'start_at_log_prior', 'summary', 'tau_normalize']

def bn_head(nf: int, n_out: int, final_bn: bool = True, momentum: float|None = 0.01, affine: bool = True, bias:
            bool|None = None, lin_ftrs: list|None = None, ps: float|list = 0.5, concat_pool: bool = False, init=None,
            eps: float = 1e-05, mean_only: bool = False, *, pool=True, first_bn=True, bn_final=False, lin_first=False,
            y_range=None) -> nn.Sequential:
    """The paper's head: average pooling, BN, Dropout, Dense, ReLU, BN, Dropout, Dense, final BN (arXiv:2109.09016, 3.1)"""
    ...
def bn_learner(dls, arch, *args, final_bn: bool = True, momentum: float|None = 0.01, affine: bool = True, bias:
               bool|None = None, eps: float = 1e-05, mean_only: bool = False, prior=None, normalize=True, n_out=None,
               pretrained=True, weights=None, loss_func=None, opt_func=..., lr=0.001, splitter=None, cbs=None,
               metrics=None, path=None, model_dir='models', wd=None, wd_bn_bias=False, train_bn=True, moms=(0.95, 0.85,
               0.95), cut=None, init=..., custom_head=None, concat_pool=True, pool=True, lin_ftrs=None, ps=0.5,
               first_bn=True, bn_final=False, lin_first=False, y_range=None, n_in=3) -> Learner:
    """A `vision_learner` with the paper's head: average pooling, and a final batch normalization layer (`bn_head`)"""
    ...
