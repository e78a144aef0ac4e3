'use strict';
// All text of the prompt goes into the page as text nodes, never as markup: it is whatever the document held.
const data = JSON.parse(document.getElementById('data').textContent);
const byId = id => document.getElementById(id);
const count = n => n.toLocaleString('en-US');
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;
const percent = x => `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)}\u00a0%`;
const seconds = ms => ms < 995 ? `${ms.toFixed(0)} ms` : `${(ms / 1e3).toFixed(2)} s`;
const mebibytes = bytes => `${(bytes / 1048576).toFixed(bytes < 10485760 ? 1 : 0)} MiB`;

function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

// ---- What is known of each block

const prunes = data.prunes;
const blocks = data.blocks;
// A pruning that the safety rules put off keeps everything; it does not count as a step of a block's life.
const steps = prunes.filter(prune => !prune.put_off);
const stepOf = prune => steps.indexOf(prune) + 1;
const pruneName = prune => prune.put_off ? `layer ${prune.layer}: nothing dropped` : `prune ${stepOf(prune)} (layer ${prune.layer})`;
const isPinned = block => block.forced.length > 0;

prunes.forEach((prune, index) => {
  const kept = new Set(prune.kept);
  const ranked = prune.blocks.map((id, i) => ({id, score: prune.scores[i]})).filter(entry => !isPinned(blocks[entry.id]));
  ranked.sort((a, b) => b.score - a.score || a.id - b.id);
  const rank = new Map(ranked.map((entry, i) => [entry.id, i + 1]));
  prune.of = new Map(prune.blocks.map(
      (id, i) => [id, {score: prune.scores[i], kept: kept.has(id), rank: rank.get(id), ranks: ranked.length, index}]));
});
const lastTrial = id => prunes.map(prune => prune.of.get(id)).filter(Boolean).pop();
const tokensOf = id => [id * data.block_tokens, Math.min((id + 1) * data.block_tokens, data.prompt_tokens) - 1];
const isKeptToTheEnd = block => block.lived === prunes.length;

function fate(block) {
  if (!data.pruned) return 'read by every layer';
  return isKeptToTheEnd(block) ? 'kept to the end' : `dropped at ${pruneName(prunes[block.lived])}`;
}

// How a block looks in a view: its state, its shade, the length of its meter and the height of its cell in the strip.
// The square root lifts the low scores, of which there are most.
const shade = score => Math.sqrt(Math.min(1, Math.max(0, score)));
function look(id, view) {
  const block = blocks[id];
  if (view === null) {
    const trial = lastTrial(id);
    const survived = prunes.slice(0, block.lived).filter(prune => !prune.put_off).length;
    const life = steps.length ? survived / steps.length : 0;
    return {state: isKeptToTheEnd(block) ? 'kept' : 'dropped', heat: life, tall: data.pruned ? .25 + .75 * life : 1,
            meter: trial ? shade(trial.score) : 0};
  }
  const trial = view.of.get(id);
  if (!trial) return {state: 'gone', heat: 0, tall: .1, meter: 0};
  const heat = shade(trial.score);
  return {state: trial.kept ? 'kept' : 'dropped', heat, tall: trial.kept ? 1 : .4, meter: heat};
}

// ---- Header

function fact(name, value, note) {
  const dd = make('dd', '', value);
  if (note) dd.append(make('small', '', note));
  byId('facts').append(make('dt', '', name), dd);
}

function drawFacts() {
  const last = data.stages.length ? data.stages[data.stages.length - 1].tokens_in : data.prompt_tokens;
  const cached = data.cached_tokens ? `${count(data.cached_tokens)} of them from the KV store` : plural(blocks.length, 'block');
  fact('Prompt', plural(data.prompt_tokens, 'token'), cached);
  fact('Read to the end', plural(last, 'token'), `${percent(last / data.prompt_tokens)} of the prompt`);
  fact('Time to first token', seconds(data.ttft_ms), data.queue_ms >= data.ttft_ms / 100 ? `${seconds(data.queue_ms)} of it in the queue` : '');
  if (data.pruned) {
    fact('Speedup', data.speedup === null ? 'not known yet' : `${data.speedup.toFixed(2)}×`,
         data.speedup === null ? 'the server still learns what dense takes' :
             `dense: ${seconds(data.dense_ttft_ms)} by ${data.dense_method}, error ${percent(data.dense_error)}`);
  }
  if (data.dense_kv_bytes > 0) {
    // What decoding brings back later is not in the colours.
    const exchanged = data.swaps > 0 ? `; ${plural(data.swaps, 'block')} exchanged while answering` : '';
    fact('KV cache after prefill', mebibytes(data.kv_bytes), data.pruned ? `dense: ${mebibytes(data.dense_kv_bytes)}${exchanged}` : '');
  }
  fact('Model', data.model.name, data.model.backend);
  fact('Prune plan', data.model.plan || 'none', `request: --pruning ${data.pruning}`);
  fact('Served', data.served_by, data.fallbacks.length ? `fell back: ${data.fallbacks.map(f => f.code).join(', ')}` : 'no fallbacks');
  for (const dt of document.querySelectorAll('#facts dt')) {  // a pair must not be torn apart by the grid
    const pair = make('div', '');
    dt.replaceWith(pair);
    pair.append(dt, pair.nextSibling);
  }
}

