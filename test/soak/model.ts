import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** The model test of the dispatcher, with so many runs; it says itself what is wrong. */
export async function soakModel(seed: number, runs: number): Promise<readonly string[]> {
  const tests = spawn(
    'npx',
    [
      'vitest',
      'run',
      '--config',
      'test/vitest.config.ts',
      '--testTimeout',
      String(24 * 60 * 60_000),
      'dispatcher.model',
    ],
    { stdio: 'inherit', env: { ...process.env, MODEL_RUNS: String(runs), MODEL_SEED: String(seed) } }
  )
  const [code] = (await once(tests, 'exit')) as [number | null]
  return code === 0 ? [] : [`the model test has failed: see above (exit code ${code})`]
}
