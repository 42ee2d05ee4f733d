"The study says what was measured: nothing is fitted, chosen or watched on the test set, every setting is obeyed"
import os
from functools import partial
from itertools import count, product
from unittest.mock import patch
import mutations, numpy as np, pandas as pd, pytest, torch
from scipy.stats import t as student, ttest_1samp
from sklearn.metrics import f1_score
from torch import nn
from torch.nn.functional import cross_entropy
from finalbn_fastai import after, cache, candidates, claims, comparison, digit_runs, features, files, flat_runs
from finalbn_fastai import intervals, judge, leaf_runs, own_runs, study, workers
from finalbn_fastai.adjust import center_logits
from finalbn_fastai.data import tensor_dls
from finalbn_fastai.digits import digit_dls, imbalanced_split, mnist
from finalbn_fastai.head import PartialBatchNorm1d, fold_final_bn, new_final_bn, recompute_stats
from finalbn_fastai.metrics import reset_threshold, score_run, temperature
from finalbn_fastai.networks import small_resnet
from finalbn_fastai.replicas import ReplicaLoader, before_last, replica_learner, replica_preds, replica_recompute_stats
from finalbn_fastai.rivals import BalancedBatches
from finalbn_fastai.thresholds import at_prevalence, margin, prevalence_threshold
from finalbn_fastai.training import fit_learner, fit_trial, set_test_stats, stacked_rows
from fastai.learner import Learner

CPU = torch.device('cpu')


@pytest.fixture(autouse=True)
def one_thread():
    "Small networks train as fast on one thread, and to the same bit"
    with workers.one_thread(): yield


def near(a, b, eps=1e-6): np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=0, atol=eps)


# --- Data that need no file: features of leaves, images of one's own

def part_of(seed, n, rare, dim=12, sure=1.):
    "Features that tell a rare class from a common one, and classes"
    g = torch.Generator().manual_seed(seed)
    y = (torch.arange(n)<rare).long()
    return torch.randn(n, dim, generator=g)+sure*y[:,None],y


PARTS = dict(train=(200,20), valid=(80,7), more=(143,143), test=(100,50))


def drawn(seed, spoil=()):
    "The parts of a made-up draw; of those in `spoil` images and classes are other ones"
    res = {}
    for i,(k,(n,rare)) in enumerate(PARTS.items()):
        x,y = part_of(10*seed+i, n, rare)
        res[k] = (x.flip(0)*3, 1-y) if k in spoil else (x,y)
    return res


def fake_dls(plant, arch, size, seed, bs, device, drop_last, spoil=(), **draw):
    "As `feature_dls`, of the made-up draw"
    dls = tensor_dls(drawn(seed, spoil), ['healthy','unhealthy'], ['unhealthy'], bs, seed, device, drop_last=drop_last)
    dls.n_features = 12
    return dls


def leaf_rows(seeds=(0,1), spoil=(), **settings):
    "The rows of heads on made-up features"
    trials = [leaf_runs.LEAVES.trial(s, **{**dict(epochs=3, lr=3e-3, bs=32, final_bn=True), **settings}) for s in seeds]
    there = dict(feature_dls=partial(fake_dls, spoil=spoil), _handed_over=lambda learn, ts, device: [None]*len(ts))
    with patch.multiple(leaf_runs, **there): return leaf_runs.run_heads(trials, CPU)


def digit_row(alone=False, **settings):
    "A row of a short run on few digits"
    few = dict(epochs=2, lr=3e-3, n_majority=150, ratio=.1, source='embedded', final_bn=True, bs=32)
    run = digit_runs.run_digits_alone if alone else digit_runs.run_digits
    return run([digit_runs.DIGITS.trial(**{**few, **settings})], CPU)[0]


def own_images(spoil=None, n=(90,30)):
    "Images of one's own without files, and their features; of the part `spoil` of the split of seed 0 others"
    y = np.repeat([0,1], n)
    labels = tuple('ab'[c] for c in y)
    images = own_runs.OwnImages('made', tuple(map(str, range(len(y)))), labels, 'b')
    f,_ = part_of(0, len(y), 0)
    f += torch.from_numpy(y)[:,None]
    if spoil is not None:
        wrong = np.flatnonzero(own_runs.split_images(images, 0)==spoil)
        f[wrong] = -3*f[wrong]
    return images,f


WAY = dict(arch='small_resnet', size=32, pretrained=False, epochs=3, lr=.01, bs=16, body=None, valid=.2, test=.2)


def own_rows(method, seeds=(0,), spoil=None):
    "The rows of a way of `compare` on made-up features"
    images,f = own_images(spoil)
    trials = [dict(WAY, method=method, seed=s) for s in seeds]
    with patch.object(own_runs, 'own_features', lambda *args: f): return own_runs.run_own(images, trials, CPU)


# --- Nothing looks at the test set

class Forbidden:
    "A loader that nobody may look at"
    def __getattr__(self, name): raise AssertionError(f"the test set was looked at ({name})")
    def __iter__(self): raise AssertionError("the test set was looked at")
    def __len__(self): raise AssertionError("the test set was looked at")


def small_net(): return nn.Sequential(nn.Linear(12, 2), new_final_bn(2))


def stack(seeds=(0,1), spoil=(), **kw):
    "Networks of one layer and the final BN on made-up features, together, not trained"
    dls = [fake_dls('', None, 0, s, 32, None, True, spoil) for s in seeds]
    return replica_learner(small_net, dls, list(seeds), **kw)


