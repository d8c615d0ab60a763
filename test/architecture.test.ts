import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import { fileURLToPath } from 'node:url'

import ts from 'typescript'
import { expect, it } from 'vitest'

/** A file imports only from floors below its own, and from its own folder. */
const FLOORS = [
  'index.ts',
  'listen/',
  'plugin.ts',
  'admin/',
  'host-settings.ts',
  'configuration.ts',
  'correction.ts',
  'mail.ts',
  'report.ts',
  'sample.ts',
  'relay.ts',
  'test-report.ts',
  'subject.ts',
  'verdict.ts',
  'config/',
  'sources/',
  'matcher.ts',
  'engine/',
  'courier.ts',
  'recent-events.ts',
  'subscriptions.ts',
  'handing.ts',
  'filter.ts',
  'formats/',
  'event/',
  'xo.ts',
  'transport/',
  'delivery/',
  'effort.ts',
  'echo.ts',
  'glob.ts',
  'values.ts',
  'problem.ts',
]

/** Below, and yet none of its business. */
const NEVER = [
  ['sources/', 'delivery/'],
  ['sources/', 'engine/'],
]

/** Is bundled apart, for browsers: nothing imports it, and it imports but types from elsewhere. */
const PAGE = 'page/'

const SRC = fileURLToPath(new URL('../src/', import.meta.url))

/** By file, what it imports of `src/`, types too. */
const imports = new Map(
  readdirSync(SRC, { encoding: 'utf8', recursive: true })
    .filter(file => /\.tsx?$/.test(file) && !file.endsWith('.d.ts'))
    .map(file => [
      file,
      ts
        .preProcessFile(readFileSync(join(SRC, file), 'utf8'))
        .importedFiles.map(({ fileName }) => fileName)
        .filter(name => name.startsWith('.'))
        .map(name => join(dirname(file), name)),
    ])
)

function floorOf(file: string): number {
  return FLOORS.findIndex(floor => (floor.endsWith('/') ? file.startsWith(floor) : file === floor))
}

function isAllowed(from: string, to: string): boolean {
  if (dirname(from) !== '.' && dirname(from) === dirname(to)) {
    return true
  }
  return (
    floorOf(from) < floorOf(to) &&
    !NEVER.some(([above = '', below = '']) => from.startsWith(above) && to.startsWith(below))
  )
}

/** The way from a file back to itself, if there is one. */
function circleOf(file: string): string[] | undefined {
  const ways = [[file]]
  const seen = new Set<string>()
  for (const way of ways) {
    for (const next of imports.get(way.at(-1)!) ?? []) {
      if (next === file) {
        return [...way, next]
      }
      if (!seen.has(next)) {
        seen.add(next)
        ways.push([...way, next])
      }
    }
  }
  return undefined
}

it('every file has its floor, and every floor a file', () => {
  const files = [...imports.keys()].filter(file => !file.startsWith(PAGE))
  expect(files.filter(file => floorOf(file) === -1)).toEqual([])
  expect(FLOORS.filter((_, floor) => !files.some(file => floorOf(file) === floor))).toEqual([])
})

it('no import goes up', () => {
  const all = [...imports].flatMap(([from, to]) => to.map(each => ({ from, to: each })))
  expect(all.length).toBeGreaterThan(imports.size)
  expect(all.filter(({ from, to }) => !from.startsWith(PAGE) && !isAllowed(from, to))).toEqual([])
})

it('nothing imports the page, and the page takes only types from elsewhere', () => {
  const all = [...imports].flatMap(([from, to]) => to.map(each => ({ from, to: each })))
  expect(all.filter(({ from, to }) => to.startsWith(PAGE) && !from.startsWith(PAGE))).toEqual([])
  const files = [...imports.keys()].filter(file => file.startsWith(PAGE))
  const statements = files.flatMap(
    file => readFileSync(join(SRC, file), 'utf8').match(/^import .* from '\.\..*'$/gm) ?? []
  )
  expect(statements.length).toBeGreaterThan(0)
  expect(statements.filter(statement => !/^import type .*\/admin\//.test(statement))).toEqual([])
})

it('no import leads back', () => {
  expect([...imports.keys()].map(circleOf).filter(circle => circle !== undefined)).toEqual([])
})
