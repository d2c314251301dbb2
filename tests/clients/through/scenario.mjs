// What both TypeScript clients do through nginx, again and again until stdin ends; then what came of it is
// printed as JSON: how often each kind of call was made, and what failed.

import { randomUUID } from 'node:crypto';

// Of one transparent pixel.
const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const HANG = "console.log('started'); await new Promise(done => setTimeout(done, 60_000));";
const CANCEL_MAX = 15_000;

const expect = (right, what, seen) => {
  if (!right) throw new Error(`${what}: ${JSON.stringify(seen)}`);
};

// `connect` gives { client, call(name, arguments, options) }.
export async function repeat(connect) {
  let stop = false;
  process.stdin.on('end', () => (stop = true)).resume();
  const counts = {};
  const failures = [];
  const session = `ts-${randomUUID()}`;
  let steps = 0;
  for (let round = 0; !stop; round++) {
    const step = async (kind, make) => {
      try {
        const made = await make();
        counts[kind] = (counts[kind] ?? 0) + 1;
        return made;
      } catch (error) {
        failures.push(`${kind}: ${error?.stack ?? error} ${error?.cause ?? ''}`);
        return undefined;
      }
    };
    const connected = await step('initialise', connect);
    if (connected === undefined) continue;
    const { client, call } = connected;
    await step('list', async () => {
      const { tools } = await client.listTools();
      expect(tools.some(tool => tool.name === 'run_js'), 'run_js is listed', tools);
    });
    await step('run', async () => {
      const run = await call('run_js', { code: `const n: number = ${round}; n * 2` });
      expect(run.structuredContent.result === String(round * 2), 'the result', run);
    });
    await step('progress', async () => {
      const heard = [];
      const code = "for (let i = 0; i < 3; i++) { console.log('line ' + i); await new Promise(done => setTimeout(done, 60)); }";
      const run = await call('run_js', { code }, { onprogress: progress => heard.push(progress.message) });
      expect(run.structuredContent.output === 'line 0\nline 1\nline 2\n', 'the output', run);
      expect(heard.join('').includes('line 0'), 'progress is heard', heard);
    });
    await step('session', async () => {
      const run = await call('run_js', { code: 'globalThis.n = (globalThis.n ?? 0) + 1', session });
      steps += 1;
      expect(run.structuredContent.result === String(steps), `step ${steps}`, run);
    });
    await step('artifact', async () => {
      const key = `${session}/${round}.png`;
      const code = `artifact('${key}', 'image/png', Uint8Array.fromBase64('${PNG}'))`;
      const run = await call('run_js', { code });
      const image = content => content.find(block => block.type === 'image');
      expect(image(run.content)?.data === PNG, 'the image with the run', run);
      const got = await call('get_artifact', { key });
      expect(image(got.content)?.data === PNG && image(got.content).mimeType === 'image/png', 'the image', got);
    });
    await step('cancel', async () => {
      const abort = new AbortController();
      const hanging = `${session}-hanging`;
      const cancelled = call('run_js', { code: HANG, session: hanging }, {
        signal: abort.signal,
        onprogress: () => abort.abort('enough'),
      }).then(() => 'answered', () => 'cancelled');
      expect((await cancelled) === 'cancelled', 'the call is cancelled', await cancelled);
      // Steps of a session wait for each other: this one for the end of that, which would be in half a minute.
      const begun = Date.now();
      const run = await call('run_js', { code: "'after'", session: hanging });
      expect(run.structuredContent.result === 'after', 'the step after it', run);
      expect(Date.now() - begun < CANCEL_MAX, 'the script was cancelled', Date.now() - begun);
    });
    await step('close', () => client.close());
  }
  console.log(JSON.stringify({ counts, failures }));
  process.exit(0);
}