def alone(spoil=(), make=small_net):
    "The same, one in an ordinary `Learner`"
    torch.manual_seed(0)
    dls = fake_dls('', None, 0, 0, 32, None, True, spoil)
    return Learner(dls, make(), loss_func=cross_entropy)


@pytest.mark.parametrize('make', [stack, alone])
def test_training_never_looks_at_the_test_set(make):
    "A loader that nobody may look at stands in the place of the test set while networks train"
    learn = make()
    learn.dls.loaders[1] = Forbidden()
    fit_learner(learn, 2, 1e-2)
    fit_trial(learn, dict(epochs=1, lr=1e-2, beta_lr=1, sampling='balanced'))


OF_TEST = ('f1','precision','recall','roc_auc','pr_auc','best','log_loss','ece','removed','reset','peak','chosen_f1',
           'chosen_precision','chosen_recall','seconds','date')


def of_training(row):
    "The columns of a row that no test image may change"
    rules = 'default','prior','centred','logn','tau','chosen_7','chosen_20','chosen_150'
    scores = tuple('_'.join(o) for o in product(rules, ('f1','roc_auc','pr_auc')))
    return {k:v for k,v in row.items() if not k.startswith((*OF_TEST, *scores))}


def test_garbage_in_the_test_set_changes_its_scores_alone():
    "Networks, temperatures, validation scores and chosen epochs are equal to the bit with other test images and labels"
    kinds = dict(inside=True),dict(calibrated=True, removed=True),dict(by_epoch=True),dict(after=True)
    for kind in kinds:
        right,wrong = leaf_rows(**kind),leaf_rows(spoil=['test'], **kind)
        for a,b in zip(right, wrong):
            assert of_training(a)==of_training(b) and len(of_training(a))>8
            assert a['f1_minority']!=b['f1_minority'] and a['log_loss']!=b['log_loss']
            if 'after' in kind: near([a['default_f1'], a['default_roc_auc']], [a['f1_minority'], a['roc_auc']], 1e-5)
    x,y = (t.clone() for t in digit_dls(source='embedded', n_majority=150, ratio=.1, bs=32).valid.dataset.tensors)
    right = digit_row(inside=True)
    def garbage(t, device=None, make=digit_runs.trial_dls):
        dls = make(t, device)
        dls.valid.dataset.tensors = 1-x,1-y
        return dls
    with patch.object(digit_runs, 'trial_dls', garbage): wrong = digit_row(inside=True)
    assert of_training(right)==of_training(wrong) and right['log_loss']!=wrong['log_loss']


def by_hand_on_leaves(**settings):
    "A stack of heads trained as `leaf_rows` does, and its draws"
    seen = []
    def keep(learn, *args): return seen.append(learn) or set_test_stats(learn, *args)
    with patch.object(leaf_runs, 'set_test_stats', keep): rows = leaf_rows(**settings)
    return seen[0],rows


def test_threshold_and_temperature_of_the_validation_set():
    "H-1's new threshold and the temperature, found by hand on the validation set"
    learn,rows = by_hand_on_leaves(removed=True, calibrated=True)
    parts = [drawn(s) for s in (0,1)]
    layers = learn.model.eval().layers
    for r,row in enumerate(rows):
        def scores(k, end=len(layers)):
            x = torch.stack([p[k][0] for p in parts])
            with torch.no_grad(): return nn.Sequential(*layers[:end])(x)[r]
        z,zv,y,yv = scores('test', -1),scores('valid', -1),parts[r]['test'][1],parts[r]['valid'][1]
        by_hand = score_run(reset_threshold(z, zv, yv), y)
        near([row[f'reset_{k}'] for k in by_hand], list(by_hand.values()), 1e-5)
        removed = score_run(z, y)
        near([row[f'removed_{k}'] for k in removed], list(removed.values()), 1e-5)
        assert abs(row['reset_f1_minority']-row['removed_f1_minority'])>.01
        near(row['temperature'], temperature(scores('valid'), yv), 1e-4)
        own = score_run(scores('test'), y)
        near([row[k] for k in own], list(own.values()), 1e-5)


def test_epochs_are_chosen_by_the_validation_set():
    "The last point of the curve is the row's own score, and the test set decides on the peak alone"
    row,other = leaf_rows(by_epoch=True)[0],leaf_rows(by_epoch=True, spoil=['valid'])[0]
    assert row['f1_curve'].split()[-1]==f"3:{row['f1_minority']:.4f}" and row['f1_curve']==other['f1_curve']
    assert row['peak_epoch']==other['peak_epoch']


def test_rules_of_digits_are_chosen_on_the_validation_digits():
    "The part that they are chosen on is of the digits that the draw leaves over, in stacks and in regressions"
    left = torch.full((157+143,1,28,28), .5),torch.arange(300)%2
    t = digit_runs.DIGITS.trial(0, final_bn=True)
    dls = digit_dls(source='embedded')
    learn = replica_learner(partial(digit_runs.digit_net, t), [dls], [0])
    with patch.object(digit_runs, 'validation_digits', lambda **kw: left):
        parts = digit_runs._after_parts([t], learn, [dls])
    assert [len(parts[k].x[0]) for k in ('train','valid','more','test')]==[404,157,143,200]
    assert (parts['valid'].x==.5).all() and (parts['more'].x==.5).all()
    t = flat_runs.FLAT.trial(data='digits', arch=None)
    there = dict(digit_dls=lambda **kw: dls, validation_digits=lambda **kw: left)
    with patch.multiple(flat_runs, **there): draw = flat_runs.flat_draw(t)
    assert (draw['valid'][0]==.5).all() and len(draw['more'][1])==143
    assert torch.equal(draw['test'][1], dls.valid_ds.tensors[1])


