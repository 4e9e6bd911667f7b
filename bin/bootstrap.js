/**
 * `node bin/bootstrap.js TASK [ARGUMENT…]`: makes sure of dependencies, build and an ffmpeg, then runs the task in a child.
 *
 * Works on a fresh clone, so it uses Node built-ins only, and syntax that an old Node can still parse (it has to say that it is
 * too old). All it says, and all that its preparations print, goes to stderr; stdout and the exit status are the task's.
 */
import { spawn } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { constants as osConstants } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { isBuilt } from './build-digest.js';

const root = fileURLToPath(new URL('..', import.meta.url));
/** The `runner` loader writes no compiled configuration, so the tests run in a read-only folder. */
const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--configLoader', 'runner'];
const tasks = {
  demo: ['bin/demo.js'],
  'train:defaults': ['bin/train-defaults.js'],
  'report:defaults': ['bin/report-defaults.js'],
  test: vitest,
  'test:golden': [...vitest, '--config', 'vitest.golden.config.ts'],
  'test:slow': [...vitest, '--config', 'vitest.slow.config.ts'],
};

/** What stands in `.cache/ffmpeg` when the machine has no ffmpeg. `package.json` never names these (141 MB). */
const ffmpegPackages = { '@ffmpeg-installer/ffmpeg': '1.1.0', '@ffprobe-installer/ffprobe': '2.1.2' };
const ffmpegHelp =
  'install ffmpeg 5.1 or newer (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg) ' +
  'or name both programs in EGOLENS_FFMPEG and EGOLENS_FFPROBE';

const exitUsage = 2;
const exitUnavailable = 7;

/** The signal that came while a child was running. */
let interruptedBy;

