import { identify, knownOf, nothingKnown } from '../../src/config/identity.ts'
import { mendSecrets } from '../../src/config/stray-secrets.ts'
import { valueRow } from './measure.ts'
import type { Figure } from './measure.ts'

const HOOKS = 1_000
const ROUNDS = 7

/** By what they have in common. */
const KINDS: ReadonlyMap<string, (index: number) => object> = new Map([
  ['each its own', index => hookOf(index)],
  ['one secret, each its own origin', index => ({ ...hookOf(index), authentication: { token: 'the same' } })],
  ['one name', index => ({ ...hookOf(index), name: 'the same' })],
  ['all the same', () => hookOf(0)],
])

function hookOf(index: number): object {
  const authentication = { authorization: 'bearer', token: `token ${index}`, passphrase: `whsec ${index}`, user: 'u' }
  return {
    name: `hook ${index}`,
    method: 'vm.*',
    type: 'post',
    format: 'json',
    url: `https://h${index}/x`,
    authentication,
  }
}

/** Milliseconds: unlike the time that passes, the same on a busy machine. */
function cpuTimeOf(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}

/** The first hook is removed in the form: the host gives each of the others the secrets of the one before it. */
export const savedSecrets: Figure = async report => {
  for (const [kind, build] of KINDS) {
    const hooks = Array.from({ length: HOOKS }, (_, index) => build(index) as { authentication: object })
    const ids = identify(hooks, nothingKnown())
    const known = knownOf({ hooks }, ids, nothingKnown().key)
    const next = hooks.slice(1).map((hook, index) => ({ ...hook, authentication: hooks[index]!.authentication }))
    const rounds = Array.from({ length: ROUNDS }, () =>
      cpuTimeOf(() => {
        const nextIds = identify(next, known)
        const before = { config: { hooks }, ids }
        const { config } = mendSecrets({ config: { hooks: next }, ids: nextIds }, before)
        knownOf(config, nextIds, known.key)
      })
    )
    report(valueRow(kind, Math.min(...rounds), 'ms', 100))
  }
  await Promise.resolve()
}