# --- Every setting is obeyed

OF_DIGITS = dict(wd=5., momentum=.5, schedule='flat', init='keras', bs=16, first_bn=True, affine=False, lr=1e-2,
                 epochs=3, opt='keras', seed=1, eps=.1, ratio=.2, n_majority=140, minority=5, majority=9,
                 final_bn=False, loss='weighted CCE', test_stats='batch', beta=.2, bias=False, drop_last=False,
                 arch='cnn')


@pytest.mark.parametrize('single', [False, True], ids=['stack','alone'])
def test_every_setting_of_digits_changes_the_row(single):
    "None is ignored, in a stack and in an ordinary learner"
    usual = digit_row(single)['log_loss']
    assert digit_row(single)['log_loss']==usual
    for k,v in OF_DIGITS.items(): assert digit_row(single, **{k:v})['log_loss']!=usual, (k, v)
    wide = dict(arch='cnn')
    assert digit_row(single, **wide, momentum=.5)['log_loss']!=digit_row(single, **wide)['log_loss']


def test_a_row_of_digits_is_of_its_own_test_set():
    "What is kept says what the row says, of a draw of the seed's own, whoever is trained beside it"
    t = dict(epochs=2, lr=3e-3, n_majority=150, ratio=.1, source='embedded', final_bn=True, bs=32)
    trials = [digit_runs.DIGITS.trial(s, **t) for s in (3,1)]
    for row in digit_runs.run_digits(trials, CPU):
        kept = row['scores']
        assert len(kept['y'])==200 and kept['y'].sum()==100
        near(f1_score(kept['y'], kept['score']>0), row['f1_minority'], 1e-6)
    near(row['log_loss'], digit_row(seed=1)['log_loss'], 1e-3)
    draws = [digit_runs.trial_dls(o).valid.dataset.tensors[0] for o in trials]
    assert not torch.equal(*draws)


def fake_images(plant, stats, size, seed, bs, augment, device, drop_last, **draw):
    "As `image_dls`, of noise"
    parts = {k:(torch.randn(len(y), 3, 32, 32), y) for k,(_,y) in drawn(seed).items()}
    return tensor_dls(parts, ['healthy','unhealthy'], ['unhealthy'], bs, seed, device, drop_last=drop_last)


def test_networks_on_images_obey_their_trial():
    "Weight decay, unfrozen layers and the order of the batches are those of the trial"
    def learner(seed=0, **kw):
        t = leaf_runs.LEAVES.trial(seed, **{**dict(size=32, bs=16, wd=3., final_bn=True), **kw})
        with patch.object(leaf_runs, 'image_dls', fake_images): return leaf_runs.leaf_learner(t)
    whole = dict(arch='small_resnet', body='all', pretrained=False)
    one,two = (learner(s, **whole) for s in (0,1))
    assert one.wd==3. and one.dls.train.get_idxs()!=two.dls.train.get_idxs()
    with patch.object(leaf_runs, 'bn_learner', side_effect=StopIteration) as made, pytest.raises(StopIteration):
        learner(body='bn')
    assert made.call_args.kwargs['train_bn'] is True and made.call_args.kwargs['wd']==3.


def test_kept_scores_leave_the_training_photographs_out():
    "A photograph in training has no score, each other one has its own"
    learn,_ = by_hand_on_leaves(seeds=(0,))
    f,y = part_of(7, 40, 20)
    photos = pd.DataFrame(dict(file=list(map(str, range(40))), label=np.where(y==1, 'unhealthy', 'healthy')))
    split = photos.assign(split=['train','valid','test','test']*10)[4:]
    t = leaf_runs.LEAVES.trial(final_bn=True)
    there = dict(plant_features=lambda *args, **kw: (photos, f), plantvillage=lambda *args, **kw: split)
    with patch.multiple(leaf_runs, **there): kept, = leaf_runs._handed_over(learn, [t], CPU)
    in_training = kept['part']==leaf_runs.PARTS.index('train')
    with torch.no_grad(): by_hand = margin(learn.model.eval()(f[None])[0]).numpy()
    assert in_training.sum()==9 and not kept['score'][in_training].any()
    near(kept['score'][~in_training], by_hand[~in_training], 1e-2)
    assert (kept['part'][:4]==leaf_runs.PARTS.index('rest')).all() and kept['y'].tolist()==y.tolist()


def test_every_setting_of_heads_changes_the_row():
    "None is ignored"
    def loss(**kw): return leaf_rows([0], **kw)[0]['log_loss']
    usual = loss()
    others = dict(wd=5., momentum=.5, init='pytorch', bs=16, affine=False, lr=1e-2, epochs=4, opt='keras', eps=.1,
                  final_bn=False, bias=False, beta=.2, test_stats='batch', loss='focal', drop_last=False, beta_lr=10)
    for k,v in others.items(): assert loss(**{k:v})!=usual, (k, v)
    assert loss(bn_wd=True, wd=3.)!=loss(wd=3.)
    t = leaf_runs.LEAVES.trial(seed=3, n_healthy=300, n_unhealthy=50)
    assert leaf_runs._draw(t)==dict(seed=3, train=(300,50), by_leaf=False)