class BootstrapError extends Error {
  constructor(exitCode, message, hint) {
    super(message);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

main(process.argv[2], process.argv.slice(3)).then(
  (status) => {
    process.exitCode = status;
  },
  (error) => {
    say(error.message);
    if (error.hint) say(`try: ${error.hint}`);
    if (!(error instanceof BootstrapError)) console.error(error.stack);
    process.exitCode = error.exitCode || 1;
  },
);

async function main(task, args) {
  if (!Object.keys(tasks).includes(task)) {
    throw new BootstrapError(exitUsage, `found task \`${task}\`, expected one of ${Object.keys(tasks).join(', ')}`);
  }
  checkNode();
  await ensureDependencies();
  await ensureBuild();
  const ffmpeg = await ensureFfmpeg();
  const environment = { ...process.env, EGOLENS_FFMPEG: ffmpeg.ffmpeg, EGOLENS_FFPROBE: ffmpeg.ffprobe };
  return run(process.execPath, [...tasks[task], ...args], { cwd: root, env: environment, stdio: 'inherit' });
}

function checkNode() {
  const wanted = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).engines.node;
  const numbers = (version) =>
    version
      .replace(/^[^0-9]*/, '')
      .split('.')
      .map(Number);
  const found = numbers(process.versions.node);
  const least = numbers(wanted);
  const at = [0, 1, 2].find((i) => found[i] !== least[i]);
  if (at !== undefined && found[at] < least[at]) {
    throw new BootstrapError(
      exitUnavailable,
      `found Node ${process.versions.node} (${process.execPath}), expected ${wanted}`,
      'install a current Node, open a new shell and start again',
    );
  }
}

/** npm writes `node_modules/.package-lock.json` last, so an `npm ci` that was killed is noticed. */
async function ensureDependencies() {
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const found = readJson(join(root, 'node_modules', '.package-lock.json'));
  const missing = Object.keys(wanted).filter((path) => {
    if (path === '' || wanted[path].optional) return false;
    const entry = found && found.packages && found.packages[path];
    return !entry || entry.version !== wanted[path].version;
  });
  if (missing.length === 0) return;
  mustBeWritable(`${missing.length} packages are missing`);
  say(`installing dependencies: npm ci (${missing.length} packages missing or of another version)`);
  // Whatever the user's settings leave out: the tasks need the development tools.
  const status = await npm(['ci', '--include=dev', '--no-audit', '--no-fund'], root);
  stopIfInterrupted(status);
  if (status !== 0) throw npmFailed('npm ci', status);
}

async function ensureBuild() {
  if (isBuilt(root)) return;
  mustBeWritable('dist/ is missing or older than the sources');
  say('building: npm run build');
  const status = await run(process.execPath, ['bin/build.js'], { cwd: root, stdio: ['ignore', 2, 2] });
  stopIfInterrupted(status);
  if (status !== 0) throw new BootstrapError(1, `the build failed (exit ${status}); its messages stand above`);
}

async function ensureFfmpeg() {
  const own = ownFfmpeg();
  if (own) {
    say(`ffmpeg: ${own.ffmpeg}, ffprobe: ${own.ffprobe}`);
    return own;
  }
  const folder = join(root, '.cache', 'ffmpeg');
  const kept = packagedFfmpeg(folder);
  const programs = [kept.ffmpeg, kept.ffprobe];
  if (!isInstalled(folder) || !programs.every(existsSync)) {
    mustBeWritable('there is no ffmpeg and ffprobe on this machine');
    const specs = Object.keys(ffmpegPackages).map((name) => `${name}@${ffmpegPackages[name]}`);
    say(`no ffmpeg and ffprobe found: npm install ${specs.join(' ')} into .cache/ffmpeg`);
    mkdirSync(folder, { recursive: true });
    const manifest = { name: 'egolens-ffmpeg', private: true, dependencies: ffmpegPackages };
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
    const status = await npm(['install', '--prefix', folder, ...options], folder);
    stopIfInterrupted(status);
    if (status !== 0) throw npmFailed('npm install', status, ffmpegHelp);
  }
  for (const program of programs) {
    if (!existsSync(program)) {
      throw new BootstrapError(
        exitUnavailable,
        `no ffmpeg and ffprobe found, and the packages hold none for ${process.platform}-${process.arch}`,
        ffmpegHelp,
      );
    }
    // The ffprobe package sets the bit in an install script, and scripts are off.
    if (!isProgram(program)) chmodSync(program, 0o755);
  }
  say('ffmpeg: .cache/ffmpeg (a build of 2018; what needs a newer one says so)');
  return kept;
}

/** The user's: named in the environment, else on PATH. A name that leads nowhere is an error, as it is to the program. */
function ownFfmpeg() {
  const named = (...variables) => {
    const variable = variables.find((name) => process.env[name]);
    if (!variable) return undefined;
    const path = resolve(process.env[variable]);
    if (isProgram(path)) return path;
    const bare = dirname(process.env[variable]) === '.' && onPath(process.env[variable]);
    if (bare) return bare;
    throw new BootstrapError(exitUnavailable, `${variable}: no program at \`${process.env[variable]}\``, ffmpegHelp);
  };
  const ffmpeg = named('EGOLENS_FFMPEG', 'FFMPEG_PATH') || onPath('ffmpeg');
  const ffprobe =
    named('EGOLENS_FFPROBE', 'FFPROBE_PATH') || (ffmpeg && programIn(dirname(ffmpeg), 'ffprobe')) || onPath('ffprobe');
  return ffmpeg && ffprobe ? { ffmpeg, ffprobe } : undefined;
}

function packagedFfmpeg(folder) {
  const program = (name) =>
    join(folder, 'node_modules', `@${name}-installer`, `${process.platform}-${process.arch}`, executable(name));
  return { ffmpeg: program('ffmpeg'), ffprobe: program('ffprobe') };
}

function isInstalled(folder) {
  const found = readJson(join(folder, 'node_modules', '.package-lock.json'));
  return Object.keys(ffmpegPackages).every((name) => {
    const entry = found && found.packages && found.packages[`node_modules/${name}`];
    return entry && entry.version === ffmpegPackages[name];
  });
}

function onPath(name) {
  const folders = (process.env.PATH || '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => programIn(resolve(folder), name)).find((path) => path !== undefined);
}

function programIn(folder, name) {
  const path = join(folder, executable(name));
  return isProgram(path) ? path : undefined;
}

function executable(name) {
  return process.platform === 'win32' ? `${name}.exe` : name;
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** undefined where the file is missing or was cut off while being written. */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function mustBeWritable(reason) {
  try {
    accessSync(root, constants.W_OK);
  } catch {
    throw new BootstrapError(
      exitUnavailable,
      `${reason}, and the folder \`${root}\` cannot be written`,
      'copy the checkout to a folder of yours and start there',
    );
  }
}

function stopIfInterrupted(status) {
  // npm ends with 1 when a signal stops it.
  const exitCode = interruptedBy ? 128 + osConstants.signals[interruptedBy] : status;
  if (exitCode > 128) throw new BootstrapError(exitCode, 'interrupted; a second start goes on from here');
}

function npmFailed(command, status, otherwise) {
  return new BootstrapError(
    exitUnavailable,
    `${command} failed (exit ${status}); its messages stand above. It needs a package registry or a filled npm cache`,
    `check network, proxy and \`npm config get registry\`${otherwise ? `, or ${otherwise}` : ''}; a second start goes on from here`,
  );
}

/** The npm that started us where there is one, run by this Node: it works where `npm` is not on PATH. */
function npm(args, cwd) {
  const script = process.env.npm_execpath;
  const options = { cwd, stdio: ['ignore', 2, 2] };
  if (script && /npm-cli\.c?js$/.test(script)) return run(process.execPath, [script, ...args], options);
  return run(process.platform === 'win32' ? 'npm.cmd' : 'npm', args, {
    ...options,
    shell: process.platform === 'win32',
  });
}

/** The exit status of a child, 128 + n when signal n ended it. A signal sent to us goes on to it, and we wait. */
function run(program, args, options) {
  return new Promise((settle, fail) => {
    const child = spawn(program, args, options);
    // A terminal sends SIGINT to the child as well; a second one would mean "at once" to it.
    const onSignal = (signal) => {
      interruptedBy = signal;
      if (signal !== 'SIGINT' || !isatty(0)) child.kill(signal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    child.on('error', (error) => {
      fail(new BootstrapError(exitUnavailable, `\`${program}\` could not be started: ${error.message}`));
    });
    child.on('close', (status, signal) => {
      process.removeAllListeners('SIGINT');
      process.removeAllListeners('SIGTERM');
      settle(signal ? 128 + osConstants.signals[signal] : status);
    });
  });
}

function say(line) {
  process.stderr.write(`bootstrap: ${line}\n`);
}
