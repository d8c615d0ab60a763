import { ThreadEngine } from '../../src/engine/thread.ts'
import { runEngineCases } from './engine.cases.ts'
import { failToSpawn } from './fixtures.ts'

const ENTRY = new URL('../../dist/engine/worker.js', import.meta.url)

// how a thread dies: thread.deaths.test.ts; how it ends: thread.end.test.ts
runEngineCases('the delivery side in a thread', options => new ThreadEngine({ entry: ENTRY, ...options }))
runEngineCases(
  'the delivery side where there are no threads',
  options => new ThreadEngine({ spawn: failToSpawn, ...options })
)