def test_seconds_are_those_of_one_run():
    "A stack's seconds are divided among its runs"
    learn = fit_learner(stack(), 1, 1e-2)
    assert [r['seconds'] for r in stacked_rows(learn, 1, 10.)]==[5.,5.]
    def ten_a_look(module): return patch.object(module, 'perf_counter', count(0, 10).__next__)
    with ten_a_look(own_runs): rows = own_rows('plain', range(5))
    with ten_a_look(leaf_runs): rows += leaf_rows(range(4))
    t = leaf_runs.CLASSES.trial(epochs=1, bs=32)
    def dls(arch, size, seed, bs, device): return fake_dls('apple', arch, size, seed, bs, device, True)
    with ten_a_look(leaf_runs), patch.object(leaf_runs, 'class_dls', dls):
        rows += leaf_runs.run_classes([dict(t, seed=s) for s in (0,1)], CPU)
    assert [r['seconds'] for r in rows]==[2.]*5+[2.5]*4+[5.]*2
    assert rows[-1]['rarest']==20 and rows[-1]['stacked']==2


# --- Each network is one of its own

def test_each_seed_has_its_own_order_weights_and_dropout():
    "Batches, first weights and dropout differ from seed to seed in one stack, and are those of the seed alone"
    dls = [digit_dls(seed=s, source='embedded', bs=32) for s in (0,1)]
    same = dls[0].train.dataset.tensors[0]
    for d in dls: d.train.dataset.tensors = same,torch.arange(len(same))
    for _ in range(2):
        loader = ReplicaLoader([d.train for d in dls])
        orders = torch.cat([y for _,y in loader], 1)
        assert (orders[0]!=orders[1]).float().mean()>.9
    weights = stack().model.layers[0].weight
    assert (weights[0]-weights[1]).abs().min()>0
    near(weights[1].detach(), stack([1]).model.layers[0].weight[0].detach())
    several = [stack(seeds).model.layers[0].weight[-1].detach() for seeds in ([2,3,1],[1])]
    near(*several)


def decayed(wd):
    "The weights and biases of a stack after one step at a large rate, by the weight decay"
    learn = stack(wd=wd)
    fit_learner(learn, 1, .1, schedule='flat')
    return [p.detach().clone() for p in learn.model.parameters()]


def test_weight_decay_reaches_weights_and_nothing_else():
    "The first group alone decays, as strongly as it is told"
    learn = stack(wd=3.)
    learn.create_opt()
    decay,rest = learn.opt.opt.param_groups
    assert (decay['weight_decay'], rest['weight_decay'])==(3.,0.)
    assert [p.shape for p in decay['params']]==[(2,12,2)] and len(rest['params'])==3
    assert (decayed(3.)[0]-decayed(0.)[0]).abs().max()>1e-2


def test_schedules():
    "A flat rate stays what it is, the rate of one cycle ends near zero"
    for schedule,low,high in (('flat',1e-2,1e-2),('one-cycle',0,1e-3)):
        learn = fit_learner(stack(), 2, 1e-2, schedule=schedule)
        assert low<=learn.opt.hypers[-1]['lr']<=high


def test_statistics_to_score_with():
    "Recomputed ones are those of the training set, those of a batch are the test set's"
    for which,part in (('recomputed','train'),('batch','test')):
        learn = fit_learner(stack(), 1, 1e-2)
        dls = [fake_dls('', None, 0, s, 32, None, True) for s in (0,1)]
        set_test_stats(learn, which, [d.test for d in dls])
        x = torch.stack([drawn(s)[part][0] for s in (0,1)])
        with torch.no_grad(): z = learn.model.layers[0](x)
        near(learn.model.layers[-1].running_mean, z.mean(1).flatten(), 1e-5)


def test_scores_are_those_of_prediction():
    "No dropout and no statistics of a batch while scoring, whatever mode the networks were left in"
    def with_dropout(): return nn.Sequential(nn.Dropout(.5), nn.Linear(12, 2), nn.BatchNorm1d(2))
    dls = [fake_dls('', None, 0, s, 32, None, True) for s in (0,1)]
    learn = replica_learner(with_dropout, dls, [0,1])
    fit_learner(learn, 2, 1e-2)
    for f in (lambda: replica_preds(learn)[0], lambda: replica_preds(learn, [d.test for d in dls])[0]):
        learn.model.train()
        before = learn.model.layers[-1].running_mean.clone()
        assert torch.equal(f(), f()) and torch.equal(before, learn.model.layers[-1].running_mean)
    net = learn.model.unstack(1, with_dropout()).eval()
    with torch.no_grad(): near(replica_preds(learn)[0][1], net(dls[1].valid.dataset.tensors[0]), 1e-5)
    learn.model.train()
    replica_recompute_stats(learn)
    x = torch.stack([d.train.dataset.tensors[0] for d in dls])
    with torch.no_grad(): z = before_last(learn.model.eval(), ReplicaLoader([d.train for d in dls]))
    assert z.shape[1]==len(x[0])
    near(learn.model.layers[-1].running_mean, z.mean(1).flatten(), 1e-5)
    near(learn.model.layers[-1].running_var, z.var(1).flatten(), 1e-5)


def test_the_last_fifth_of_the_epochs_is_balanced():
    "Batches of `sampling='balanced late'` change where a fifth is left"
    seen = []
    class Watch(BalancedBatches):
        "Notes in which epochs the batches are balanced"
        def before_epoch(self):
            super().before_epoch()
            seen.append('shuffle_fn' in vars(self._loaders()[0]))
    fit_learner(stack(), 5, 1e-2, cbs=[Watch(late=True)])
    assert seen==[False]*4+[True]


