// The lab: trains the networks of the first chapter in the reader's browser. The page is made by `finalbn_fastai.lab`.

// What is computed. It stands alone: its text is also the whole program of the worker.
function labEngine() {
  'use strict'
  const PIXELS = 784, HIDDEN = 128, BATCH = 64, N_TEST = 100, N_MAJORITY = 400
  const WEIGHT_DECAY = .01, SQR_MOM = .99, ADAM_EPS = 1e-5, BN_EPS = 1e-5

  // Mersenne Twister: `seed` as PyTorch's CPU generator takes it
  class Twister {
    constructor(seed) {
      const state = this.state = new Uint32Array(624)
      state[0] = seed
      for (let i = 1; i<624; i++) state[i] = Math.imul(1812433253, state[i-1] ^ (state[i-1]>>>30)) + i
      this.at = 624
    }
    twist() {
      const state = this.state
      for (let i = 0; i<624; i++) {
        const y = (state[i] & 0x80000000) | (state[(i+1)%624] & 0x7fffffff)
        state[i] = state[(i+397)%624] ^ (y>>>1) ^ (y & 1 ? 0x9908b0df : 0)
      }
      this.at = 0
    }
    next() {
      if (this.at==624) this.twist()
      let y = this.state[this.at++]
      y ^= y>>>11
      y ^= (y<<7) & 0x9d2c5680
      y ^= (y<<15) & 0xefc60000
      return (y ^ (y>>>18))>>>0
    }
  }

  // Python's `random.Random(seed)`, a seed below 2**32, with what fastai's loaders use of it
  class PythonRandom extends Twister {
    constructor(seed) {
      super(19650218)
      const state = this.state
      const mixed = i => state[i] ^ Math.imul(state[i-1] ^ (state[i-1]>>>30), this.factor)
      let i = 1
      const onward = () => {
        if (++i<624) return
        state[0] = state[623]
        i = 1
      }
      this.factor = 1664525
      for (let k = 0; k<624; k++) {
        state[i] = mixed(i) + seed
        onward()
      }
      this.factor = 1566083941
      for (let k = 0; k<623; k++) {
        state[i] = mixed(i) - i
        onward()
      }
      state[0] = 0x80000000
    }
    word() {  // randint(0, 2**32-1): of 33 bits, drawn again where the highest is set
      for (;;) {
        const low = this.next()
        if (!(this.next()>>>31)) return low
      }
    }
    below(n) {
      const shift = Math.clz32(n)
      for (;;) {
        const drawn = this.next()>>>shift
        if (drawn<n) return drawn
      }
    }
    shuffled(n) {  // sample(range(n), n)
      const left = Array.from({length: n}, (_, i) => i)
      return left.map((_, i) => {
        const j = this.below(n-i), taken = left[j]
        left[j] = left[n-i-1]
        return taken
      })
    }
  }

  // NumPy's `default_rng(seed)`, with its permutations
  class NumpyRandom {
    constructor(seed) {
      const [a, b, c, d] = this.seedWords(seed)
      this.increment = BigInt.asUintN(128, ((c<<64n | d)<<1n) | 1n)
      this.state = 0n
      this.step()
      this.state += a<<64n | b
      this.step()
      this.kept = null
    }
    seedWords(seed) {  // SeedSequence(seed).generate_state(4, uint64)
      let hash = 0x43b0d7e5
      const mix = (value, factor) => {
        value ^= hash
        hash = Math.imul(hash, factor)
        value = Math.imul(value, hash)
        return value ^ (value>>>16)
      }
      const both = (x, y) => {
        const z = Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)
        return z ^ (z>>>16)
      }
      const pool = [seed, 0, 0, 0].map(value => mix(value, 0x931e8875))
      for (let from = 0; from<4; from++)
        for (let to = 0; to<4; to++)
          if (from!=to) pool[to] = both(pool[to], mix(pool[from], 0x931e8875))
      hash = 0x8b51f9dd
      const words = Array.from({length: 8}, (_, i) => BigInt(mix(pool[i%4], 0x58f38ded)>>>0))
      return [0, 2, 4, 6].map(i => words[i+1]<<32n | words[i])
    }
    step() {
      this.state = BigInt.asUintN(128, this.state*0x2360ed051fc65da44385df649fccf645n + this.increment)
    }
    next() {  // 32 bits, the lower half of 64 first
      if (this.kept!=null) {
        const high = this.kept
        this.kept = null
        return high
      }
      this.step()
      const mixed = BigInt.asUintN(64, this.state>>64n ^ this.state), turn = this.state>>122n
      const drawn = BigInt.asUintN(64, mixed>>turn | mixed<<(64n-turn))
      this.kept = Number(drawn>>32n)
      return Number(drawn & 0xffffffffn)
    }
    below(n) {  // as many bits as are needed, drawn again where they say too much
      const shift = Math.clz32(n-1), mask = 0xffffffff>>>shift
      for (;;) {
        const drawn = (this.next() & mask)>>>0
        if (drawn<n) return drawn
      }
    }
    permutation(n) {
      const order = Array.from({length: n}, (_, i) => i)
      for (let i = n-1; i>0; i--) {
        const j = this.below(i+1), moved = order[i]
        order[i] = order[j]
        order[j] = moved
      }
      return order
    }
  }

  // The images of a seed, as numbers of the pool: the eights first in it, as many threes after them
  function draw(pool, rare, seed) {
    const each = pool.length/PIXELS/2, rng = new NumpyRandom(seed)
    const threes = rng.permutation(each).map(i => each+i), eights = rng.permutation(each)
    const train = [...threes.slice(N_TEST, N_TEST+rare), ...eights.slice(N_TEST, N_TEST+N_MAJORITY)]
    return {train, test: [...threes.slice(0, N_TEST), ...eights.slice(0, N_TEST)]}
  }

  // Images as what is not black in them: where each begins, the pixels, their values from 0 to 1; and 1 for a three
  function sparse(pool, images) {
    const starts = [0], at = [], values = []
    for (const image of images) {
      for (let p = 0; p<PIXELS; p++) {
        const value = pool[image*PIXELS+p]
        if (!value) continue
        at.push(p)
        values.push(value/255)
      }
      starts.push(at.length)
    }
    const y = Uint8Array.from(images, i => i>=pool.length/PIXELS/2 ? 1 : 0)
    const used = new Uint8Array(PIXELS)
    for (const p of at) used[p] = 1
    return {n: images.length, starts: Int32Array.from(starts), at: Int32Array.from(at),
            values: Float32Array.from(values), used, y}
  }

  // fastai's one-cycle schedule, float32 where it is
  function oneCycle(pct, start, middle, end) {
    const second = pct>=.25
    const there = Math.fround(pct), place = second ? Math.fround((there-.25)/.75) : there/.25
    const [from, to] = second ? [middle, end] : [start, middle]
    return from + (1 + Math.cos(Math.PI*(1-place)))*(to-from)/2
  }

  // Numbers that are trained, with their gradients and Adam's averages
  function trained(size) {
    const [value, grad, mean, square] = Array.from({length: 4}, () => new Float64Array(size))
    return {value, grad, mean, square}
  }

  // The pixels of a batch of images, pixel by pixel: in which of them it is not black
  function turned({starts, at, values}, batch) {
    const found = Array.from({length: PIXELS}, () => [])
    batch.forEach((image, n) => {
      for (let k = starts[image]; k<starts[image+1]; k++) found[at[k]].push(n, values[k])
    })
    const turn = {starts: new Int32Array(PIXELS+1), at: [], values: []}
    found.forEach((pairs, p) => {
      for (let k = 0; k<pairs.length; k += 2) {
        turn.at.push(pairs[k])
        turn.values.push(pairs[k+1])
      }
      turn.starts[p+1] = turn.at.length
    })
    return {starts: turn.starts, at: Int32Array.from(turn.at), values: Float32Array.from(turn.values)}
  }

  // Add to `sums`, from `to` on, the rows that line `i` of a sparse matrix names: where the time goes, so four at once
  function addRows(sums, to, rows, {starts, at, values}, i) {
    let k = starts[i]
    const end = starts[i+1]
    for (; k+4<=end; k += 4) {
      const a = at[k]*HIDDEN, b = at[k+1]*HIDDEN, c = at[k+2]*HIDDEN, d = at[k+3]*HIDDEN
      const x = values[k], y = values[k+1], z = values[k+2], v = values[k+3]
      for (let j = 0; j<HIDDEN; j++) sums[to+j] += x*rows[a+j] + y*rows[b+j] + z*rows[c+j] + v*rows[d+j]
    }
    for (; k<end; k++) {
      const from = at[k]*HIDDEN, x = values[k]
      for (let j = 0; j<HIDDEN; j++) sums[to+j] += x*rows[from+j]
    }
  }

  // A step of Adam, its averages corrected for having begun at zero
  function adam({value, grad, mean, square}, {rate, debias, keep, mom}, from, to) {
    for (let k = from; k<to; k++) {
      const g = grad[k], m = mean[k] = mom*mean[k] + (1-mom)*g, s = square[k] = SQR_MOM*square[k] + (1-SQR_MOM)*g*g
      value[k] = keep*value[k] - rate*m/(Math.sqrt(s/debias)+ADAM_EPS)
    }
  }

  // A network of one hidden layer as PyTorch makes it after `manual_seed`; with the final BN or without
  class Net {
    constructor(seed, finalBN, momentum) {
      Object.assign(this, {finalBN, momentum, steps: 0})
      this.w1 = trained(PIXELS*HIDDEN)  // a pixel's weights lie together
      this.b1 = trained(HIDDEN)
      this.w2 = trained(2*HIDDEN)
      this.b2 = trained(2)
      this.gamma = trained(2)
      this.beta = trained(2)
      this.gamma.value.fill(1)
      this.runningMean = new Float64Array(2)
      this.runningVar = new Float64Array(2).fill(1)
      this.others = [this.b1, this.b2, ...(finalBN ? [this.gamma, this.beta] : [])]
      const rng = new Twister(seed)
      const uniform = inputs => {
        const bound = Math.fround(1/Math.sqrt(inputs)), width = Math.fround(2*bound)
        return Math.fround((rng.next() & 0xffffff)/0x1000000*width - bound)
      }
      for (let j = 0; j<HIDDEN; j++)
        for (let p = 0; p<PIXELS; p++) this.w1.value[p*HIDDEN+j] = uniform(PIXELS)
      for (let j = 0; j<HIDDEN; j++) this.b1.value[j] = uniform(PIXELS)
      for (let k = 0; k<2*HIDDEN; k++) this.w2.value[k] = uniform(HIDDEN)
      for (let k = 0; k<2; k++) this.b2.value[k] = uniform(HIDDEN)
    }

    // Scores before the layer, two an image; the hidden layers go to `hidden`
    scores(images, chosen, hidden) {
      const z = new Float64Array(2*chosen.length), w = this.w2.value, b = this.b2.value, sums = new Float64Array(HIDDEN)
      for (let n = 0; n<chosen.length; n++) {
        const from = n*HIDDEN
        for (let j = 0; j<HIDDEN; j++) sums[j] = this.b1.value[j]
        addRows(sums, 0, this.w1.value, images, chosen[n])
        let zero = 0, one = 0
        for (let j = 0; j<HIDDEN; j++) {
          const h = Math.max(0, sums[j])
          hidden[from+j] = h
          zero += h*w[j]
          one += h*w[HIDDEN+j]
        }
        z[2*n] = zero+b[0]
        z[2*n+1] = one+b[1]
      }
      return z
    }

    // How far the score of the three lies above that of the eight, as in use
    margins(images) {
      const all = Array.from({length: images.n}, (_, i) => i)
      const z = this.scores(images, all, new Float64Array(images.n*HIDDEN))
      if (this.finalBN) for (let k = 0; k<z.length; k++) {
        const c = k%2
        const scale = this.gamma.value[c]/Math.sqrt(this.runningVar[c]+BN_EPS)
        z[k] = (z[k]-this.runningMean[c])*scale + this.beta.value[c]
      }
      return Float64Array.from(all, i => z[2*i+1]-z[2*i])
    }

    // One column of scores normalized by its own mean and variance, in place; what the way back needs of it
    normalize(z, c) {
      const n = z.length/2
      let mean = 0, sum = 0
      for (let i = c; i<z.length; i += 2) mean += z[i]/n
      for (let i = c; i<z.length; i += 2) sum += (z[i]-mean)**2
      const scale = 1/Math.sqrt(sum/n+BN_EPS), m = this.momentum
      this.runningMean[c] = (1-m)*this.runningMean[c] + m*mean
      this.runningVar[c] = (1-m)*this.runningVar[c] + m*sum/(n-1)
      const normal = new Float64Array(n)
      for (let i = 0; i<n; i++) {
        normal[i] = (z[2*i+c]-mean)*scale
        z[2*i+c] = normal[i]*this.gamma.value[c] + this.beta.value[c]
      }
      return {normal, scale}
    }

    // The gradient before the layer from that after it, in place
    denormalize(dz, c, {normal, scale}) {
      const n = normal.length
      let shift = 0, stretch = 0
      for (let i = 0; i<n; i++) {
        shift += dz[2*i+c]
        stretch += dz[2*i+c]*normal[i]
      }
      this.beta.grad[c] = shift
      this.gamma.grad[c] = stretch
      const factor = this.gamma.value[c]*scale
      for (let i = 0; i<n; i++) dz[2*i+c] = factor*(dz[2*i+c] - shift/n - normal[i]*stretch/n)
    }

    // The gradient of the mean cross-entropy of a batch
    backward(images, batch, byPixel) {
      const n = batch.length, hidden = new Float64Array(n*HIDDEN), z = this.scores(images, batch, hidden)
      const kept = this.finalBN ? [0, 1].map(c => this.normalize(z, c)) : []
      const dz = z
      batch.forEach((image, i) => {
        const three = 1/(1+Math.exp(z[2*i]-z[2*i+1])), pull = (three-images.y[image])/n
        dz[2*i] = -pull
        dz[2*i+1] = pull
      })
      kept.forEach((found, c) => this.denormalize(dz, c, found))
      for (const part of [this.w1, this.b1, this.w2, this.b2]) part.grad.fill(0)
      const slopes = new Float64Array(n*HIDDEN), w2 = this.w2.value, g2 = this.w2.grad, gb = this.b1.grad
      for (let i = 0; i<n; i++) {
        const zero = dz[2*i], one = dz[2*i+1], from = i*HIDDEN
        this.b2.grad[0] += zero
        this.b2.grad[1] += one
        for (let j = 0; j<HIDDEN; j++) {
          const h = hidden[from+j], slope = h>0 ? zero*w2[j] + one*w2[HIDDEN+j] : 0
          g2[j] += zero*h
          g2[HIDDEN+j] += one*h
          gb[j] += slope
          slopes[from+j] = slope
        }
      }
      for (let p = 0; p<PIXELS; p++) addRows(this.w1.grad, p*HIDDEN, slopes, byPixel, p)
    }

    // A step of fastai's Adam; a pixel that is black in every image has no gradient, and its weights only decay
    step(images, batch, byPixel, lr, mom) {
      this.backward(images, batch, byPixel)
      this.steps++
      const how = {rate: lr/(1-mom**this.steps), debias: 1-SQR_MOM**this.steps, keep: 1, mom}
      const decaying = {...how, keep: 1-lr*WEIGHT_DECAY}, w1 = this.w1
      for (let p = 0; p<PIXELS; p++) {
        const from = p*HIDDEN, to = from+HIDDEN
        if (images.used[p]) adam(w1, decaying, from, to)
        else for (let k = from; k<to; k++) w1.value[k] *= decaying.keep
      }
      adam(this.w2, decaying, 0, 2*HIDDEN)
      for (const part of this.others) adam(part, how, 0, part.value.length)
    }
  }

  // Both networks in training: what they say of the test images, before the first epoch and after each
  function* race(pool, {seed, rare, epochs, lr, momentum}) {
    const images = draw(pool, rare, seed), train = sparse(pool, images.train), test = sparse(pool, images.test)
    const nets = [false, true].map(finalBN => new Net(seed, finalBN, momentum))
    const said = epoch => ({epoch, margins: nets.map(net => net.margins(test)), y: test.y})
    yield said(0)
    const steps = Math.floor(train.n/BATCH)
    let order = new PythonRandom(seed)
    for (let epoch = 0; epoch<epochs; epoch++) {
      order = new PythonRandom(order.word())
      const shuffled = order.shuffled(train.n)
      let pct = epoch/epochs
      for (let k = 0; k<steps; k++) {
        const batch = shuffled.slice(k*BATCH, (k+1)*BATCH)
        const rate = oneCycle(pct, lr/25, lr, lr/1e5), mom = oneCycle(pct, .95, .85, .95)
        const byPixel = turned(train, batch)
        for (const net of nets) net.step(train, batch, byPixel, rate, mom)
        pct += 1/(steps*epochs)
      }
      yield said(epoch+1)
    }
  }

  // Images of either class above a threshold of the margin
  function counted(margins, y, threshold) {
    let found = 0, alarms = 0
    for (let i = 0; i<y.length; i++) if (margins[i]>threshold) y[i] ? found++ : alarms++
    return {found, alarms}
  }

  // Recall, precision and F1 of the threes where their share is `prevalence`; nothing is precise that finds nothing
  function scored({found, alarms}, prevalence) {
    const recall = found/N_TEST, hits = prevalence*recall, precision = hits/(hits + (1-prevalence)*alarms/N_TEST) || 0
    return {recall, precision, f1: 2*hits/(hits + (1-prevalence)*alarms/N_TEST + prevalence)}
  }

  // Area under the ROC curve: how often a three lies above an eight, ties half
  function auc(margins, y) {
    const threes = margins.filter((_, i) => y[i]), eights = margins.filter((_, i) => !y[i])
    let above = 0
    for (const a of threes) for (const b of eights) above += a>b ? 1 : a==b ? .5 : 0
    return above/threes.length/eights.length
  }

  return {Twister, PythonRandom, NumpyRandom, Net, draw, sparse, oneCycle, race, counted, scored, auc}
}


