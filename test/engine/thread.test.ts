import { ThreadEngine } from '../../src/engine/thread.ts'
import { runEngineCases } from './engine.cases.ts'

const ENTRY = new URL('../../dist/engine/worker.js', import.meta.url)

runEngineCases('the delivery side in a thread', options => new ThreadEngine({ entry: ENTRY, ...options }))