# --- The layer

def with_eps(eps=.3): return nn.Sequential(nn.Linear(12, 2), new_final_bn(2, momentum=.3, eps=eps))


def test_the_layer_as_pytorch_has_it():
    "Momentum and eps are those given; all parts together are `nn.BatchNorm1d`; folding and recomputing are exact"
    ours,theirs = PartialBatchNorm1d(2, eps=.2, momentum=.3),nn.BatchNorm1d(2, eps=.2, momentum=.3)
    x,_ = part_of(0, 16, 8, dim=2)
    for mode in (True, False):
        for bn in (ours, theirs): bn.train(mode)
        near(ours(x).detach(), theirs(x).detach(), 1e-5)
        for a,b in zip(ours.buffers(), theirs.buffers()): near(a, b, 1e-6)
    bn = new_final_bn(3, .25, False, .01)
    assert (bn.momentum, bn.eps, bn.affine)==(.25, .01, False)
    learn = alone(make=with_eps)
    fit_learner(learn, 2, 1e-2)
    x = learn.dls.valid.dataset.tensors[0]
    with torch.no_grad():
        learn.model[1].bias.add_(.7)
        before = learn.model.eval()(x)
    fold_final_bn(learn)
    with torch.no_grad(): near(learn.model.eval()(x), before, 1e-5)
    learn = alone(make=with_eps)
    with learn.no_bar(): recompute_stats(learn)
    with torch.no_grad(): z = learn.model[0](learn.dls.train.dataset.tensors[0])
    near(learn.model[1].running_mean, z.mean(0), 1e-5)
    near(learn.model[1].running_var, z.var(0), 1e-5)


# --- Draws

def test_digits_are_drawn_once():
    "No image is in two parts, and pixels are from 0 to 1"
    d = mnist('embedded')
    train,test = imbalanced_split(d.y, 3, 8, .1, 100, 3)
    assert len(set(train)|set(test))==len(train)+len(test)==640
    dls = digit_dls(seed=3, source='embedded', ratio=.1)
    assert [dls.train.dataset.tensors[0].max(), dls.train.dataset.tensors[0].min()]==[1,0]
    assert (dls.train.dataset.tensors[1]==1).sum()==40 and dls.vocab==['8','3']
    assert set(test)!=set(imbalanced_split(d.y, 3, 8, .1, 100, 4)[1])
    half = np.arange(len(d.y))%2==0
    train,test = imbalanced_split(d.y, 3, 8, n_test=100, test=half)
    assert half[test].all() and not half[train].any()
    def batches(seed): return torch.cat([y for _,y in digit_dls(seed=seed, source='embedded', ratio=.9).train])
    assert not torch.equal(batches(0), batches(1))


def test_features_are_those_of_prediction(tmp_path, monkeypatch):
    "The body in evaluation mode on normalized images, another file of the cache for another size"
    body,stats = small_resnet().train(),([.4,.5,.6],[.1,.2,.3])
    x = torch.randint(0, 255, (5,32,32,3), dtype=torch.uint8)
    found = features.extract(body, x, stats, bs=2)
    images = (x.permute(0,3,1,2).float()/255-torch.tensor(stats[0]).view(3,1,1))/torch.tensor(stats[1]).view(3,1,1)
    with torch.no_grad(): near(found, features.pooled(body.eval()(images)), 1e-3)
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'cache'))
    file = tmp_path/'a.png'
    from PIL import Image
    Image.fromarray(x[0].numpy()).save(file)
    kept = [features.cached_features(body, [file], size, stats) for size in (32,64)]
    assert (kept[0]-kept[1]).abs().max()>1e-3
    df = pd.DataFrame(dict(label=list('ab')*50))
    with patch.object(features, '_classes_once', lambda *args: (df, torch.arange(100.)[:,None])):
        first,other = (features.class_dls(seed=s) for s in (0,1))
    def items(dl): return set(dl.dataset.tensors[0].flatten().tolist())
    train,test = map(items, first)
    assert [len(train), len(test), len(train&test)]==[80,20,0] and test!=items(other.valid)


def test_the_cache_sees_a_changed_file(tmp_path):
    "The same name and size, another time of change: another key; and a write that breaks off leaves the old file"
    file = tmp_path/'a'
    file.write_bytes(b'12')
    key = cache.file_key([file])
    os.utime(file, ns=(1,1))
    assert cache.file_key([file])!=key
    cache.write_cached(file, lambda f: f.write(b'34'))
    def breaks_off(f):
        f.write(b'5')
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): cache.write_cached(file, breaks_off)
    assert cache.cached_bytes(file)==b'34'


# --- Rows are on the disk, and each is its own

def test_rows_are_on_the_disk(tmp_path):
    "Each appended row is synced; a disk that takes half of one leaves none"
    path,synced = tmp_path/'t.csv',[]
    files.append_rows(path, [dict(seed=0)])
    with patch('os.fsync', side_effect=lambda fd: synced.append(os.fstat(fd).st_size)):
        files.append_rows(path, [dict(seed=1)])
        assert path.stat().st_size in synced
        files.write_whole(tmp_path/'whole', lambda f: f.write(b'123'))
        assert 3 in synced
    before = path.read_bytes()
    class Full:
        "A file on a disk with room for two bytes"
        def __init__(self, f): self.f = f
        def __enter__(self): return self
        def __exit__(self, *args): self.f.close()
        def write(self, raw): return self.f.write(raw[:2])
        def __getattr__(self, name): return getattr(self.f, name)
    def no_room(*args, **kwargs): return Full(open(*args, **kwargs))
    with patch.object(files, 'open', no_room, create=True), pytest.raises((OSError, study.StudyError)):
        files.append_rows(path, [dict(seed=22)])
    assert path.read_bytes()==before