function drawFunnel() {
  if (!data.pruned) return;
  let first = 0;
  data.stages.forEach((stage, i) => {
    const bar = make('i', '');
    const share = stage.tokens_in / data.prompt_tokens;
    bar.style.setProperty('--share', share);
    bar.style.setProperty('--h', i / Math.max(1, data.stages.length - 1));
    const where = first < stage.last_layer ? `layers ${first}–${stage.last_layer}` : `layer ${stage.last_layer}`;
    byId('funnel').append(make('li', '', make('span', 'where', where),
        make('span', 'track', bar, `${plural(stage.tokens_in, 'token')}${i ? ` (${percent(share)})` : ''}, ${seconds(stage.compute_ms)}`)));
    first = stage.last_layer + 1;
  });
}

function drawHeader() {
  byId('question').textContent = data.question;
  byId('answer').textContent = data.answer || 'The answer is empty.';
  byId('answer').classList.toggle('empty', !data.answer);
  const reasons = data.pruned ? data.fallbacks.map(f => f.text) : [data.why_dense];
  if (reasons.length) {
    byId('notice').hidden = false;
    byId('notice').append(make('b', '', data.pruned ? 'Less was left out than the plan says' : 'This prompt was not pruned'),
                          reasons.join(' '));
  }
  drawFacts();
  drawFunnel();
}

// ---- Blocks and strip

const cells = [], rows = [];
let view = null;  // null: the whole prefill; else one of `prunes`

function drawBlocks() {
  blocks.forEach((block, id) => {
    const number = make('span', 'number', String(id));
    const side = make('div', 'side', number, make('span', 'meter', make('i', '')));
    for (const reason of block.forced) side.append(make('span', 'mark', reason));
    const words = make('div', 'words');
    for (const part of block.text) words.append(typeof part === 'string' ? part : make('span', 'asked', part.question));
    const row = make('article', 'block', side, words);
    const cell = make('i', '');
    row.dataset.id = cell.dataset.id = id;
    rows.push(row);
    cells.push(cell);
  });
  byId('blocks').append(...rows);
  byId('strip').append(...cells);
}

function layOutStrip() {
  const width = byId('strip').clientWidth;
  const lines = Math.min(6, Math.max(1, Math.ceil(blocks.length * 5 / width)));
  byId('strip').style.gridTemplateColumns = `repeat(${Math.ceil(blocks.length / lines)}, minmax(0, 1fr))`;
  byId('strip').style.columnGap = width / blocks.length * lines < 5 ? '0' : '1px';
}

// With "only what was kept", the first block of a stretch that was not kept stands for all of it.
function markGaps() {
  let start = null, tokens = 0, length = 0;
  const close = () => {
    if (start) start.dataset.gap = `${plural(length, 'block')}, ${plural(tokens, 'token')} left out`;
    start = null;
  };
  rows.forEach((row, id) => {
    row.classList.remove('gap');
    if (row.classList.contains('kept')) return close();
    if (!start) [start, tokens, length] = [row, 0, 0];
    start.classList.add('gap');
    const [first, last] = tokensOf(id);
    tokens += last - first + 1;
    length += 1;
  });
  close();
}

function show(next) {
  view = next;
  blocks.forEach((block, id) => {
    const {state, heat, tall, meter} = look(id, view);
    rows[id].className = `block ${state}`;
    cells[id].className = `${state}${isPinned(block) ? ' pinned' : ''}`;
    for (const element of [rows[id], cells[id]]) element.style.setProperty('--h', heat.toFixed(3));
    rows[id].style.setProperty('--score', meter.toFixed(3));
    cells[id].style.setProperty('--tall', tall.toFixed(3));
  });
  for (const tab of byId('views').children) tab.setAttribute('aria-selected', String(tab.view === view));
  markGaps();
  drawLegend();
  markSeen();
}

function drawLegend() {
  const legend = byId('legend');
  legend.replaceChildren();
  const entry = (text, heat, name = '') => {
    const swatch = make('i', name);
    swatch.style.setProperty('--h', heat);
    legend.append(make('span', '', swatch, text));
  };
  if (view === null) {
    if (!data.pruned) entry('read by every layer', 0);
    else steps.forEach((prune, i) => entry(`dropped at ${pruneName(prune)}`, i / steps.length));
    if (data.pruned) entry('kept to the end', 1);
    if (prunes.length) legend.append(make('span', '', 'grey meter: last score'));
  } else {
    entry('score, low to high (square root)', 0, 'ramp');
    if (!view.put_off) legend.append(make('span', '', 'low in the strip and grey: dropped here'));
    if (view.blocks.length < blocks.length) entry('gone before', 0, 'gone');
  }
  if (blocks.some(isPinned)) entry('kept whatever its score: sink, local, question', 0, 'pinned');
  if (data.question_tokens) legend.append(make('span', '', make('span', 'asked', 'underlined'), ': taken for the question'));
}

