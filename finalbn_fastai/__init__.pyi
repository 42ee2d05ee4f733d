# Made by `make export`: edit `_names` in nbs/41_package.ipynb
from fastai.data.core import DataLoaders
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
from .metrics import class_f1 as class_f1
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
from .adjust import set_threshold as set_threshold
from .adjust import tau_normalize as tau_normalize
from .digits import digit_dls as digit_dls
from .digits import imbalanced_split as imbalanced_split
from .digits import mnist as mnist
from .leaves import leaf_dls as leaf_dls
from .leaves import plantvillage as plantvillage
from .report import class_report as class_report
from .report import class_weights as class_weights
from .report import imbalance_report as imbalance_report
from .report import stratified as stratified
from .networks import architecture as architecture
from .networks import efficientnet_lite0 as efficientnet_lite0
from .serving import ServedModel as ServedModel
from .serving import export_onnx as export_onnx
from .serving import export_program as export_program
from .serving import load_model as load_model
from .serving import model_card as model_card
from .serving import save_model as save_model
from .training import LOSSES as LOSSES
from .files import StudyError as StudyError
from .study import Study as Study
from .study import Task as Task
from .study import get_study as get_study
from .study import run_study as run_study
from .digit_runs import DIGITS as DIGITS
from .leaf_runs import LEAVES as LEAVES
from .own_runs import own_images as own_images
from .comparison import compare as compare
from .tables import as_read as as_read
from .tables import beside_paper as beside_paper
from .tables import paper_table as paper_table
from .tables import results as results
from .tables import show as show
from .tables import summary as summary

__version__: str
__all__ = ['DIGITS', 'FinalBN', 'FinalBNCheck', 'LEAVES', 'LOSSES', 'LogitAdjustedLoss', 'ServedModel', 'Study',
           'StudyError', 'Task', 'add_final_bn', 'architecture', 'as_read', 'at_prevalence', 'beside_paper', 'bn_head',
           'bn_learner', 'center_logits', 'check_final_bn', 'choose_threshold', 'class_f1', 'class_report',
           'class_scores', 'class_weights', 'compare', 'digit_dls', 'drop_final_bn', 'efficientnet_lite0',
           'export_onnx', 'export_program', 'final_bn', 'fold_final_bn', 'get_study', 'imbalance_report',
           'imbalanced_split', 'leaf_dls', 'load_model', 'logit_adjust', 'logn', 'margin', 'minority', 'minority_f1',
           'mnist', 'model_card', 'own_images', 'paired_interval', 'paper_table', 'plantvillage',
           'prevalence_threshold', 'prior_threshold', 'probability_scores', 'recompute_stats', 'results', 'run_study',
           'save_model', 'scale_temperature', 'set_threshold', 'show', 'start_at_log_prior', 'stratified',
           'stratified_dls', 'summary', 'tau_normalize']

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
def stratified_dls(path, valid_pct: float = 0.2, seed: int|None = 0, item_tfms=None, batch_tfms=None, img_cls=..., *,
                   bs: int = 64, val_bs: int = None, shuffle: bool = True, device=None) -> DataLoaders:
    """fastai's `ImageDataLoaders.from_folder` with a split that has the rare class in both parts"""
    ...