def numbered(trials, device, tick=lambda f: None):
    "Scores and kept arrays that say which trial they are of"
    def one(t):
        kept = dict(z=np.full(2, t['a']*100+t['seed']))
        return dict(f1=t['a']+t['seed']/100, threads=torch.get_num_threads(), scores=kept)
    return list(map(one, trials))


def test_rows_and_scores_are_of_their_own_trial(tmp_path):
    "What a block gives is kept under the trial it is of, computed on one thread"
    mine = study.Study('mine', study.Task(numbered, dict(a=[1,2], more=None), block=3), {}, seeds=5)
    torch.set_num_threads(2)
    df = study.run_study(mine, only=dict(seed=[0,4]), out=tmp_path, device='cpu', workers=1, progress=False)
    assert (df.f1==df.a+df.seed/100).all() and len(df)==4 and set(df.threads)=={1}
    kept = study.read_scores(mine, tmp_path/'mine.csv')
    assert len(kept)==10 and all((s['z']==100*t['a']+t['seed']).all() for t,s in kept)
    assert mine.row_key(dict(a='1', seed='0'))==('1','','0')
    assert mine.row_key(dict(seed='0'))==('1','','0')


# --- What is made of the rows

def test_intervals_by_hand():
    "Student's, Wilson's, the corrected one, the two bootstraps and Holm's"
    rng = np.random.default_rng(0)
    a,b = rng.normal(size=(2,6))
    d = b-a
    half = student.ppf(.975, 5)*d.std(ddof=1)*np.sqrt(1/6+30/120)
    near(intervals.overlapping_interval(a, b, 120, 30), [d.mean(), d.mean()-half, d.mean()+half])
    half = student.ppf(.975, 5)*d.std(ddof=1)/6**.5
    near(intervals.paired_interval(a, b), [d.mean(), d.mean()-half, d.mean()+half])
    assert intervals.win_rate([1,2,3,4], [1,3,2,5])[0]==.5
    near(intervals.win_rate([0]*4, [1]*4)[1:], [4/(4+student.ppf(.975, 1e12)**2), 1], 1e-4)
    # one seed where the second setting is far better, one where both are alike: an interval over seeds holds both
    true,none = np.arange(2000)%2==0,np.zeros(2000, bool)
    tested = np.arange(2000)<1000
    by_seed = [np.array([none|(true&tested), true]), np.array([true, true])]
    tested = np.array([~tested, ~tested])
    _,lo,hi = intervals.crossed_interval(*by_seed, true, tested)
    assert lo<.1 and hi>.9
    # both seeds alike, many images wrong by chance: the interval is that of the images
    said = np.array([true&(rng.random(2000)<.5)]*2)
    _,lo,hi = intervals.crossed_interval(said, np.array([true]*2), true, np.ones_like(tested))
    assert hi-lo>.02
    near(intervals.crossed_interval(said, np.array([true]*2), true, tested)[0],
         1-f1_score(true[tested[0]], said[0][tested[0]]))
    sd = intervals.statistic_interval(a, 2*b)
    near(sd[0], 2*b.std(ddof=1)-a.std(ddof=1))
    assert np.ptp(intervals.statistic_interval(a, a+1e-3*rng.normal(size=6))[1:])<.01
    near(intervals.holm([.01, .04, .03, .005]), [.03, .06, .06, .02])


def test_words_at_the_edge():
    "Zero is not above zero, ties are not wins, and equivalence needs both of its tests"
    assert judge.judge(.1, 0., .3, .2)=='inconclusive' and judge.judge(.1, .001, .3, .2)=='reproduced'
    a = pd.Series([.1,.2,.3,.4,.5])
    c = judge.Condition({}, a, a+[0,0,.01,.02,-.01])
    assert c.wins().startswith('2 of 5')
    d = c.with_bn-c.without
    sides = [ttest_1samp(d, at, alternative=side).pvalue for at,side in ((-.02,'greater'),(.02,'less'))]
    near(judge.word_p(c, 'equivalent to none', 'gain'), max(sides))


def test_claims_by_hand():
    "Failed runs count nowhere, a mean needs all of its values, and each number of a claim is the one it says"
    seeds = pd.MultiIndex.from_tuples([(1,0),(2,0),(1,1)], names=['lr','seed'])
    assert claims.mean_over('lr', [1,2], lambda by: pd.Series([1.,3.,5.], seeds))([]).to_dict()=={0:2.}
    near(claims.reported_difference(7, 'softmax CCE'), .21)
    rows = [dict(seed=str(s), f1_minority='0.5', failed=why) for s,why in enumerate(('', 'the loss was not finite'))]
    everything = study.get_study('smoothing').settings
    with patch.object(claims, '_rows_as_text', lambda study: rows): found = claims.rows_at('smoothing', everything)
    assert found.seed.tolist()==[0]
    curves = dict(f1_curve=['1:0.1 5:0.2 10:0.3','1:0.5 5:0.8 10:1.0'], final_bn=[False,True], seed=[0,0])
    with patch.object(claims, 'rows_at', lambda *args, **kw: pd.DataFrame(curves)):
        c, = claims.sooner('any', 10, {})()
    near([c.without[0], c.with_bn[0]], [1.1, 1.])
    kept = dict(score=np.array([0.,9.,9.]), part=np.array([claims.PARTS.index(k) for k in ('test','train','rest')]))
    with patch.object(claims, 'read_scores', lambda *args: [({'seed':0}, kept)]): c, = claims.centred('apple')()
    near(c.with_bn[0], .5)


