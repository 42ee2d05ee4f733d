"What several files of tests need: a process that runs code, a picture"
import io, subprocess, sys
import numpy as np
from PIL import Image


def run_python(code, **kwargs):
    "A Python process that runs `code`"
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], **kwargs)


def picture(seed):
    "The bytes of a small JPEG"
    out,noise = io.BytesIO(),np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(out, 'JPEG')
    return out.getvalue()
