import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { findings, loadValidator, schemaNames, type SchemaName } from '../check.js';

const sha = 'a'.repeat(64);
const clock = { rate: '30/1', hop: 16, frames: 16, step: 1, tail: 'align', rows: 281 };
const time = '2026-01-02T03:04:05.678Z';
const line = { schema: 'egolens.ledger/1', run: 'r1', time };
const inClip = { kind: 'clip', uid: 'c' };

type Value = Readonly<Record<string, unknown>>;
/** The forms of files.md, one good value a schema. */
const good = {
  'egolens.preset/1': {
    schema: 'egolens.preset/1',
    name: 'ego4d-mq',
    version: 1,
    sampling: {
      plan: 'dense',
      frames: 16,
      step: 1,
      hop: 16,
      rate: '30/1',
      tail: 'align',
      views: [1, 1],
      fusion: 'softmax-mean',
    },
    pixels: { path: 'exact', resize: 'opencv-bilinear', to: 'short-side', size: 224, crop: 'center' },
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    feature: 'pooled',
    source: 'where each value was read',
  },
  'egolens.labels/1': { schema: 'egolens.labels/1', name: 'k400', version: 1, order: '', labels: ['abseiling'] },
  'egolens.model/1': {
    schema: 'egolens.model/1',
    name: 'mq-vitl',
    kind: 'encoder',
    family: 'videomae-classifier',
    config: {},
    inputs: { windows: { dtype: 'uint8', shape: ['batch', 16, 224, 224, 3], meaning: 'rgb' } },
    outputs: { pooled: { dtype: 'float32', shape: ['batch', 1024], meaning: 'mean of tokens' } },
    precision: 'fp32',
    trained: 'official',
    licence: { code: 'Apache-2.0', weights: 'CC-BY-NC-4.0' },
    source: {
      name: 'vitl_mq.pt',
      bytes: 123,
      sha256: sha,
      container: 'zip',
      weightsKey: 'model',
      prefix: null,
      left: [{ key: 'optimizer', why: 'not used' }],
    },
    files: { 'graph.onnx': sha, 'weights.bin': sha },
    digest: sha,
  },
  'egolens.meta/1': {
    schema: 'egolens.meta/1',
    input: { name: 'P01/a.mp4', bytes: 5, identity: `ends:${sha}` },
    stream: 0,
    startOffset: -0.021,
    frames: { claimed: null, decoded: 300 },
    decodeErrors: 0,
    warnings: [{ code: 'decode.hdr', message: 'PQ video' }],
    clock,
    of: { kind: 'file' },
    preset: 'ego4d-mq@1',
    pixels: 'exact',
    model: { name: 'mq-vitl', digest: sha },
    output: 'pooled',
    precision: 'fp32',
    provider: 'cpu',
    versions: { program: '0.1.0', runtime: '1.30.0', ffmpeg: '5.1.9' },
    key: sha,
    array: { shape: [281, 1024], bytes: 1151104, sha256: sha },
    times: { bytes: 9000, sha256: sha },
  },
  'egolens.features/1': {
    schema: 'egolens.features/1',
    input: 'a.mp4',
    id: 'a',
    model: `mq-vitl@${'0'.repeat(12)}`,
    of: { kind: 'clip', uid: 'c-1' },
    path: 'feats/a.npy',
    shape: [281, 1024],
    rows: 281,
    clock,
    key: sha,
  },
  'egolens.error/1': {
    schema: 'egolens.error/1',
    input: 'a.mp4',
    code: 'decode.no_video_stream',
    message: 'm',
    hint: 'h',
    frame: 123,
    retryable: false,
  },
  'egolens.ledger/1': {
    ...line,
    event: 'run',
    version: '0.1.0',
    argv: ['extract', 'a.mp4'],
    config: sha,
    host: 'lab2',
    pid: 12,
  },
  'egolens.probe/1': {
    schema: 'egolens.probe/1',
    input: 'a.mp4',
    bytes: 5,
    container: 'mov,mp4',
    streams: [
      {
        index: 0,
        kind: 'video',
        codec: 'h264',
        chosen: true,
        isDefault: true,
        isPicture: false,
        width: 320,
        height: null,
      },
    ],
    stream: 0,
    codec: 'h264',
    profile: null,
    pixelFormat: 'yuv420p',
    width: 320,
    height: 240,
    codedWidth: 320,
    codedHeight: 240,
    rotation: -90,
    pixelAspect: '4/3',
    colour: { range: null, matrix: 'bt709', transfer: null, primaries: null },
    hdr: false,
    interlaced: false,
    encrypted: false,
    claimed: {
      rate: '30000/1001',
      nominalRate: null,
      duration: 10,
      containerDuration: null,
      frames: null,
      startTime: -0.02,
      containerStartTime: null,
    },
    measured: { by: 'packets', frames: 300, rate: 29.97, duration: 10, isVariableRate: false, startOffset: 0 },
    warnings: [],
  },
  'egolens.frame/1': {
    schema: 'egolens.frame/1',
    input: 'a.mp4',
    frame: 0,
    pts: -512,
    time: 0,
    key: true,
    type: 'I',
  },
  'egolens.encoded/1': {
    schema: 'egolens.encoded/1',
    input: 'frames.npy',
    output: 'out',
    model: `vit-b@${'0'.repeat(12)}`,
    provider: 'cpu',
    outputs: { pooled: [1, 768] },
  },
  'egolens.imported/1': {
    schema: 'egolens.imported/1',
    model: `vit-b@${'0'.repeat(12)}`,
    family: 'videomae-classifier',
    matched: 160,
    left: 2,
    missing: 0,
    output: 'models/vit-b',
  },
  'egolens.check/1': { schema: 'egolens.check/1', name: 'ffmpeg', status: 'ok', cause: '5.1.9', remedy: null },
  'egolens.tensor/1': {
    schema: 'egolens.tensor/1',
    input: 'a.pth',
    name: 'norm.weight',
    storedType: 'float32',
    shape: [768],
    bytes: 3072,
    storage: '0',
    contiguous: true,
  },
  'egolens.onnx/1': {
    schema: 'egolens.onnx/1',
    input: 'a.onnx',
    name: 'graph',
    producer: '',
    irVersion: 8,
    opsets: { '': 17 },
    inputs: [{ name: 'frames', dtype: 'uint8', shape: ['batch', 16, 224, 224, 3] }],
    outputs: [{ name: 'pooled', dtype: 'type 11', shape: ['?', 768] }],
    initializers: 3,
    weightFiles: ['weights.bin'],
    operations: { Add: 1 },
  },
  'egolens.installed/1': {
    schema: 'egolens.installed/1',
    model: `vit-b@${'0'.repeat(12)}`,
    place: 'installed',
    kind: 'encoder',
    family: 'videomae-classifier',
    trained: 'official',
    licence: { code: 'Apache-2.0', weights: 'unknown' },
    precision: 'fp32',
    preset: 'k400-16x4@1',
    bytes: 1,
    path: 'models/vit-b',
  },
  'egolens.architecture/1': {
    schema: 'egolens.architecture/1',
    name: 'videomae-b',
    family: 'videomae-classifier',
    summary: 'known size',
    config: { embed_dim: 768 },
  },
  'egolens.verified/1': {
    schema: 'egolens.verified/1',
    input: 'vit-b',
    model: `vit-b@${'0'.repeat(12)}`,
    files: 6,
    provider: 'cpu',
    device: 'cpu',
    limit: 1e-4,
    ok: false,
    outputs: { pooled: { maxAbs: 0.5, relative: null } },
  },
  'egolens.label-list/1': { schema: 'egolens.label-list/1', name: 'k400', version: 1, classes: 400, order: '' },
  'egolens.class/1': { schema: 'egolens.class/1', list: 'k400', index: 0, label: 'abseiling' },
  'egolens.schema/1': { schema: 'egolens.schema/1', name: 'egolens.probe/1', title: 'Record of `probe`' },
  'egolens.error-code/1': { schema: 'egolens.error-code/1', code: 'input.empty', meaning: 'no bytes', exit: 4 },
  'egolens.feature-info/1': {
    schema: 'egolens.feature-info/1',
    input: 'a.npy',
    shape: [2, 768],
    dtype: 'float32',
    rows: 2,
    clock: null,
    first: { start: 0, end: 1 },
    last: null,
    digests: 'none',
    meta: null,
  },
  'egolens.comparison/1': {
    schema: 'egolens.comparison/1',
    a: 'a.npy',
    b: 'b.npy',
    rows: 0,
    notFinite: 0,
    extra: 1,
    meanCosine: null,
    minCosine: null,
    maxAbs: null,
  },
  'egolens.row-difference/1': {
    schema: 'egolens.row-difference/1',
    a: 'a.npy',
    b: 'b.npy',
    index: 0,
    cosine: 1,
    maxAbs: 0,
  },
  'egolens.converted/1': {
    schema: 'egolens.converted/1',
    input: 'a.npy',
    output: 'a.pt',
    shape: [2, 768],
    rows: 2,
    clock,
    times: true,
    meta: false,
  },
  'egolens.plan/1': {
    schema: 'egolens.plan/1',
    input: 'a.mp4',
    id: 'a',
    path: 'out/a.npy',
    state: 'missing',
    frames: null,
    seconds: 1.5,
    error: null,
  },
  'egolens.summary/1': {
    schema: 'egolens.summary/1',
    done: 1,
    kept: 0,
    failed: 0,
    failedBefore: 0,
    locked: 0,
    rows: 16,
    seconds: { decode: 0.5 },
    exit: 0,
  },
  'egolens.score/1': {
    schema: 'egolens.score/1',
    input: 'new.json',
    task: 'mq',
    variant: 'official',
    metric: 'Average mAP',
    value: 0.5,
    at: null,
    interval: [0.4, 0.6],
    compared: { input: 'old.json', value: 'NaN', difference: 'NaN', interval: ['NaN', 'NaN'], p: 'NaN' },
  },
  'egolens.evaluation/1': {
    schema: 'egolens.evaluation/1',
    task: 'mq',
    truth: ['moments_val.json'],
    predictions: ['new.json'],
    primary: 'Average mAP',
    official: {},
    corrected: null,
    ties: { rule: 'numpy', tied: 0, first: null, last: null },
    bootstrap: null,
    rows: [],
    bounds: [{ kind: 'min', metric: 'Average mAP', bound: 0.1, value: 0.5, ok: true }],
    plots: [],
    notes: [],
  },
  'egolens.finding/1': {
    schema: 'egolens.finding/1',
    input: 'a.json',
    task: 'sta',
    level: 'error',
    code: 'ids.missing',
    at: '',
    line: null,
    expected: 'e',
    found: 'none',
    hint: null,
  },
  'egolens.validation/1': {
    schema: 'egolens.validation/1',
    input: 'a.json',
    task: 'sta',
    kind: 'submission',
    what: 'Short-Term Anticipation submission',
    ok: true,
    errors: 0,
    warnings: 1,
    atLeast: false,
    listed: 1,
    fixed: { output: 'b.json', changes: 2 },
  },
  'egolens.submission/1': {
    schema: 'egolens.submission/1',
    task: 'mq',
    output: 'submission.json',
    bytes: 10,
    sha256: sha,
    counts: { records: 1 },
    errors: 0,
    warnings: 0,
    meta: 'submission.json.meta.json',
    upload: null,
  },
  'egolens.submission-meta/1': {
    schema: 'egolens.submission-meta/1',
    task: 'mq',
    program: '0.1.0',
    predictions: [{ name: 'a.ndjson', sha256: sha }],
    test: { name: 'moments_test_unannotated.json', sha256: sha },
    options: { fillMissing: false, fhpScale: null },
    counts: { records: 1 },
    warnings: 0,
    note: null,
    output: { name: 'submission.json', bytes: 10, sha256: sha },
  },
  'egolens.moment/1': { schema: 'egolens.moment/1', of: inClip, start: 1, end: 2, label: 'cut', score: 0.5 },
  'egolens.answer/1': {
    schema: 'egolens.answer/1',
    of: inClip,
    clip_uid: 'c',
    annotation_uid: 'a',
    query_idx: 0,
    start: 1,
    end: 2,
  },
  'egolens.track/1': {
    schema: 'egolens.track/1',
    clip_uid: 'c',
    annotation_idx: 0,
    query_set: '1',
    boxes: [{ frame: 3, box: [0, 0, 1, 1] }],
    score: 1,
  },
  'egolens.hands/1': {
    schema: 'egolens.hands/1',
    id: '7_99',
    points: Array<number[][]>(5).fill([
      [0, 0],
      [1, 1],
    ]),
  },
  'egolens.interaction/1': {
    schema: 'egolens.interaction/1',
    id: 'v_0000001',
    box: [0, 0, 1, 1],
    noun_category_id: 1,
    verb_category_id: 2,
    time_to_contact: 0.5,
    score: 1,
  },
  'egolens.sequence/1': {
    schema: 'egolens.sequence/1',
    id: 'c_3',
    verb: [Array<number>(20).fill(1)],
    noun: [Array<number>(20).fill(2)],
  },
  'egolens.object/1': { schema: 'egolens.object/1', id: 1, box: [0, 0, 1, 1], score: 0.5 },
  'egolens.pnr/1': { schema: 'egolens.pnr/1', id: 'u', frame: 12.5 },
  'egolens.oscc/1': { schema: 'egolens.oscc/1', id: 'u', state_change: true },
  'egolens.label/1': { schema: 'egolens.label/1', label: 'cut', score: 0.5 },
} satisfies Partial<Record<SchemaName, Value>>;
const goodByName: Partial<Record<SchemaName, Value>> = good;