def test_main_effects_by_hand():
    "The effect of a switch is the mean where it is on minus the mean where it is off, over all else"
    sizes,ways = dict(final_bn=.3, loss=-.2, wd=.05),{s:(off,on) for s,off,on in claims.SWITCHES.values()}
    index = pd.MultiIndex.from_product([*map(ways.get, sizes), [0,1]], names=[*sizes, 'seed'])
    def score(settings, seed): return seed/100+sum(sizes[k]*(settings[k]==ways[k][1]) for k in sizes)
    s = pd.Series([score(dict(zip(sizes, key)), key[-1]) for key in index], index)
    with patch.object(claims, 'scored', lambda *args, **kw: lambda by: s):
        c, = claims._largest_switch(tuple(sizes), 224, 'alexnet')()
    near([c.without.tolist(), c.with_bn.tolist()], [[.2,.2],[.3,.3]])


def test_scores_centred_over_the_whole_training_set():
    "No item is left out of the means, whole batch or not"
    learn = alone(make=lambda: nn.Sequential(nn.Linear(12, 2)))
    with learn.no_bar(): center_logits(learn)
    with torch.no_grad(): near(learn.model(learn.dls.train.dataset.tensors[0]).mean(0), [0,0], 1e-5)


def test_rules_after_training():
    "The power of the norm is the validation set's; the area at a prevalence is that of images counted so often"
    def both_scores(x, y): return torch.stack([1-x[:,0],x[:,0]-1], 1),y
    parts = {k:both_scores(*o) for k,o in drawn(0).items()}
    right = {k:z for k,(z,_) in parts.items()}
    wrong = {k:-z for k,z in right.items()}
    half,whole = dict(right, test=wrong['test']),dict(wrong, test=right['test'])
    found = after.after_scores(parts, {.5:half, 1.:whole})
    y,m = parts['test'][1].numpy(),margin(wrong['test']).numpy()
    near(found['tau_f1'], at_prevalence(y, m, .5)['f1'], 1e-5)
    y = np.repeat([0,1], [60,20])
    m = np.random.default_rng(0).normal(size=80)+y
    from sklearn.metrics import average_precision_score
    often = np.where(y==0, 33, 1)
    by_hand = average_precision_score(np.repeat(y, often), np.repeat(m, often))
    near(after.pr_auc_at(y, m, 1/100), by_hand)


def test_regressions_see_the_training_set_alone():
    "Coefficients do not change with validation and test images; thresholds come from margins out of their folds"
    t = flat_runs.FLAT.trial(3, data='apple', method='logistic regression', regularization=.1, folds=4)
    def parts_of(spoil=(), **kw):
        there = dict(flat_draw=lambda t, device: drawn(t['seed'], spoil))
        with patch.multiple(flat_runs, **there): return flat_runs.flat_parts({**t, **kw})
    plain = parts_of()
    assert torch.equal(plain['train'][0], parts_of(['test','valid'])['train'][0])
    for kw in (dict(regularization=10.), dict(weights='balanced'), dict(method='LDA'), dict(seed=4)):
        assert not torch.equal(plain['train'][0], parts_of(**kw)['train'][0]), kw
    x,y = (o.numpy() for o in drawn(3)['train'])
    m = flat_runs.out_of_fold(t, x.astype(float), y)
    assert (m!=flat_runs.out_of_fold(dict(t, seed=4), x.astype(float), y)).any()
    fitted = flat_runs.flat_classifier(t).fit(x.astype(float), y).decision_function(x.astype(float))
    assert ((m>0)==y).mean()<((fitted>0)==y).mean()
    at = prevalence_threshold(y, m, .5)
    z,y_test = plain['test']
    by_hand = at_prevalence(y_test.numpy(), margin(z).double().numpy(), .5, at)['f1']
    near(flat_runs.cv_scores(t, drawn(3)['train'], plain['test'])['cv_f1'], by_hand, 1e-5)
    assert (margin(plain['test'][0])[:50].mean()>margin(plain['test'][0])[50:].mean())


def test_images_of_ones_own_are_split_and_kept_apart():
    "Sizes of the parts, a split a seed, and networks and regressions that see their own part alone"
    images,_ = own_images()
    part = own_runs.split_images(images, 0, .1, .3)
    assert np.bincount(part[images.y==0]).tolist()==[54,9,27] and np.bincount(part[images.y==1]).tolist()==[18,3,9]
    for way in ('plain', own_runs.LOGISTIC):
        usual,test,valid = (own_rows(way, spoil=k)[0] for k in (None,2,1))
        z,part = (usual['scores'][k] for k in ('z','part'))
        assert not z[part==0].any()
        assert np.array_equal(z[part==1], test['scores']['z'][part==1])
        assert np.array_equal(z[part==2], valid['scores']['z'][part==2])
        near(usual['accuracy'], (z.argmax(1)==images.y)[part==2].mean())
        assert usual['accuracy']==valid['accuracy']!=test['accuracy']
    parts = [r['scores']['part'] for r in own_rows('plain', (0,1))]
    assert (parts[0]!=parts[1]).any()
    shown = {}
    class Block:
        "Keeps what it is told of the parts"
        def __init__(self, *args, **kw): shown.update(kw)
        def dataloaders(self, items, **kw): return [np.array(items)[o] for o in shown['splitter'](items)]
    with patch.object(own_runs, 'DataBlock', Block): of = own_runs._own_dls(images, part, dict(size=8, bs=4), CPU)
    assert all((part[o]==p).all() and len(o)==(part==p).sum() for p,o in enumerate(of))


