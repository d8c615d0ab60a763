import { expect, it } from 'vitest'

import { shownHooks } from '../../src/config/shown.ts'

const fieldsOf = (item: object): Readonly<Record<string, unknown>> =>
  shownHooks({ hooks: [item] }, ['a'], 'key', new Set(), [])[0]!.fields

it('shows what was chosen, and of any other text or number where a secret belongs a fingerprint only', () => {
  const secret = { set: true, fingerprint: expect.stringMatching(/^[0-9a-f]{6}$/) as unknown }
  const item = {
    ...{ method: 'vm.*', disabled: true, limits: { timeout: 3 }, later: 'unknown' },
    // in a hook that is disabled anything may be wrong
    authentication: { authorization: 'bearer', token: 123_456, password: 'pass', user: 'user' },
  }
  expect(fieldsOf(item)).toEqual({
    ...{ method: 'vm.*', disabled: true, limits: { timeout: 3 }, later: secret },
    authentication: { authorization: 'bearer', token: secret, password: secret, user: secret },
  })
  // a token in the wrong field
  for (const authorization of ['Bearer s3cr3t', 's3cr3t', 'Basic']) {
    expect(fieldsOf({ authentication: { authorization } })).toEqual({ authentication: { authorization: secret } })
  }
})
