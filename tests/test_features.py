"Features, between processes"
import os, pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from torch import nn
import finalbn_fastai.features as features
if sys.argv[2]=='again':
    def never(*args, **kwargs): raise AssertionError('the body ran again')
    features.extract = never
folder = Path(sys.argv[1])
paths = [folder/f'{i}.png' for i in range(6)]
for i,p in enumerate(paths):
    if not p.exists(): Image.fromarray(np.full((40,40,3), 40*i, np.uint8)).save(p)
torch.manual_seed(0)
body = nn.Conv2d(3, 5, 3)
f = features.cached_features(body, paths, 32, ([.5]*3, [.5]*3))
print(f.shape, f.double().sum().item())
"""


@pytest.mark.slow
def test_second_process_uses_the_cache(run, tmp_path):
    "The same body, files and size in another process: read, not computed"
    env = {**os.environ, 'FINALBN_CACHE':str(tmp_path/'cache')}
    first,again = (run('python', '-W', 'ignore', '-c', SCRIPT, tmp_path, how, env=env) for how in ('first', 'again'))
    assert first.returncode==0, first.stderr
    assert again.returncode==0 and again.stdout==first.stdout, again.stderr
