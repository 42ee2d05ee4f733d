"The installed library as its user meets it: train, choose, fold, export, load (`python tests/smoke.py`, anywhere)"
import sys, tempfile
from pathlib import Path
import fastai, numpy as np, torch
from fastai.vision.all import (CategoryBlock, CrossEntropyLossFlat, DataBlock, IndexSplitter, IntToFloatTensor, Learner,
                               PILImage, ToTensor, TransformBlock, load_learner, resnet18)
from torch import nn
import finalbn_fastai
from finalbn_fastai import FinalBN, bn_learner, choose_threshold, class_scores
from finalbn_fastai import final_bn, fold_final_bn, minority_f1, recompute_stats
from finalbn_fastai.extras import MissingExtra


def picture(i):
    "Noise, lighter for the rare class"
    noise = np.random.RandomState(i).rand(32, 32, 3)*100
    return PILImage.create((noise + 150*(i%4==0)).astype(np.uint8))


def label(i):
    "Every fourth one is rare"
    return 'rare' if i%4==0 else 'common'


def loaders():
    "Forty pictures, the first eight for validation"
    blocks = TransformBlock(type_tfms=picture),CategoryBlock
    db = DataBlock(blocks, get_y=label, splitter=IndexSplitter(range(8)),
                   item_tfms=ToTensor, batch_tfms=IntToFloatTensor)
    return db.dataloaders(list(range(40)), bs=16, num_workers=0, device='cpu')


def folded_and_loaded(dls, folder):
    "The same predictions after folding, and after export and load"
    learn = bn_learner(dls, resnet18, pretrained=False, metrics=minority_f1(dls), path=folder)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1)
        recompute_stats(learn)
        before = learn.get_preds()[0]
        fold_final_bn(learn)
        torch.testing.assert_close(learn.get_preds()[0], before, rtol=1e-5, atol=1e-5)
        learn.export()
    assert final_bn(learn) is None
    again = load_learner(Path(folder)/'export.pkl')
    with again.no_bar(): after = again.get_preds(dl=dls.valid)[0]
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def own_network(dls):
    "The callback puts the layer on a network of the user's own"
    net = nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2))
    own = Learner(dls, net, loss_func=CrossEntropyLossFlat(), cbs=FinalBN())
    with own.no_bar(), own.no_logging(): own.fit(1)
    assert final_bn(own) is own.model[-1]


def threshold_chosen(dls):
    "A threshold for a rare class at 1 in 100 stays in the model, folded or not"
    learn = bn_learner(dls, resnet18, pretrained=False)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
        choose_threshold(learn, prevalence=.01)
        probs,targs = learn.get_preds()
        fold_final_bn(learn)
        torch.testing.assert_close(learn.get_preds()[0], probs, rtol=1e-5, atol=1e-5)
    assert list(class_scores(targs, probs.argmax(1), dls.vocab).index)==['common','rare']


def offered():
    "What of the face is here; the rest names the extra that brings it"
    here = []
    for name in finalbn_fastai.__all__:
        try: getattr(finalbn_fastai, name)
        except MissingExtra as e: assert '[book]' in str(e), e
        else: here.append(name)
    return here


def check():
    "Everything above, on a processor, in a folder that is gone afterwards"
    dls = loaders()
    with tempfile.TemporaryDirectory() as folder: folded_and_loaded(dls, folder)
    threshold_chosen(dls)
    own_network(dls)


if __name__=='__main__':
    assert sys.prefix in finalbn_fastai.__file__, f'not the installed one: {finalbn_fastai.__file__}'
    print('fastai', fastai.__version__, 'torch', torch.__version__, 'Python', sys.version.split()[0])
    check()
    print(len(offered()), 'of', len(finalbn_fastai.__all__), 'names are here')