// ---- Tabs, jumps, tooltips

function drawTabs() {
  const tab = (title, note, target) => {
    const button = make('button', '', title, note ? make('small', '', ` ${note}`) : '');
    button.setAttribute('role', 'tab');
    button.view = target;
    button.onclick = () => show(target);
    byId('views').append(button);
  };
  tab('How long it lived', '', null);
  for (const prune of prunes) {
    if (prune.put_off) tab(data.pruned ? 'Put off' : 'Called off', `layer ${prune.layer}`, prune);
    else tab(`Prune ${stepOf(prune)}`, `layer ${prune.layer}`, prune);
  }
}

function jump(id) {
  for (const element of document.querySelectorAll('.here')) element.classList.remove('here');
  // A hidden block lets the first of its stretch be seen.
  while (id > 0 && byId('only').checked && !rows[id].matches('.kept, .gap')) --id;
  rows[id].classList.add('here');
  cells[id].classList.add('here');
  scrollTo({top: scrollY + rows[id].getBoundingClientRect().top - byId('bar').offsetHeight - 40});
}

// To the beginning of the next stretch of kept blocks, or the one before; from the block last jumped to while it is in
// sight, else from the one below the bar.
function jumpToKept(direction) {
  const edge = byId('bar').getBoundingClientRect().bottom;
  const isBelow = row => row.offsetParent && row.getBoundingClientRect().bottom > edge + 1;
  const isInSight = row => isBelow(row) && row.getBoundingClientRect().top < innerHeight;
  const isKept = id => rows[id].classList.contains('kept');
  const starts = rows.map((_, id) => id).filter(id => isKept(id) && (id === 0 || !isKept(id - 1)));
  const here = rows.findIndex(row => row.classList.contains('here') && isInSight(row));
  const at = here >= 0 ? here : rows.findIndex(isBelow);
  const target = direction > 0 ? starts.find(id => id > at) : starts.reverse().find(id => id < at);
  if (target !== undefined) jump(target);
}

let seenFrame = 0;
function markSeen() {
  cancelAnimationFrame(seenFrame);
  seenFrame = requestAnimationFrame(() => {
    const top = byId('bar').getBoundingClientRect().bottom;
    rows.forEach((row, id) => {
      const box = row.getBoundingClientRect();
      cells[id].classList.toggle('seen', box.height > 0 && box.bottom > top && box.top < innerHeight);
    });
  });
}

function tipOf(id) {
  const [first, last] = tokensOf(id), block = blocks[id], table = make('table', '');
  for (const prune of prunes) {
    const trial = prune.of.get(id);
    if (!trial) continue;
    const rank = trial.rank ? `rank ${trial.rank} of ${trial.ranks}` : 'not ranked';
    const outcome = isPinned(block) ? 'kept anyway' : trial.kept ? 'kept' : 'dropped';
    table.append(make('tr', '', ...[prune.put_off ? `layer ${prune.layer}` : pruneName(prune), trial.score.toPrecision(2), rank,
                                    prune.put_off ? 'no pruning' : outcome].map(text => make('td', '', text))));
  }
  return [make('b', '', `Block ${id}, ${fate(block)}`), make('p', '', `tokens ${count(first)} to ${count(last)}`),
          isPinned(block) ? make('p', '', `pinned: ${block.forced.join(', ')}`) : '', table];
}

function moveTip(event) {
  const target = event.target.closest('[data-id]'), tip = byId('tip');
  tip.hidden = !target;
  if (!target) return;
  tip.replaceChildren(...tipOf(Number(target.dataset.id)));
  const {width, height} = tip.getBoundingClientRect();
  const below = event.clientY + 18;
  tip.style.left = `${Math.max(6, Math.min(event.clientX + 14, innerWidth - width - 6))}px`;
  tip.style.top = `${below + height > innerHeight ? Math.max(6, event.clientY - height - 12) : below}px`;
}

function listen() {
  byId('strip').onclick = event => event.target.dataset.id && jump(Number(event.target.dataset.id));
  for (const id of ['strip', 'blocks']) {
    byId(id).addEventListener('pointermove', moveTip);
    byId(id).addEventListener('pointerleave', () => { byId('tip').hidden = true; });
  }
  byId('only').onchange = () => {
    document.body.classList.toggle('only', byId('only').checked);
    markSeen();
  };
  byId('next').onclick = () => jumpToKept(1);
  byId('previous').onclick = () => jumpToKept(-1);
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'n') jumpToKept(1);
    if (event.key === 'p') jumpToKept(-1);
  });
  addEventListener('scroll', () => { byId('tip').hidden = true; markSeen(); }, {passive: true});
  addEventListener('resize', () => { layOutStrip(); markSeen(); });
}

drawHeader();
drawTabs();
drawBlocks();
layOutStrip();
listen();
document.querySelector('.actions').hidden = !data.pruned;
byId('views').hidden = !prunes.length;
const asked = /^#prune(\d+)$/.exec(location.hash);  // page.html#prune2 opens with that tab
show(asked && steps[asked[1] - 1] ? steps[asked[1] - 1] : null);