def own_scores(seed, spoil=False):
    "Scores of two ways on made-up images; with `spoil`, other test images and labels"
    images,_ = own_images()
    rng,part = np.random.default_rng(seed),own_runs.split_images(images, seed, .3, .3)
    def both_scores(m): return np.stack([-m, m], 1)
    z = {way:both_scores(rng.normal(size=120)+images.y-.7) for way in ('plain','final BN')}
    if spoil:
        labels = tuple(l if p<2 else 'ba'[l=='b'] for l,p in zip(images.labels, part))
        images = own_runs.OwnImages('made', images.files, labels, 'b')
        z = {way:np.where(part[:,None]==2, -3*o, o) for way,o in z.items()}
    return images,z,part


def test_candidates_are_chosen_without_the_test_set():
    "Lines, shifts and what the validation set says are the same with garbage in the test set; both classes are scored"
    def scored(spoil): return candidates.score_split(*own_scores(0, spoil), .02, 0, True)
    right,wrong = scored(False),scored(True)
    def chosen(row): return [row[k] for k in ('candidate','threshold','valid_f1')]
    for a,b in zip(right, wrong):
        assert chosen(a)==chosen(b) and a['f1']!=b['f1']
        near(a['F1: b'], a['f1'])
    images,z,part = own_scores(0)
    def shifted(y): return candidates._of_rule(candidates.SHIFT, z['plain'], y, part, 1, .02, True, 0).z
    near(shifted(images.y), shifted(own_scores(0, True)[0].y))
    by_name = {r['candidate']:r for r in right}
    m,is_rare = candidates.rare_margin(z['plain'], 1)[part==1],(images.y==1)[part==1]
    held = candidates._out_of_fold(is_rare, m, .02, 0)
    near(by_name['plain + line']['valid_f1'], at_prevalence(is_rare, held, .02)['f1'])
    near(by_name['plain + line']['threshold'], prevalence_threshold(is_rare, m, .02))
    behind = np.array([.0,.1,.05,.02,.08])
    valid = pd.DataFrame({'plain':.5-behind, 'final BN':np.full(5, .5)})
    chosen = [candidates.choose_candidate(valid, ratio) for ratio in (0, 3)]
    assert chosen==['final BN','plain']


def test_curves_are_of_the_test_set():
    "Precision over recall at a prevalence, on test images alone"
    images,z,part = own_scores(0)
    curve = comparison.mean_curves(images, [(0,part,z)], ['plain'], .01).plain
    m,y = candidates.rare_margin(z['plain'], 1)[part==2],(images.y==1)[part==2]
    found = at_prevalence(y, m, .01, np.r_[np.unique(m)-1e-9])
    best = [found['precision'][found['recall']>=r-1e-9].max() for r in curve.index]
    near(curve, best, 1e-6)
    table = pd.DataFrame([dict(candidate='final BN', f1=.1, precision=.2, recall=.3, roc_auc=.4, pr_auc=.5, alarms=6.,
                               false_alarms=7., f1_difference=0., f1_lo=0., f1_hi=0.)])
    shown = comparison.as_shown(table).iloc[0]
    assert shown[['F1','precision','recall','ROC AUC']].tolist()==['0.10','0.20','0.30','0.40']


# --- The table of mutations itself

def test_every_mutation_still_fits():
    "Each bug's text stands once in its module and in one exported cell, and names are told apart"
    found = mutations.all_mutations()
    assert len({(m.file, m.name) for m in found})==len(found)>=60
    for m in found:
        assert mutations.broken_module(m)!=(mutations.ROOT/mutations.module_path(m.file)).read_text(encoding='utf-8')
        mutations.broken_notebook(m)
        assert (mutations.ROOT/m.test.partition('::')[0]).exists(), m.test


@pytest.mark.slow
def test_mutations_are_run(run, root, tmp_path):
    "Two of the cheapest are caught, and the table says so"
    names = 'no fsync of a whole file','a short write taken for a whole one'
    done = run('python', 'tests/mutations.py', '--name', *names, '--out', tmp_path/'m.csv', cwd=root)
    assert done.returncode==0 and '2 of 2 mutations were caught' in done.stdout, done.stdout+done.stderr
    df = pd.read_csv(tmp_path/'m.csv')
    assert df.columns.tolist()==['mutation','file','test','caught','seconds'] and set(df.caught)=={'yes'}


def test_a_survivor_is_said():
    "A change that changes nothing is not caught"
    m = mutations.Mutation('nothing', 'cache', 's = file.stat()', 's = file.lstat()', 'tests/test_integrity.py')
    with patch.object(mutations, 'passes', lambda test, copy: True), mutations.a_copy() as copy:
        before = (copy/'finalbn_fastai/cache.py').read_bytes()
        assert mutations.try_one(m, copy).caught=='NO' and (copy/'finalbn_fastai/cache.py').read_bytes()==before
    with pytest.raises(ValueError, match='the code has moved on'): mutations.replace_once('a', 'b', 'c', 'x.py')
