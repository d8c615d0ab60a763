import { Courier } from '../../src/courier.ts'
import { runEngineCases } from './engine.cases.ts'

runEngineCases('the courier, in this thread', options => new Courier(options))