// The page: controls, pictures and words
function labPage(root, data, pool) {
  'use strict'
  const SHOWN = 8, REACH = 60, TOP = 4095
  const engine = labEngine(), still = matchMedia('(prefers-reduced-motion: reduce)').matches
  const find = name => root.querySelector(`[data-lab="${name}"]`)
  const percent = p => `${+(100*p).toPrecision(2)} %`
  const number = p => p.toFixed(3)
  const many = (n, name) => `${n} ${name}${n==1 ? '' : 's'}`
  const CHOICES = {
    rare: {values: [1, 2, 4, 8, 20, 40, 100, 200, 400], usual: 4, say: n => `${many(n, 'three')}, 400 eights`},
    lr: {values: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2], usual: 1e-3, say: String},
    momentum: {values: [.003, .01, .03, .1, .3, 1], usual: .01, say: String},
    epochs: {values: [5, 10, 25, 50, 100, 200], usual: 100, say: String},
    prevalence: {values: [.001, .002, .005, .01, .02, .05, .1, .2, .5], usual: .5, say: percent}
  }
  const chosen = name => CHOICES[name].values[find(name).value]
  const settings = () => {
    const picked = Object.fromEntries(['rare', 'lr', 'momentum', 'epochs'].map(name => [name, chosen(name)]))
    return {...picked, seed: +find('seed').value}
  }
  const NETS = [0, 1], names = ['without final BN', 'with final BN']
  const threshold = n => +find(`threshold-${n}`).value
  let frames = [], at = 0, worker = null, racing = null, waiting = false, raced = 0

  // What a network says of the test images after an epoch, scored as the sliders ask
  function scores(n, frame) {
    const margins = frame.margins[n], counts = engine.counted(margins, frame.y, threshold(n))
    return {...counts, ...engine.scored(counts, chosen('prevalence'))}
  }
  const heading = (n, {found, alarms}) =>
    `${names[n]}: ${found} of 100 threes found, ${alarms} of 100 eights taken for threes`

  const place = m => TOP/2*(1 + Math.asinh(2*Math.max(-REACH, Math.min(REACH, m)))/Math.asinh(2*REACH))
  const heights = Array.from({length: 200}, (_, i) => i<100 ? 6+34*(i*.618034%1) : 52+44*(i*.618034%1))
  function dots(frame, n, three) {
    let d = ''
    frame.margins[n].forEach((m, i) => {
      if (frame.y[i]==three) d += `M${place(m).toFixed(0)} ${heights[i].toFixed(0)}h0`
    })
    return d
  }
  function drawNet(n) {
    const frame = frames[at], strip = find(`strip-${n}`), found = scores(n, frame)
    const [line, eights, edge, threes] = strip.querySelectorAll('svg > path')
    const where = place(threshold(n)).toFixed(0)
    line.setAttribute('d', `M${where} 0V100`)
    eights.setAttribute('d', dots(frame, n, 0))
    edge.setAttribute('d', dots(frame, n, 1))
    threes.setAttribute('d', edge.getAttribute('d'))
    strip.querySelector('p').textContent = heading(n, found)
    const cells = {found: found.found, alarms: found.alarms, auc: number(engine.auc(frame.margins[n], frame.y)),
                   precision: found.found ? number(found.precision) : '–', f1: number(found.f1)}
    for (const [name, text] of Object.entries(cells)) find(`${name}-${n}`).textContent = text
    const slider = find(`threshold-${n}`), p = 1/(1+Math.exp(-threshold(n)))
    const said = p>.999 ? `1 − ${(1-p).toPrecision(2)}` : `${+p.toPrecision(2)}`
    find(`threshold-${n}-said`).textContent = said
    slider.setAttribute('aria-valuetext', `${said}; ${heading(n, found)}`)
  }
  function drawCurves() {
    const last = Math.max(1, racing ? racing.epochs : frames.length-1)
    for (const n of NETS) {
      const points = frames.map((frame, k) => `${(1000*k/last).toFixed(0)} ${(100-100*scores(n, frame).f1).toFixed(1)}`)
      find(`curve-${n}`).setAttribute('d', `M${points.join('L')}`)
    }
    const here = (1000*at/last).toFixed(0)
    find('curve-at').setAttribute('d', `M${here} 0V100`)
  }
  function draw() {
    waiting = false
    if (!frames.length) return
    for (const n of NETS) drawNet(n)
    drawCurves()
    const epoch = find('epoch'), said = at ? `${at} of ${racing ? racing.epochs : frames.length-1}` : 'untrained'
    epoch.max = frames.length-1
    epoch.value = at
    find('epoch-said').textContent = said
    epoch.setAttribute('aria-valuetext', [`epoch ${said}`, ...NETS.map(n => heading(n, scores(n, frames[at])))].join('; '))
  }
  function drawSoon() {
    if (waiting) return
    waiting = true
    requestAnimationFrame(draw)
  }

  // The threes that both networks see in training
  function showDigits() {
    const {rare, seed} = settings(), canvas = find('digits'), shown = Math.min(SHOWN, rare)
    const threes = engine.draw(pool, rare, seed).train.slice(0, shown)
    canvas.width = 28*shown
    canvas.height = 28
    canvas.style.width = `min(100%, ${40*shown}px)`
    const pen = canvas.getContext('2d'), picture = pen.createImageData(28*shown, 28)
    threes.forEach((image, n) => {
      for (let p = 0; p<784; p++) {
        const to = 4*(Math.floor(p/28)*28*shown + 28*n + p%28)
        picture.data.fill(pool[784*image+p], to, to+3)
        picture.data[to+3] = 255
      }
    })
    pen.putImageData(picture, 0, 0)
    const words = rare>shown ? `${shown} of the ${rare} threes` : rare>1 ? `All ${rare} threes` : 'The only three'
    find('digits-said').textContent = `${words} that both networks are trained on, among 400 eights`
    canvas.setAttribute('aria-label', `${words} of the training set, handwritten`)
  }

  // Training, in a worker, or in slices where there is none
  function begin(asked, told, ended) {
    const program = `(${labWorker})((${labEngine})())`
    try {
      worker = new Worker(URL.createObjectURL(new Blob([program], {type: 'text/javascript'})))
      worker.onmessage = ({data}) => data ? told(data) : ended()
      worker.postMessage({pool, asked})
    } catch {
      const run = engine.race(pool, asked), mine = worker = {terminate() { worker = null }}
      const on = () => {
        if (worker!=mine) return
        const {value, done} = run.next()
        if (done) return ended()
        told(value)
        setTimeout(on)
      }
      on()
    }
  }
  function stop() {
    if (worker) worker.terminate()
    worker = null
    racing = null
    for (const name of ['expected-0', 'expected-1']) find(name).disabled = false
    find('race').textContent = 'Race'
    find('progress').hidden = true
  }
  const expected = n => find(`expected-${n}`).value
  function compared(n) {
    const {found} = engine.counted(frames.at(-1).margins[n], frames[0].y, 0)
    const said = `${names[n]}: ${found} of 100 threes found`, more = found-expected(n)
    if (expected(n)==='') return said
    return `${said}, ${more ? `${Math.abs(more)} ${more>0 ? 'more' : 'fewer'} than` : 'as'} you said`
  }
  function besidePython(asked) {
    const usual = Object.entries(CHOICES).every(([name, {usual}]) => !(name in asked) || asked[name]==usual)
    const row = usual && data.rows[asked.seed]
    if (!row) return ''
    const frame = frames.at(-1), said = ([found, auc]) => `${found} found, ROC-AUC ${number(auc)}`
    const both = NETS.map(n => {
      const found = engine.counted(frame.margins[n], frame.y, 0).found
      return `${names[n]} ${said(row[n])} (here ${said([found, engine.auc(frame.margins[n], frame.y)])})`
    })
    return `The row of this seed in results/demo.csv, trained by PyTorch: ${both.join('; ')}.`
  }
  function race() {
    const asked = settings(), began = performance.now()
    stop()
    racing = asked
    frames = []
    at = 0
    raced++
    for (const name of ['expected-0', 'expected-1']) find(name).disabled = true
    find('race').textContent = 'Stop'
    find('news').textContent = `Both networks are in training, for ${asked.epochs} epochs.`
    find('python').textContent = ''
    find('strip-1').scrollIntoView({block: 'nearest', behavior: still ? 'auto' : 'smooth'})
    const progress = find('progress')
    progress.hidden = false
    progress.max = asked.epochs
    function told(frame) {
      frames.push(frame)
      progress.value = frame.epoch
      if (still && frame.epoch) return
      at = frame.epoch
      drawSoon()
    }
    function ended() {
      const seconds = ((performance.now()-began)/1000).toFixed(1)
      root.dataset.seconds = seconds
      stop()
      at = frames.length-1
      for (const n of NETS) find(`expected-${n}`).required = false
      find('news').textContent = `Trained for ${asked.epochs} epochs in ${seconds} s. At the default threshold, `
        + `${compared(0)}; ${compared(1)}.`
      find('python').textContent = besidePython(asked)
      root.dataset.raced = raced
      drawSoon()
    }
    begin(asked, told, ended)
  }

  function tell(name) {
    const said = CHOICES[name].say(chosen(name))
    find(`${name}-said`).textContent = said
    find(name).setAttribute('aria-valuetext', said)
  }
  for (const [name, {values, usual}] of Object.entries(CHOICES)) {
    const slider = find(name)
    slider.max = values.length-1
    slider.value = values.indexOf(usual)
    tell(name)
    slider.oninput = () => {
      tell(name)
      if (name=='rare') showDigits()
      if (name=='prevalence') drawSoon()
    }
  }
  for (const n of NETS) find(`threshold-${n}`).oninput = drawSoon
  find('seed').oninput = () => find('seed').validity.valid && showDigits()
  find('epoch').oninput = () => {
    at = +find('epoch').value
    drawSoon()
  }
  find('form').onsubmit = event => {
    event.preventDefault()
    if (!racing) return race()
    stop()
    find('news').textContent = 'Stopped.'
    drawSoon()
  }
  showDigits()
  frames = [engine.race(pool, {...settings(), epochs: 1}).next().value]
  draw()
  find('still').hidden = true
  find('live').hidden = false
  root.dataset.ready = Math.round(performance.now())
}

// The program of the worker
function labWorker(engine) {
  onmessage = ({data: {pool, asked}}) => {
    for (const frame of engine.race(pool, asked)) postMessage(frame)
    postMessage(null)
  }
}

// Unpack the digits of each lab of the page, and begin; a browser that cannot leaves the still
async function labStart(root) {
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent)
  const bytes = Uint8Array.from(atob(data.pool), letter => letter.charCodeAt(0))
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))
  labPage(root, data, new Uint8Array(await new Response(unpacked).arrayBuffer()))
}

if (typeof module=='object') module.exports = labEngine()
else addEventListener('DOMContentLoaded', () => document.querySelectorAll('.fbn-lab').forEach(labStart))
