import { mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'

import { Intake } from '../../src/engine/intake.ts'
import { packed, unpacked } from '../../src/engine/protocol.ts'
import type { Packed } from '../../src/engine/protocol.ts'
import { newDirectory, PATIENCE } from './engine.cases.ts'
import { handingOf } from './fixtures.ts'

async function startIntake(run: string, directory: string): Promise<{ intake: Intake; left: Packed[] }> {
  const intake = new Intake(run)
  onTestFinished(() => intake.close())
  return { intake, left: await intake.takeOver(directory) }
}

async function bytesIn(directory: string): Promise<number[]> {
  const names = await readdir(directory)
  return Promise.all(names.map(async name => (await stat(join(directory, name))).size))
}

function written(directory: string, bytes = 1): Promise<void> {
  return vi.waitFor(async () => expect(Math.max(...(await bytesIn(directory)))).toBeGreaterThanOrEqual(bytes), PATIENCE)
}

/** What another process finds in a directory that this one has not done with: as after a kill. */
async function foundAfterKill(directory: string, cutBytes = 0): Promise<Packed[]> {
  const copy = await newDirectory()
  for (const name of await readdir(directory)) {
    const path = join(copy, name)
    await writeFile(path, await readFile(join(directory, name)))
    await truncate(path, (await stat(path)).size - cutBytes)
  }
  return (await startIntake('another run', copy)).left
}

const handings = ['ä', '\ud800', 'plain'].map(text =>
  handingOf({ event: { fields: new Map([['params', JSON.stringify({ text })]]) } })
)

it('keeps what is not safe for the next process, under numbers that are nobody else’s', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  handings.forEach((handing, index) => intake.add(packed(index + 1, handing)))
  await written(directory)

  const left = (await foundAfterKill(directory)).map(unpacked)
  expect(left.map(({ handing }) => handing)).toEqual(handings)
  const numbers = left.map(({ number }) => number)
  expect(new Set(numbers).size).toBe(3)
  expect(Math.max(...numbers)).toBeLessThan(0)
  expect(numbers.map(number => number | 0)).toEqual(numbers)
})

it('knows a file whose end is torn up to there', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  intake.add(packed(1, handings[0]!))
  await written(directory)
  const [before = 0] = await bytesIn(directory)
  intake.add(packed(2, handings[1]!))
  intake.hurry()
  await written(directory, before + 1)

  expect((await foundAfterKill(directory, 1)).map(text => unpacked(text).handing)).toEqual([handings[0]])
})

it('knows the other files where one cannot be read', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  intake.add(packed(1, handings[0]!))
  await written(directory)
  const copy = await newDirectory()
  await mkdir(join(copy, 'intake-0'))
  await symlink(join(copy, 'gone'), join(copy, 'intake-1'))
  await mkdir(join(copy, 'intake-another run-0'))
  for (const name of await readdir(directory)) {
    await writeFile(join(copy, name), await readFile(join(directory, name)))
  }

  const { left } = await startIntake('another run', copy)
  expect(left.map(text => unpacked(text).handing)).toEqual([handings[0]])
})

it('keeps nothing of what is safe, or is not to be sent', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  for (const number of [1, 2, 3]) {
    intake.add(packed(number, handingOf({ hooks: ['a', 'b'] })))
  }
  intake.worked(3, 0)
  intake.hurry()
  await written(directory)
  intake.worked(1, 2)
  intake.safe(1)
  intake.safe(1)
  expect((await foundAfterKill(directory)).length).toBeGreaterThan(0)
  intake.worked(2, 2)
  intake.safe(2)
  intake.safe(2)
  await vi.waitFor(async () => expect(await bytesIn(directory)).toEqual([0]), PATIENCE)
  await intake.close()
  expect(await readdir(directory)).toEqual([])
})

it('writes nothing of what is safe in time', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  intake.add(packed(1, handings[0]!))
  intake.worked(1, 1)
  intake.safe(1)
  intake.add(packed(2, handings[1]!))
  await written(directory)
  expect((await foundAfterKill(directory)).map(text => unpacked(text).handing)).toEqual([handings[1]])
})

it('has what came before the journal was there, unless that cannot be used', async () => {
  const directory = await newDirectory()
  const intake = new Intake('run')
  onTestFinished(() => intake.close())
  intake.add(packed(1, handings[0]!))
  intake.isOn = false
  intake.add(packed(2, handings[1]!))
  intake.isOn = true
  intake.add(packed(3, handings[2]!))
  await intake.takeOver(directory)
  await written(directory)
  expect((await foundAfterKill(directory)).map(text => unpacked(text).handing)).toEqual([handings[2]])
})

it('does not hand over again what the host end holds: that of an earlier thread of this run', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  intake.add(packed(1, handings[0]!))
  await written(directory)
  const { left } = await startIntake('run', directory)
  expect(left).toEqual([])
  expect(await bytesIn(directory)).toEqual([0])
})

/** A directory in which another run has left the handings; that still has its files open. */
async function leftBehind(): Promise<string> {
  const directory = await newDirectory()
  const { intake } = await startIntake('earlier', directory)
  handings.forEach((handing, index) => intake.add(packed(index + 1, handing)))
  await written(directory)
  return directory
}

it('of another run comes to each thread of this one, under the same numbers, until all of it is safe', async () => {
  const directory = await leftBehind()
  const numbersOf = (left: readonly Packed[]): number[] => left.map(text => unpacked(text).number)
  const first = await startIntake('run', directory)
  // the thread dies: here it does no more
  first.intake.worked(numbersOf(first.left)[0]!, 1)
  const second = await startIntake('run', directory)
  expect(second.left).toEqual(first.left)
  for (const number of numbersOf(second.left)) {
    expect(await startIntake('run', directory)).toMatchObject({ left: first.left })
    second.intake.worked(number, 1)
    second.intake.safe(number)
  }
  await vi.waitFor(async () => expect((await startIntake('run', directory)).left).toEqual([]), PATIENCE)
})

it('of another run stays if nobody has looked at it by the end', async () => {
  const directory = await leftBehind()
  const first = await startIntake('run', directory)
  first.left.slice(1).forEach(text => first.intake.worked(unpacked(text).number, 1))
  await first.intake.close()
  const { intake, left } = await startIntake('next', directory)
  expect(left).toEqual(first.left)
  left.forEach(text => intake.worked(unpacked(text).number, 1))
  await intake.close()
  expect((await startIntake('last', directory)).left).toEqual([])
})

it('of another run stays until it is safe, and comes once', async () => {
  const directory = await newDirectory()
  const { intake } = await startIntake('run', directory)
  intake.add(packed(1, handings[0]!))
  await written(directory)
  const next = await startIntake('next', directory)
  expect(next.left).toHaveLength(1)
  expect(Math.max(...(await bytesIn(directory)))).toBeGreaterThan(0)
  const { number } = unpacked(next.left[0]!)
  next.intake.worked(number, 1)
  next.intake.safe(number)
  await vi.waitFor(async () => expect(await bytesIn(directory)).toEqual([0]), PATIENCE)
})