/** Ego4D's own schemas are tested with their challenges. */
const ownNames = readdirSync(new URL('.', import.meta.url))
  .filter((name) => name.endsWith('.json') && name !== 'common.json')
  .map((name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8')) as { $id: SchemaName })
  .map(({ $id }) => $id);

test('every schema of this folder is compiled and has an example here', () => {
  expect(Object.keys(good).sort()).toEqual([...ownNames].sort());
  expect(schemaNames).toEqual(expect.arrayContaining(ownNames));
});

test.each(ownNames)('%s accepts its example, and unknown members in it', async (name) => {
  const validator = await loadValidator(name);
  expect(findings(validator, goodByName[name])).toEqual([]);
  expect(findings(validator, { ...goodByName[name], later: 1 })).toEqual([]);
});

test.each(ownNames)('%s refuses its example without any one of the required members', async (name) => {
  const validator = await loadValidator(name);
  for (const key of validator.schema['required'] as string[]) {
    const rest = Object.fromEntries(Object.entries(goodByName[name] ?? {}).filter(([member]) => member !== key));
    expect(findings(validator, rest).map(({ at }) => at)).toContain(`/${key}`);
  }
});

const { sampling, pixels } = good['egolens.preset/1'];
const head = { task: 'mq', features: [], clock: null, text: null, options: {}, postprocess: 'actionformer/1' };

test.each<[SchemaName, string, Value]>([
  ['egolens.preset/1', 'a rate of frames of the source', { sampling: { ...sampling, rate: 'source' } }],
  [
    'egolens.preset/1',
    'official offsets and a short side',
    { pixels: { ...pixels, shortSide: 256, offsets: 'videomae' } },
  ],
  ['egolens.model/1', 'a head with its part', { kind: 'head', head }],
  ['egolens.meta/1', 'a decimal hop', { clock: { ...clock, hop: 16.043 } }],
  ['egolens.meta/1', 'tokens', { array: { shape: [2, 8, 4], bytes: 384, sha256: sha } }],
  ['egolens.error/1', 'a failure about no input, with no hint', { input: null, hint: null, frame: null }],
  ['egolens.error/1', 'a failure before any frame', { frame: 0 }],
  ['egolens.probe/1', 'a file that was not measured', { measured: null }],
  ['egolens.probe/1', 'a checked file', { frames: 300, errors: 1, messages: ['damaged'] }],
  ['egolens.ledger/1', 'a start', { event: 'start', id: 'a' }],
  ['egolens.ledger/1', 'a done', { event: 'done', id: 'a', files: { 'x/a.npy': sha }, seconds: { decode: 1.5 } }],
  ['egolens.ledger/1', 'a failed', { event: 'failed', id: 'a', code: 'decode.failed', message: '', retryable: true }],
  ['egolens.ledger/1', 'an end', { event: 'end', counts: { done: 1 }, exit: 0 }],
])('%s accepts %s', async (name, _, change) => {
  expect(findings(await loadValidator(name), { ...goodByName[name], ...change })).toEqual([]);
});

test.each<[SchemaName, string, Value, string]>([
  ['egolens.preset/1', 'another version of the form', { schema: 'egolens.preset/2' }, '/schema'],
  ['egolens.preset/1', 'a rate as a number', { sampling: { ...sampling, rate: 30 } }, '/sampling/rate'],
  ['egolens.preset/1', 'a rate of 0', { sampling: { ...sampling, rate: '0/1' } }, '/sampling/rate'],
  ['egolens.preset/1', 'three views', { sampling: { ...sampling, views: [1, 1, 1] } }, '/sampling/views'],
  ['egolens.preset/1', 'an unknown resize', { pixels: { ...pixels, resize: 'lanczos' } }, '/pixels/resize'],
  ['egolens.preset/1', 'two means', { mean: [0, 0] }, '/mean'],
  ['egolens.preset/1', 'a deviation of 0', { std: [0, 1, 1] }, '/std/0'],
  ['egolens.labels/1', 'no labels', { labels: [] }, '/labels'],
  ['egolens.model/1', 'a file above the folder', { files: { '../x': sha } }, '/files'],
  ['egolens.model/1', 'a file above the folder, hidden', { files: { 'a/../../x': sha } }, '/files'],
  ['egolens.model/1', 'an absolute file', { files: { '/etc/x': sha } }, '/files'],
  ['egolens.model/1', 'a file with a backslash', { files: { '..\\x': sha } }, '/files'],
  ['egolens.model/1', 'a short digest', { digest: 'abc' }, '/digest'],
  ['egolens.model/1', 'a head without its part', { kind: 'head' }, '/head'],
  [
    'egolens.model/1',
    'a size of 0',
    { outputs: { p: { dtype: 'float32', shape: [0], meaning: '' } } },
    '/outputs/p/shape/0',
  ],
  [
    'egolens.meta/1',
    'an identity that is no digest',
    { input: { name: 'a', bytes: 1, identity: 'ends:1' } },
    '/input/identity',
  ],
  ['egolens.meta/1', 'a clip without its uid', { of: { kind: 'clip' } }, '/of/uid'],
  ['egolens.meta/1', 'a hop of 0', { clock: { ...clock, hop: 0 } }, '/clock/hop'],
  ['egolens.meta/1', 'an unknown tail', { clock: { ...clock, tail: 'wrap' } }, '/clock/tail'],
  ['egolens.meta/1', 'a shape of one axis', { array: { shape: [3], bytes: 12, sha256: sha } }, '/array/shape'],
  ['egolens.meta/1', 'a preset without its version', { preset: 'ego4d-mq' }, '/preset'],
  ['egolens.features/1', 'a model without its digest', { model: 'mq-vitl' }, '/model'],
  ['egolens.error/1', 'a code of one word', { code: 'failed' }, '/code'],
  ['egolens.ledger/1', 'an unknown event', { event: 'pause' }, '/event'],
  ['egolens.ledger/1', 'a time that is none', { time: 'yesterday' }, '/time'],
  ['egolens.ledger/1', 'a done without files', { event: 'done', id: 'a', seconds: {} }, '/files'],
  [
    'egolens.ledger/1',
    'an output above the folder',
    { event: 'done', id: 'a', files: { 'x/..': sha }, seconds: {} },
    '/files',
  ],
])('%s refuses %s', async (name, _, change, at) => {
  const found = findings(await loadValidator(name), { ...goodByName[name], ...change });
  expect(found.map((finding) => finding.at)).toEqual([at]);
});

test.each(['presets', 'labels'])('all %s that come with the program obey their schema', async (kind) => {
  const folder = new URL(`../models/${kind}/`, import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  expect(files).not.toEqual([]);
  for (const name of files) {
    const value = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as { schema: SchemaName };
    expect(value.schema).toBe(kind === 'presets' ? 'egolens.preset/1' : 'egolens.labels/1');
    expect({ name, found: findings(await loadValidator(value.schema), value) }).toEqual({ name, found: [] });
  }
});
